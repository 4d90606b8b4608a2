package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// samplesOf returns samples, one per 10 seconds and 250 requests, with the given memory outside of DuckDB and Go.
func samplesOf(n int, other func(i int) float64) []sample {
	samples := make([]sample, n)
	for i := range samples {
		samples[i] = sample{at: time.Duration(i) * 10 * time.Second, requests: 250 * i, duckdb: 100 * mb, goMemory: 10 * mb,
			rss: 110*mb + other(i), malloc: other(i)}
	}
	return samples
}

func exceeded(samples []sample) (names []string) {
	for _, b := range newBounds(samples, 600*mb, 1000, &load{}, time.Second) {
		if !b.met() {
			names = append(names, b.name)
		}
	}
	return names
}

// A leak in the second half exceeds the bound of growth. Growth in the first half, noise and single peaks do not. The
// samples are those of a run of 30 minutes at the default rate.
func TestBounds_GrowthFindsALeakOfTheSecondHalf(t *testing.T) {
	const n = 180
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return random.NormFloat64() * 5 * mb }
	for _, test := range []struct {
		name  string
		other func(i int) float64
		leaks bool
	}{
		{"flat", func(int) float64 { return 100 * mb }, false},
		{"first half", func(i int) float64 { return float64(min(i, n/2)) * 1000 * kb }, false},
		{"noise", func(int) float64 { return 100*mb + noise() }, false},
		{"peaks", func(i int) float64 {
			if i%20 == 0 {
				return 300 * mb
			}
			return 100 * mb
		}, false},
		{"falls", func(i int) float64 { return 300*mb - float64(i)*1000*kb }, false},
		{"leak of 700 bytes per request", func(i int) float64 { return 100*mb + float64(i)*250*0.7*kb + noise() }, true},
		{"leak of 400 bytes per request", func(i int) float64 { return 100*mb + float64(i)*250*0.4*kb }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			names := exceeded(samplesOf(n, test.other))
			if got := slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "growth") }); got !=
				test.leaks {
				t.Errorf("got %t, want %t: %v", got, test.leaks, names)
			}
		})
	}
}

// Growth has no bound in a run whose second half begins before DuckDB's queues are full.
func TestBounds_GrowthOfShortRun(t *testing.T) {
	for _, test := range []struct {
		requests int // before the second half
		bounded  bool
	}{{warmUpRequests - 250, false}, {warmUpRequests, true}} {
		samples := samplesOf(2*test.requests/250, func(i int) float64 { return float64(i) * mb })
		if got := len(exceeded(samples)) > 0; got != test.bounded {
			t.Errorf("%d requests before the second half: got %t, want %t", test.requests, got, test.bounded)
		}
	}
}

// Each figure is compared with its bound at its highest, not at the end.
func TestBounds_CompareTheHighestFigure(t *testing.T) {
	for name, change := range map[string]func(*sample){
		"resident memory":  func(s *sample) { s.rss += 1000 * mb },
		"spilled":          func(s *sample) { s.spilled = 1 },
		"open files":       func(s *sample) { s.files = 1000 },
		"goroutines":       func(s *sample) { s.goroutines = 1000 },
		"threads":          func(s *sample) { s.threads = 100 },
		"logs":             func(s *sample) { s.wals = 200 * mb },
		"control database": func(s *sample) { s.control = 100 * mb },
		"stores":           func(s *sample) { s.folders = map[string]float64{"warehouse": 5000 * mb} },
		"published files":  func(s *sample) { s.folders = map[string]float64{"tmp": 5000 * mb} },
	} {
		samples := samplesOf(10, func(int) float64 { return 100 * mb })
		if got := exceeded(samples); len(got) > 0 {
			t.Fatalf("got %v exceeded without a change", got)
		}
		change(&samples[3])
		if got := exceeded(samples); len(got) != 1 || !strings.HasPrefix(got[0], name) {
			t.Errorf("got %v exceeded, want %s", got, name)
		}
	}
}

// A chart is well-formed, and its lines stay within the drawing.
func TestChart_SVG(t *testing.T) {
	times := []time.Duration{0, time.Minute, 2 * time.Minute}
	for name, values := range map[string][]float64{
		"small": {0, 0.001, 0.002}, "large": {1e12, 3e12, 2e12}, "zero": {0, 0, 0}, "steps": {9.99, 10, 10.01},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := chart{"<Memory> & more", 1, []line{{"a < b", values}, {"c", values}}, 5}.svg(times)
			if err != nil {
				t.Fatal(err)
			}
			for lines, decoder := 0, xml.NewDecoder(strings.NewReader(string(text))); ; {
				token, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					if lines != 2 {
						t.Errorf("got %d lines, want 2", lines)
					}
					return
				}
				if err != nil {
					t.Fatalf("%v in %s", err, text)
				}
				start, ok := token.(xml.StartElement)
				if !ok || start.Name.Local != "polyline" {
					continue
				}
				lines++
				points := strings.Fields(start.Attr[0].Value)
				if len(points) != len(values) {
					t.Errorf("got %d points, want %d", len(points), len(values))
				}
				for _, point := range points {
					if x, y := coordinates(t, point); x < plotLeft || x > plotRight || y < plotTop || y > plotBottom {
						t.Errorf("got the point %s outside of the drawing", point)
					}
				}
			}
		})
	}
}

func coordinates(t *testing.T, point string) (x, y float64) {
	t.Helper()
	left, right, _ := strings.Cut(point, ",")
	x, y = number(left), number(right)
	if math.IsNaN(x) || math.IsNaN(y) {
		t.Fatalf("got the point %q", point)
	}
	return x, y
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return value
}

// Metrics with labels are added up.
func TestSumMetrics_AddsLabelledSeries(t *testing.T) {
	got, err := sumMetrics(strings.NewReader("# HELP a text\na{tag=\"x y\"} 1\na{tag=\"}\"} 2.5\nb 1e+06\n"))
	if err != nil || got["a"] != 3.5 || got["b"] != 1e6 || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

// The kernel's figures of this process are plausible.
func TestSample_ReadProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skip("no /proc")
	}
	var s sample
	if err := s.readProcess(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if s.rss < mb || s.files < 3 || s.threads < 1 {
		t.Errorf("got %+v", s)
	}
}
