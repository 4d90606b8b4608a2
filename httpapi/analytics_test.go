package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse/analytics"
)

type report struct {
	Data     []map[string]any `json:"data"`
	Previous *struct {
		From, Before string
		Data         []map[string]any `json:"data"`
	} `json:"previous"`
	Meta struct {
		From, Before, Timezone, Interval, Currency string
	} `json:"meta"`
}

func (b *bulk) report(t *testing.T, target string) (r report) {
	t.Helper()
	got := b.ask(t, "GET", "/api/v1/analytics/"+target, b.secret)
	if got.status != 200 {
		t.Fatalf("%s: %d %s", target, got.status, got.body)
	}
	noError(t, json.Unmarshal([]byte(got.body), &r))
	return r
}

// A date is a day of the asked zone, of 23 or 25 hours where its clocks change; and so is the period before.
func TestAnalytics_DaysOfATimezone(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for _, test := range []struct{ query, from, before, previous string }{
		{"from=2026-03-01&to=2026-03-01", "2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z", "2026-02-28T00:00:00.000Z"},
		{"from=2026-03-29&to=2026-03-29&timezone=Europe/Berlin", "2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z",
			"2026-03-27T23:00:00.000Z"},
		{"from=2026-11-01&to=2026-11-01&timezone=America/New_York", "2026-11-01T04:00:00.000Z", "2026-11-02T05:00:00.000Z",
			"2026-10-31T04:00:00.000Z"},
		{"from=2026-03-30&to=2026-03-31&timezone=Europe/Berlin", "2026-03-29T22:00:00.000Z", "2026-03-31T22:00:00.000Z",
			"2026-03-27T23:00:00.000Z"},
		{"from=2026-03-01T10:00&to=2026-03-01T11:00:00Z&timezone=Asia/Kolkata", "2026-03-01T04:30:00.000Z",
			"2026-03-01T11:00:00.001Z", "2026-02-28T21:59:59.999Z"},
		// there was no midnight
		{"from=2018-11-04&to=2018-11-04&timezone=America/Sao_Paulo", "2018-11-04T03:00:00.000Z", "2018-11-05T02:00:00.000Z",
			"2018-11-03T03:00:00.000Z"},
	} {
		got := b.report(t, "calls?compare=previous_period&"+test.query)
		if got.Meta.From != test.from || got.Meta.Before != test.before || got.Previous.From != test.previous ||
			got.Previous.Before != test.from {
			t.Errorf("%s: %+v %+v", test.query, got.Meta, got.Previous)
		}
	}
}

func TestAnalytics_JSON(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for i, r := range analytics.Reports {
		for j, interval := range analytics.Intervals {
			if i > 0 && i != j { // the reports share the code of intervals
				continue
			}
			b.report(t, r.Name+"?interval="+interval+
				"&timezone=Europe/Berlin&compare=previous_period&from=2026-04-01&to=2026-04-30&group_by="+
				strings.Join(r.Groups(), ","))
		}
	}
	costs := b.report(t, "costs?group_by=status&compare=previous_period&from=2026-04-01&to=2026-04-30&status=in-progress")
	if len(costs.Data) != 1 || costs.Data[0]["cost"] != 0.0337 ||
		fmt.Sprint(costs.Data[0]["group"]) != "map[status:in-progress]" || len(costs.Previous.Data) != 0 ||
		costs.Meta.Currency != "USD" {
		t.Errorf("%+v", costs)
	}
	all, now, before := b.report(t, "calls"), b.report(t, "calls?compare=previous_period&from=2026-03-01&to=2026-03-10"),
		b.report(t, "calls?from=2026-02-19&to=2026-02-28")
	if all.Data[0]["calls"] != 60.0 || all.Previous != nil || now.Previous.Data[0]["calls"] != before.Data[0]["calls"] ||
		before.Data[0]["calls"] != 10.0 {
		t.Errorf("%v %v %v", all, now, before)
	}
	if filtered := b.report(t, "messages?phone_number=%2B4930111"); filtered.Data[0]["messages"] != 1.0 {
		t.Errorf("%v", filtered)
	}
}

func TestAnalytics_InvalidParameters(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for _, query := range []string{"timezone=Mars/Base", "timezone=Local", "timezone=../UTC", "timezone=%27",
		"timezone=posixrules", "interval=year", "group_by=type", "group_by=status,status", "group_by=status,",
		"from=yesterday", "to=2026-02-30", "%66rom=x", "compare=next", "compare=previous_period",
		"compare=previous_period&from=2026-03-02&to=2026-03-01", "assistant_id=1", "status=%ff", "status=%zz"} {
		if got := b.ask(t, "GET", "/api/v1/analytics/costs?"+query, b.secret); got.status != 400 ||
			!strings.Contains(got.body, `"INVALID_FILTER"`) {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	for _, r := range analytics.Reports {
		path := "/api/v1/analytics/" + r.Name
		for key, want := range map[string]string{"": "MISSING_API_KEY", b.key: "SECRET_KEY_REQUIRED",
			b.old: "REVOKED_API_KEY"} {
			if got := b.ask(t, "GET", path, key); !strings.Contains(got.body, want) {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		}
		if got := b.ask(t, "POST", path, b.secret); got.status != 405 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	var theirs report
	noError(t, json.Unmarshal([]byte(b.ask(t, "GET", "/api/v1/analytics/calls", b.another).body), &theirs))
	if theirs.Data[0]["calls"] != 1.0 {
		t.Errorf("another's figures are %v", theirs.Data)
	}
}

func TestSearch_JSON(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	const path = "/api/v1/analytics/transcripts/search?"
	var found struct {
		Data []struct {
			CallID string `json:"call_id"`
			Turns  []struct {
				Snippet string
				Places  [][2]int
			}
		}
		Meta struct {
			Total   int64
			HasMore bool `json:"has_more"`
		}
	}
	for _, query := range []string{"q=HI", "q=hi&sort=newest&limit=1&from=2026-04-19&to=2026-04-19&timezone=Asia/Kolkata",
		"q=hi&phone_number=919876512345&status=in-progress"} {
		noError(t, json.Unmarshal([]byte(b.ask(t, "GET", path+query, b.secret).body), &found))
		if found.Meta.Total != 1 || found.Meta.HasMore || len(found.Data) != 1 ||
			found.Data[0].CallID != "00000000-0000-4000-8000-000000000001" || found.Data[0].Turns[0].Snippet != "hi" ||
			found.Data[0].Turns[0].Places[0] != [2]int{0, 2} {
			t.Errorf("%s: %+v", query, found)
		}
	}
	for _, query := range []string{"q=hi&page=2", "q=hi&to=2026-04-18&timezone=Asia/Kolkata", "q=nothing"} {
		if got := b.ask(t, "GET", path+query, b.secret); got.status != 200 || !strings.Contains(got.body, `"data":[]`) {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	for query, want := range map[string]string{"": "q: ", "q=%28a": "at character 3", "q=%ff": "q: ",
		"q=a&sort=best": "sort", "q=a&page=100000": "page", "q=a&timezone=x": "timezone", "q=a&status=%ff": "status"} {
		if got := b.ask(t, "GET", path+query, b.secret); got.status != 400 ||
			!strings.Contains(got.body, `"INVALID_FILTER"`) || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	for key, want := range map[string]string{"": "MISSING_API_KEY", b.key: "SECRET_KEY_REQUIRED",
		b.old: "REVOKED_API_KEY"} {
		if got := b.ask(t, "GET", path+"q=hi", key); !strings.Contains(got.body, want) {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if got := b.ask(t, "GET", path+"q=hi", b.another); !strings.Contains(got.body, `"data":[]`) {
		t.Errorf("another's: %s", got.body)
	}
}

// Of a long turn, the part around the first place is shown, and it says where it begins; in code points.
func TestSnippet_SurroundsTheMatch(t *testing.T) {
	t.Parallel()
	long := []rune(strings.Repeat("नम😀", 150) + " needle " + strings.Repeat("x", 300))
	for _, test := range []struct {
		text  string
		place [][2]int
		start int
		want  string
	}{
		{string(long), [][2]int{{451, 457}}, 391, string(long[391:591])},
		{string(long), [][2]int{{0, 3}}, 0, string(long[:200])},
		{string(long), [][2]int{{750, 751}}, 558, string(long[558:])},
		{string(long), nil, 0, string(long[:200])},
		{"short", [][2]int{{2, 3}}, 0, "short"},
		{"", nil, 0, ""},
	} {
		if got, start := httpapi.Snippet(test.text, test.place); got != test.want || start != test.start {
			t.Errorf("%v: %q from %d", test.place, got, start)
		}
	}
}
