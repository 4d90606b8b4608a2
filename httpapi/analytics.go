package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the zones must be there wherever the binary runs

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
)

// registerAnalytics adds the reports.
func (a *api) registerAnalytics(router *mux.Router) {
	for _, report := range warehouse.Reports {
		a.get(router, "/api/v1/analytics/"+report.Name, a.withSecret(Requests, a.analyze(report)))
	}
	a.get(router, "/api/v1/analytics/transcripts/search", a.withSecret(Requests, a.search))
}

// figuresMeta is what the answer of a report says of its figures.
type figuresMeta struct {
	From     *moment  `json:"from"`   // the first moment; null where there is no bound
	Before   *moment  `json:"before"` // the first moment that is no longer meant
	Timezone string   `json:"timezone"`
	Interval string   `json:"interval"`
	GroupBy  []string `json:"group_by"`
	Currency string   `json:"currency"`
	AsOf     moment   `json:"as_of"`
}

// Of terms: how many there are of each period and group, and which are too common, where that is not said.
const (
	defaultTerms    = 25
	defaultMaxShare = 0.2
)

func (a *api) analyze(report warehouse.Report) keyed {
	return func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
		analysis, err := parseAnalysis(r.URL.RawQuery, report)
		if err != nil {
			return err
		}
		format, options, err := parseTable(r)
		if err != nil {
			return err
		}
		found, err := a.Store.Analyze(r.Context(), key.Tenant, analysis)
		if err != nil {
			return figuresProblem(err)
		}
		// At most warehouse.MostFigures rows: all are in memory before any is sent, so a slow client holds no reader and no slot.
		body, err := render(r.Context(), found, analysis, format, options)
		if err = errors.Join(err, found.Close()); err != nil {
			return figuresProblem(err)
		}
		w.Header().Add("Vary", "Accept")
		w.Header().Set("X-As-Of", moment(found.AsOf).String())
		if format != exports.JSON {
			w.Header().Set("Content-Disposition", `attachment; filename="`+fileName(path.Base(report.Name), analysis.Filter, format, found.AsOf)+`"`)
		}
		return writeBody(w, r, http.StatusOK, format.MediaType(), body)
	}
}

// figuresProblem is the answer to whom figures cannot be made for.
func figuresProblem(err error) error {
	if errors.Is(err, warehouse.ErrInvalid) {
		return &problem{status: http.StatusBadRequest, code: "INVALID_FILTER",
			message: fmt.Sprintf("These figures would have more than %d rows, or the timezone is not known; take a shorter time, a longer interval or fewer groups", warehouse.MaxFigures)}
	}
	return streamProblem(err)
}

// parseTable reads in which format figures are asked for: JSON, or one of tables.
func parseTable(r *http.Request) (format exports.Format, options exports.CSVOptions, err error) {
	if format, err = parseFormat(r, append([]exports.Format{exports.JSON}, exports.Formats...)...); err == nil {
		options, err = parseCSVOptions(r.URL.Query())
	}
	return format, options, err
}

// render writes figures in a format.
func render(ctx context.Context, found *warehouse.Figures, analysis warehouse.Analysis, format exports.Format, options exports.CSVOptions) ([]byte, error) {
	if format != exports.JSON {
		table, err := found.Table(ctx)
		if err != nil {
			return nil, err
		}
		var body bytes.Buffer
		_, err = exports.Write(ctx, found.Conn, exports.Result{About: found.About(), AsOf: found.AsOf, Statement: table}, format, options, &body)
		return body.Bytes(), err
	}
	meta, err := json.Marshal(figuresMeta{orUnbound(analysis.Filter.From), orUnbound(analysis.Filter.Before),
		analysis.Zone.String(), analysis.Interval, analysis.GroupBy, "USD", moment(found.AsOf)})
	if err != nil {
		return nil, fmt.Errorf("write the figures: %w", err)
	}
	// The rows are JSON already, which the encoder would read through again.
	body, err := found.AppendJSON(ctx, []byte(`{"data":`), false)
	if err != nil {
		return nil, err
	}
	if p := analysis.Previous; p != nil {
		body = fmt.Appendf(body, `,"previous":{"from":"%s","before":"%s","data":`, moment(p.From), moment(p.Before))
		if body, err = found.AppendJSON(ctx, body, true); err != nil {
			return nil, err
		}
		body = append(body, '}')
	} else {
		body = append(body, `,"previous":null`...)
	}
	return append(append(append(body, `,"meta":`...), meta...), '}'), nil
}

// orUnbound is a bound, or null where there is none.
func orUnbound(at time.Time) *moment {
	if at.IsZero() {
		return nil
	}
	m := moment(at)
	return &m
}

// parseAnalysis reads what a report is asked for: the filters of its list, in which times that name no zone are those of timezone.
func parseAnalysis(query string, report warehouse.Report) (analysis warehouse.Analysis, err error) {
	filter, zone, values, err := parsePeriod(query, report.Source)
	if err != nil {
		return analysis, err
	}
	analysis = warehouse.Analysis{Report: report, Filter: filter, Zone: zone, Interval: "none", GroupBy: []string{}}
	if interval := values.Get("interval"); interval != "" {
		if analysis.Interval = interval; !slices.Contains(warehouse.Intervals, interval) {
			return analysis, invalidFilter("interval", "is none of "+strings.Join(warehouse.Intervals, ", "))
		}
	}
	if groups := values.Get("group_by"); groups != "" {
		for name := range strings.SplitSeq(groups, ",") {
			if !slices.Contains(report.Groups(), name) || slices.Contains(analysis.GroupBy, name) {
				return analysis, invalidFilter("group_by", "names another than "+strings.Join(report.Groups(), ", ")+", or one twice")
			}
			analysis.GroupBy = append(analysis.GroupBy, name)
		}
	}
	if report.Name == "transcripts/terms" {
		analysis.Terms = int(parseCount(values.Get("limit"), defaultTerms, warehouse.MaxTerms))
		analysis.MaxShare = defaultMaxShare
		if share := values.Get("max_share"); share != "" {
			if analysis.MaxShare, err = strconv.ParseFloat(share, 64); err != nil || !(analysis.MaxShare > 0 && analysis.MaxShare <= 1) {
				return analysis, invalidFilter("max_share", "is not a number above 0, to 1")
			}
		}
	}
	switch values.Get("compare") {
	case "":
	case "previous_period":
		if !analysis.Filter.From.Before(analysis.Filter.Before) || analysis.Filter.From.IsZero() {
			return analysis, invalidFilter("compare", "needs from and to, in this order")
		}
		before := periodBefore(analysis.Filter, analysis.Zone)
		analysis.Previous = &before
	default:
		return analysis, invalidFilter("compare", "is not previous_period")
	}
	return analysis, nil
}

// parsePeriod reads the filters of a dataset's list, and the zone in which their times are meant that name none.
func parsePeriod(query string, source warehouse.Dataset) (filter warehouse.Filter, zone *time.Location, values url.Values, err error) {
	zone = time.UTC
	if values, err = url.ParseQuery(query); err != nil {
		return filter, nil, nil, &problem{status: http.StatusBadRequest, code: "INVALID_FILTER", message: "The query is not properly escaped"}
	}
	if name := values.Get("timezone"); name != "" && name != "UTC" {
		// Local is the server's own; posix/… and right/… are copies that some systems keep, and DuckDB does not.
		if zone, err = time.LoadLocation(name); err != nil || name == "Local" || strings.HasPrefix(name, "posix") || strings.HasPrefix(name, "right/") {
			return filter, nil, nil, invalidFilter("timezone", "is not the IANA name of a time zone")
		}
	}
	filter, err = parseFilter(values, source, zone)
	return filter, zone, values, err
}

// periodBefore is the filter for the time just before that of the filter, as many days where that is of whole days: these need not be
// of 24 hours; else as long.
func periodBefore(filter warehouse.Filter, zone *time.Location) warehouse.Filter {
	from, before := filter.From.In(zone), filter.Before.In(zone)
	length := before.Sub(from)
	filter.From, filter.Before = filter.From.Add(-length), filter.From
	if warehouse.StartOfDay(from, zone).Equal(from) && warehouse.StartOfDay(before, zone).Equal(before) {
		days := int((length + 12*time.Hour) / (24 * time.Hour))
		filter.From = warehouse.StartOfDay(from.AddDate(0, 0, -days), zone)
	}
	return filter
}
