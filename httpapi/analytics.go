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
	_ "time/tzdata" // embed the time zones: the host may have none

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// registerAnalytics registers the reports and the transcript search.
func (a *api) registerAnalytics(router *mux.Router) {
	for _, report := range analytics.Reports {
		a.get(router, "/api/v1/analytics/"+report.Name, a.requireSecretKey(Requests, a.analyze(report)))
	}
	a.get(router, "/api/v1/analytics/transcripts/search", a.requireSecretKey(Requests, a.search))
}

// figuresMeta is the meta object of a report.
type figuresMeta struct {
	From     *timestamp `json:"from"`   // inclusive lower bound; nil: unbounded
	Before   *timestamp `json:"before"` // exclusive upper bound; nil: unbounded
	Timezone string     `json:"timezone"`
	Interval string     `json:"interval"`
	GroupBy  []string   `json:"group_by"`
	Currency string     `json:"currency"`
	AsOf     timestamp  `json:"as_of"`
}

// termsReport is the report of the most frequent terms. The constants are defaults of its parameters.
const (
	termsReport     = "transcripts/terms"
	defaultTerms    = 25  // terms of each period and group
	defaultMaxShare = 0.2 // terms in a larger share of the calls are left out
)

// analyze returns the handler of a report.
func (a *api) analyze(report analytics.Report) authHandler {
	return func(w http.ResponseWriter, r *http.Request, key control.Key) error {
		analysis, values, err := parseAnalysis(r.URL.RawQuery, report)
		if err != nil {
			return err
		}
		format, options, err := parseTableFormat(r, values)
		if err != nil {
			return err
		}
		found, err := analytics.Analyze(r.Context(), a.Store, key.Tenant, analysis)
		if err != nil {
			return figuresProblem(err)
		}
		// There are at most analytics.MaxFigures rows. The response is held in memory and the figures are closed
		// before it is sent, so a slow client holds neither a reader nor a slot.
		body, err := render(r.Context(), found, analysis, format, options)
		if err = errors.Join(err, found.Close()); err != nil {
			return figuresProblem(err)
		}
		w.Header().Add("Vary", "Accept")
		w.Header().Set("X-As-Of", timestamp(found.AsOf).String())
		if format != exports.JSON {
			name := fileName(path.Base(report.Name), analysis.Filter, format, found.AsOf)
			w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
		}
		return writeBody(w, r, http.StatusOK, format.MediaType(), body)
	}
}

// figuresProblem returns the problem for an error of a report.
func figuresProblem(err error) error {
	if isArgument(err) {
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: fmt.Sprintf("The report would have more than %d rows, or the timezone is not known; "+
				"request a shorter period, a longer interval or fewer groups", analytics.MaxFigures)}
	}
	return streamProblem(err)
}

// parseTableFormat returns the requested format of a table, with JSON as the default, and the CSV options.
func parseTableFormat(
	r *http.Request, values url.Values,
) (format exports.Format, options exports.CSVOptions, err error) {
	if format, err = parseFormat(r, values, append([]exports.Format{exports.JSON}, exports.Formats...)...); err == nil {
		options, err = parseCSVOptions(values)
	}
	return format, options, err
}

// render returns the figures as the body of a response in the format.
func render(
	ctx context.Context, found *analytics.Figures, analysis analytics.Analysis, format exports.Format,
	options exports.CSVOptions,
) ([]byte, error) {
	if format != exports.JSON {
		table, err := found.Table(ctx)
		if err != nil {
			return nil, err
		}
		var body bytes.Buffer
		result := exports.Result{About: found.About(), AsOf: found.AsOf, Statement: table}
		_, err = exports.Write(ctx, found.Conn, result, format, options, &body)
		return body.Bytes(), err
	}
	meta, err := json.Marshal(figuresMeta{
		From:     ptr(timestamp(analysis.Filter.From), !analysis.Filter.From.IsZero()),
		Before:   ptr(timestamp(analysis.Filter.Before), !analysis.Filter.Before.IsZero()),
		Timezone: analysis.Zone.String(), Interval: analysis.Interval, GroupBy: analysis.GroupBy, Currency: "USD",
		AsOf: timestamp(found.AsOf),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	// Append the rows directly: they are JSON already, and json.Marshal would parse them again.
	body, err := found.AppendJSON(ctx, []byte(`{"data":`), false)
	if err != nil {
		return nil, err
	}
	if p := analysis.Previous; p != nil {
		body = fmt.Appendf(body, `,"previous":{"from":"%s","before":"%s","data":`, timestamp(p.From), timestamp(p.Before))
		if body, err = found.AppendJSON(ctx, body, true); err != nil {
			return nil, err
		}
		body = append(body, '}')
	} else {
		body = append(body, `,"previous":null`...)
	}
	return append(append(append(body, `,"meta":`...), meta...), '}'), nil
}

// parseAnalysis returns the parameters of a report: the filters of its list, the timezone, and the options of the
// report.
func parseAnalysis(
	query string, report analytics.Report,
) (analysis analytics.Analysis, values url.Values, err error) {
	known := []string{"interval", "group_by", "compare"}
	if report.Name == termsReport {
		known = append(known, "limit", "max_share")
	}
	filter, zone, values, err := parsePeriod(query, report.Source, known...)
	if err != nil {
		return analysis, nil, err
	}
	analysis = analytics.Analysis{Report: report, Filter: filter, Zone: zone, Interval: "none", GroupBy: []string{}}
	if interval := values.Get("interval"); interval != "" {
		if analysis.Interval = interval; !slices.Contains(analytics.Intervals, interval) {
			return analysis, nil, invalidFilter("interval", "must be one of "+strings.Join(analytics.Intervals, ", "))
		}
	}
	if groups := values.Get("group_by"); groups != "" {
		for name := range strings.SplitSeq(groups, ",") {
			if !slices.Contains(report.Groups(), name) || slices.Contains(analysis.GroupBy, name) {
				return analysis, nil, invalidFilter("group_by",
					"must be some of "+strings.Join(report.Groups(), ", ")+", each at most once")
			}
			analysis.GroupBy = append(analysis.GroupBy, name)
		}
	}
	if report.Name == termsReport {
		analysis.Terms = int(parseCount(values.Get("limit"), defaultTerms, analytics.MaxTerms))
		analysis.MaxShare = defaultMaxShare
		if share := values.Get("max_share"); share != "" {
			analysis.MaxShare, err = strconv.ParseFloat(share, 64)
			if err != nil || !(analysis.MaxShare > 0 && analysis.MaxShare <= 1) {
				return analysis, nil, invalidFilter("max_share", "is not a number above 0 and at most 1")
			}
		}
	}
	switch values.Get("compare") {
	case "":
	case "previous_period":
		if !analysis.Filter.From.Before(analysis.Filter.Before) || analysis.Filter.From.IsZero() {
			return analysis, nil, invalidFilter("compare", "needs from and to, in this order")
		}
		before := periodBefore(analysis.Filter, analysis.Zone)
		analysis.Previous = &before
	default:
		return analysis, nil, invalidFilter("compare", "is not previous_period")
	}
	return analysis, values, nil
}

// parsePeriod returns the filter of the dataset's list, the time zone in the timezone parameter (default UTC), and
// all parameters. The route has the parameters others beside those of a period and a table. Times in the filter without
// a zone are in this time zone.
func parsePeriod(
	query string, source schema.Dataset, others ...string,
) (filter schema.Filter, zone *time.Location, values url.Values, err error) {
	zone = time.UTC
	known := append(append(source.Filters(), "timezone", "format", "bom", "escape_formulas"), others...)
	if values, err = parseParams(query, known, true); err != nil {
		return filter, nil, nil, err
	}
	if name := values.Get("timezone"); name != "" && name != "UTC" {
		// "Local" is the time zone of the server. DuckDB does not have the copies under posix/ and right/.
		zone, err = time.LoadLocation(name)
		if err != nil || name == "Local" || strings.HasPrefix(name, "posix") || strings.HasPrefix(name, "right/") {
			return filter, nil, nil, invalidFilter("timezone", "is not the IANA name of a time zone")
		}
	}
	filter, err = parseFilter(values, source, zone)
	return filter, zone, values, err
}

// periodBefore returns the filter for the period of equal length just before that of filter. If the period
// consists of whole days in zone, the result has the same number of days, even if a change of daylight saving time
// makes it longer or shorter.
func periodBefore(filter schema.Filter, zone *time.Location) schema.Filter {
	from, before := filter.From.In(zone), filter.Before.In(zone)
	length := before.Sub(from)
	filter.From, filter.Before = schema.ClampBound(filter.From.Add(-length)), filter.From
	if schema.StartOfDay(from, zone).Equal(from) && schema.StartOfDay(before, zone).Equal(before) {
		days := int((length + 12*time.Hour) / (24 * time.Hour))
		filter.From = schema.ClampBound(schema.StartOfDay(from.AddDate(0, 0, -days), zone))
	}
	return filter
}
