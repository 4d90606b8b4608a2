package analytics_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// figures holds the parts of a row of a report that tests inspect.
type figures struct {
	Period *string        `json:"period"`
	Group  map[string]any `json:"group"`
	rest   map[string]any
}

func reportNamed(t *testing.T, name string) analytics.Report {
	t.Helper()
	i := slices.IndexFunc(analytics.Reports, func(r analytics.Report) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no report %q", name)
	}
	return analytics.Reports[i]
}

func analyze(t *testing.T, w *warehouse.Warehouse, report, zone, interval string, filter schema.Filter,
	groupBy ...string) (rows []figures) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	noError(t, err)
	found, err := analytics.Analyze(t.Context(), w, tenantA,
		analytics.Analysis{Report: reportNamed(t, report), Filter: filter, Zone: location, Interval: interval,
			GroupBy: groupBy,
			Terms:   analytics.MaxTerms, MaxShare: 1})
	noError(t, err)
	defer func() { noError(t, found.Close()) }()
	array, err := found.AppendJSON(t.Context(), nil, false)
	noError(t, err)
	var objects []json.RawMessage
	noError(t, json.Unmarshal(array, &objects))
	for _, text := range objects {
		var row figures
		noError(t, json.Unmarshal(text, &row))
		noError(t, json.Unmarshal(text, &row.rest))
		rows = append(rows, row)
	}
	return rows
}

// want reports an error if a figure differs from the expected value. nil stands for null.
func (f figures) want(t *testing.T, name string, expected any) {
	t.Helper()
	got, ok := f.rest[name]
	if !ok {
		t.Fatalf("no figure %s in %v", name, f.rest)
	}
	if number, ok := got.(float64); ok {
		if e, ok := expected.(float64); ok && math.Abs(number-e) <= 1e-9*max(1, math.Abs(e)) {
			return
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		t.Errorf("%s of period %q and group %v: got %v, want %v", name, *orEmpty(f.Period), f.Group, got, expected)
	}
}

func orEmpty(text *string) *string {
	if text == nil {
		return new(string)
	}
	return text
}

// quantile returns the quantile q of the values, interpolated linearly, or nil if there are no values.
func quantile(values []float64, q float64) any {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	at := q * float64(len(values)-1)
	low := int(at)
	high := min(low+1, len(values)-1)
	return values[low] + (values[high]-values[low])*(at-float64(low))
}

func ratio(a, b float64) any {
	if b == 0 {
		return nil
	}
	return a / b
}

func orNil(count int, value float64) any {
	if count == 0 {
		return nil
	}
	return value
}

type sample struct {
	at                time.Time
	status, direction string
	cost, seconds     float64 // 0: not known
	heard, spoken     float64 // minutes, 0: not known; characters
	parts             map[string]float64
}

// samples merges and returns calls around changes of daylight saving time. Their costs and durations are null, zero,
// or in one of several formats.
func samples(t *testing.T, w *warehouse.Warehouse) (all []sample) {
	r := rand.New(rand.NewPCG(1, 2))
	var rows []any
	begin := time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC)
	for n := range 1500 {
		s := sample{at: begin.Add(time.Duration(r.IntN(26*24*60)) * time.Minute),
			direction: []string{"inbound", "outbound"}[r.IntN(2)],
			status: []string{"completed", "in-progress", "in_progress", "failed", "busy", "no_answer", "ringing",
				"on-hold"}[r.IntN(8)]}
		if n%9 == 0 {
			s.at = s.at.AddDate(0, 7, 14)
		}
		fields := row{"created_at": s.at, "status": s.status, "direction": s.direction, "assistant_id": id(r.IntN(3)),
			"provider": "twilio"}
		switch r.IntN(5) {
		case 0:
			fields["cost"] = nil
		case 1:
			fields["cost"] = 0
		default:
			s.cost = float64(1+r.IntN(9000)) / 10000
			fields["cost"] = s.cost
		}
		if r.IntN(3) > 0 {
			s.seconds = float64(1 + r.IntN(400))
			fields["duration"] = []any{s.seconds, fmt.Sprintf("%dm %02ds", int(s.seconds)/60, int(s.seconds)%60),
				fmt.Sprint(s.seconds)}[r.IntN(3)]
			fields["duration_seconds"] = []any{nil, 0}[r.IntN(2)]
		}
		if r.IntN(2) == 0 {
			s.parts = map[string]float64{}
			breakdown := row{}
			for _, name := range []string{"stt", "llm", "tts", "telephony", "infra", "storage"} {
				if r.IntN(3) > 0 && (name != "storage" || n%2 == 0) {
					s.parts[name] = float64(r.IntN(100)) / 1000
					breakdown[name] = []any{s.parts[name], fmt.Sprint(s.parts[name])}[r.IntN(10)/9]
				}
			}
			if r.IntN(2) == 0 {
				breakdown["total"] = 99
			}
			fields["metadata"] = []row{
				{"cost_breakdown": breakdown},
				{"about": "orders", "cost_breakdown": breakdown, "language": "en"},
				{"about": "{\"cost_breakdown\":{\"stt\":5}}", "cost_breakdown": breakdown},
				{"about": row{"cost_breakdown": row{"stt": 5}}, "cost_breakdown": breakdown},
			}[r.IntN(4)]
		}
		if r.IntN(2) == 0 {
			s.heard = float64(1+r.IntN(500)) / 100
			fields["stt_minutes"] = s.heard
		}
		s.spoken = float64(r.IntN(50))
		fields["tts_characters"] = s.spoken
		all = append(all, s)
		rows = append(rows, call(tenantA, n, fields))
	}
	merge(t, w, schema.Calls, rows...)
	return all
}

func hyphened(status string) string {
	if i := slices.Index([]string{"in_progress", "no_answer"}, status); i >= 0 {
		return []string{"in-progress", "no-answer"}[i]
	}
	return status
}

// periodOf returns the name of the period of a time, computed with Go's calendar.
func periodOf(at time.Time, zone *time.Location, interval string) string {
	local := at.In(zone)
	switch interval {
	case "hour":
		return at.Add(-time.Duration(local.Minute()) * time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")
	case "day":
		return local.Format(time.DateOnly)
	case "week":
		return local.AddDate(0, 0, -(int(local.Weekday())+6)%7).Format(time.DateOnly)
	case "month":
		return local.Format("2006-01") + "-01"
	}
	return ""
}

// Every figure of calls equals the figure computed in Go from the same rows, in time zones with and without daylight
// saving time and with half-hour offsets.
func TestAnalyze_CallsAndCosts(t *testing.T) {
	w := openNew(t)
	all := samples(t, w)
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"} {
		location, err := time.LoadLocation(zone)
		noError(t, err)
		for _, interval := range analytics.Intervals {
			groups := map[[2]string][]sample{}
			for _, s := range all {
				key := [2]string{periodOf(s.at, location, interval), hyphened(s.status)}
				groups[key] = append(groups[key], s)
			}
			costs, calls := analyze(t, w, "costs", zone, interval, schema.Filter{}, "status"),
				analyze(t, w, "calls", zone, interval, schema.Filter{}, "status")
			if len(costs) != len(groups) || len(calls) != len(groups) {
				t.Fatalf("%s by %s: got %d rows of costs and %d of calls, want %d",
					zone, interval, len(costs), len(calls), len(groups))
			}
			for i := range costs {
				of := func(f figures) []sample { return groups[[2]string{*orEmpty(f.Period), f.Group["status"].(string)}] }
				wantCosts(t, costs[i], of(costs[i]))
				wantCalls(t, calls[i], of(calls[i]), location)
			}
		}
	}
	wantCosts(t, analyze(t, w, "costs", "UTC", "none", schema.Filter{})[0], all)
	wantCalls(t, analyze(t, w, "calls", "UTC", "none", schema.Filter{})[0], all, time.UTC)
}

func wantCosts(t *testing.T, f figures, of []sample) {
	t.Helper()
	var known, completed []float64
	var sum, sumCompleted, sumTimed, seconds, heard, spoken float64
	pending := 0
	parts := map[string]float64{}
	for _, s := range of {
		spoken += s.spoken
		heard += s.heard
		for name, cost := range s.parts {
			parts[name] += cost
		}
		if s.cost == 0 {
			if unbilled := []string{"busy", "failed", "no-answer"}; !slices.Contains(unbilled, hyphened(s.status)) &&
				(s.status != "completed" || s.seconds > 0) {
				pending++
			}
			continue
		}
		known = append(known, s.cost)
		sum += s.cost
		if s.status == "completed" {
			completed = append(completed, s.cost)
			sumCompleted += s.cost
		}
		if s.seconds > 0 {
			sumTimed += s.cost
			seconds += s.seconds
		}
	}
	f.want(t, "calls", float64(len(of)))
	f.want(t, "pending_calls", float64(pending))
	f.want(t, "cost", orNil(len(known), sum))
	f.want(t, "cost_per_call", ratio(sum, float64(len(known))))
	f.want(t, "cost_per_minute", ratio(sumTimed*60, seconds))
	f.want(t, "cost_per_completed_call", ratio(sumCompleted, float64(len(completed))))
	for name, q := range map[string]float64{"cost_p50": 0.5, "cost_p90": 0.9, "cost_p95": 0.95, "cost_p99": 0.99} {
		f.want(t, name, quantile(known, q))
	}
	f.want(t, "tts_characters", spoken)
	f.want(t, "stt_minutes", orNil(int(math.Ceil(heard)), heard)) // none: of no call known
	components := figures{rest: f.rest["components"].(map[string]any)}
	for shown, name := range map[string]string{"stt": "stt", "llm": "llm", "tts": "tts", "telephony": "telephony",
		"infra": "infra", "other": "storage"} {
		cost, known := parts[name]
		if !known {
			components.want(t, shown, nil)
			continue
		}
		components.want(t, shown, cost)
	}
}

// A malformed breakdown, or a breakdown with values other than costs, is ignored and does not prevent the sums of
// other calls. If a name occurs twice, the first value counts.
func TestAnalyze_InvalidCostBreakdowns(t *testing.T) {
	w := openNew(t)
	for n, metadata := range []string{
		`"cost_breakdown"`, `["cost_breakdown"]`, `{"about": "cost_breakdown"}`, `{"cost_breakdown": 5}`,
		`{"cost_breakdown": [1]}`, `{"cost_breakdown": null}`, `{"cost_breakdown": {}}`,
		`{"cost_breakdown": {"stt": true, "llm": "much", "tts": null, "telephony": [1], "infra": {"stt": 1}, ` +
			`"storage": "more"}}`, `{"cost_breakdown": {"stt": 1, "stt": 2, "storage": 3}}`,
		`{"about": {"cost_breakdown": {"stt": 7}}}`, `{"about": "{\"cost_breakdown\":{\"stt\":7}}"}`,
		`{"cost_breakdown": {"stt": 1e400}}`,
		`{ "cost_breakdown" : { "stt" : 0.25 , "llm" : -5e-1 , "total" : 9 } , "about" : 1 }`,
	} {
		wantCounts(t, merge(t, w, schema.Calls, call(tenantA, n, row{"metadata": json.RawMessage(metadata)})),
			schema.Counts{Read: 1, New: 1})
	}
	components := figures{rest: analyze(t, w, "costs", "UTC", "none",
		schema.Filter{})[0].rest["components"].(map[string]any)}
	for name, cost := range map[string]any{"stt": 1.25, "llm": -0.5, "tts": nil, "telephony": nil, "infra": nil,
		"other": 3.0} {
		components.want(t, name, cost)
	}
}

func wantCalls(t *testing.T, f figures, of []sample, zone *time.Location) {
	t.Helper()
	var lengths []float64
	var seconds, answered, completed, missed float64
	hours := make([]int, 24)
	for _, s := range of {
		hours[s.at.In(zone).Hour()]++
		switch hyphened(s.status) {
		case "completed":
			completed++
			answered++
		case "in-progress":
			answered++
		case "failed", "busy", "no-answer":
			missed++
		}
		if s.seconds > 0 {
			lengths = append(lengths, s.seconds)
			seconds += s.seconds
		}
	}
	f.want(t, "calls", float64(len(of)))
	f.want(t, "answered", answered)
	f.want(t, "completed", completed)
	f.want(t, "missed", missed)
	f.want(t, "answer_rate", ratio(answered, answered+missed))
	f.want(t, "completion_rate", ratio(completed, answered+missed))
	f.want(t, "success_rate", ratio(completed, float64(len(of))))
	f.want(t, "seconds", orNil(len(lengths), seconds))
	f.want(t, "seconds_mean", ratio(seconds, float64(len(lengths))))
	for name, q := range map[string]float64{"seconds_p50": 0.5, "seconds_p90": 0.9, "seconds_p95": 0.95,
		"seconds_p99": 0.99} {
		f.want(t, name, quantile(lengths, q))
	}
	order := make([]int, 24)
	for h := range order {
		order[h] = h
	}
	slices.SortStableFunc(order, func(a, b int) int { return hours[b] - hours[a] })
	busiest := []any{}
	for _, h := range order[:3] {
		if hours[h] > 0 {
			busiest = append(busiest, map[string]any{"hour": h, "calls": hours[h]})
		}
	}
	f.want(t, "busiest_hours", busiest)
}

// A tenant without rows has totals, which are null or 0, and no groups.
func TestAnalyze_NoRows(t *testing.T) {
	w := openNew(t)
	merge(t, w, schema.Calls, call(tenantB, 1, row{}))
	for _, report := range analytics.Reports {
		total := analyze(t, w, report.Name, "Asia/Kolkata", "none", schema.Filter{})
		switch terms := report.Name == "transcripts/terms"; {
		case terms && len(total) != 0 || !terms && len(total) != 1:
			t.Fatalf("%s: got %d rows, want 1", report.Name, len(total))
		case !terms:
			total[0].want(t, report.Source.Name, 0.0)
		}
		for _, interval := range analytics.Intervals[1:] {
			if rows := analyze(t, w, report.Name, "UTC", interval, schema.Filter{}, report.Groups()...); len(rows) != 0 {
				t.Errorf("%s by %s: got %v, want no rows", report.Name, interval, rows)
			}
		}
	}
}
