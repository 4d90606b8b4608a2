package main

import (
	"bytes"
	_ "embed" // the template
	"fmt"
	"math"
	"strings"
	"text/template"
	"time"
)

// A chart is a line chart over the time of a run.
type chart struct {
	Title string
	unit  float64 // values are divided by it
	lines []line
	limit float64 // drawn as a dashed line; 0: none
}

// A line is a named line of a chart, with one value per sample.
type line struct {
	name   string
	values []float64
}

// Sizes in the unit of the SVG.
const (
	chartWidth, chartHeight   = 760.0, 320.0
	plotLeft, plotRight       = 60.0, 740.0
	plotTop, plotBottom       = 40.0, 250.0
	legendTop, legendColumns  = 282.0, 4
	legendWidth, legendHeight = 175.0, 18.0
)

// colors are the colours of the lines, in order. They differ also for people with colour blindness.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#000000"}

//go:embed chart.svg.tmpl
var chartText string

var chartTemplate = template.Must(template.New("chart").Parse(chartText))

// A mark is a place on an axis, or an entry of the legend.
type mark struct {
	X, Y        float64
	Text, Color string
}

// svg returns the chart as SVG. times are the times of the values.
func (c chart) svg(times []time.Duration) ([]byte, error) {
	highest := c.limit / c.unit
	for _, l := range c.lines {
		for _, value := range l.values {
			highest = max(highest, value/c.unit)
		}
	}
	top, step := axis(highest)
	end := max(times[len(times)-1], time.Second)
	x := func(at time.Duration) float64 {
		return plotLeft + (plotRight-plotLeft)*float64(at)/float64(end)
	}
	y := func(value float64) float64 { return plotBottom - (plotBottom-plotTop)*value/top }
	type path struct{ Points, Color string }
	view := struct {
		Title                      string
		Width, Height, Left, Right float64
		Bottom, Limit              float64 // Limit is 0 if the chart has no limit
		Rows, Columns, Legend      []mark
		Paths                      []path
	}{Title: c.Title, Width: chartWidth, Height: chartHeight, Left: plotLeft, Right: plotRight, Bottom: plotBottom}
	if c.limit > 0 {
		view.Limit = y(c.limit / c.unit)
	}
	for value := 0.0; value <= top+step/2; value += step {
		view.Rows = append(view.Rows, mark{X: plotLeft, Y: y(value), Text: fmt.Sprintf("%g", value)})
	}
	minutes, every := axis(end.Minutes())
	for at := 0.0; at <= min(minutes, end.Minutes()); at += every {
		view.Columns = append(view.Columns,
			mark{X: x(time.Duration(at * float64(time.Minute))), Y: plotBottom, Text: fmt.Sprintf("%g min", at)})
	}
	for i, l := range c.lines {
		color := colors[i%len(colors)]
		var points strings.Builder
		for k, value := range l.values {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(times[k]), y(value/c.unit))
		}
		view.Paths = append(view.Paths, path{strings.TrimSpace(points.String()), color})
		view.Legend = append(view.Legend, mark{plotLeft + float64(i%legendColumns)*legendWidth,
			legendTop + float64(i/legendColumns)*legendHeight, l.name, color})
	}
	var out bytes.Buffer
	err := chartTemplate.Execute(&out, view)
	return out.Bytes(), err
}

// axis returns the end of an axis that shows values up to highest, and the step between its marks: 1, 2 or 5 times a
// power of ten.
func axis(highest float64) (end, step float64) {
	if highest <= 0 {
		return 1, 1
	}
	const marks = 5
	power := math.Pow(10, math.Floor(math.Log10(highest/marks)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if step = factor * power; step*marks >= highest {
			break
		}
	}
	return step * math.Ceil(highest/step), step
}
