package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// What the API has beyond its documentation.

type list struct {
	Data []struct {
		ID      string
		Deleted bool
		Summary string
	}
	Meta struct {
		Page, Total, TotalPages *int64
		HasMore                 bool    `json:"has_more"`
		NextCursor              *string `json:"next_cursor"`
		ResumeCursor            string  `json:"resume_cursor"`
		Seq                     *int64
	}
}

// listed reads one page.
func (a *api) listed(t *testing.T, path, key string) (l list, next string) {
	t.Helper()
	got := a.do(t, "GET", path, key)
	if got.status != 200 {
		t.Fatalf("%s: %d %s", path, got.status, got.body)
	}
	noError(t, json.Unmarshal([]byte(got.body), &l))
	next, _, _ = strings.Cut(strings.TrimPrefix(got.header.Get("Link"), "<"), `>; rel="next"`)
	next, isAbsolute := strings.CutPrefix(next, a.URL)
	if isAbsolute != l.Meta.HasMore {
		t.Errorf("%s: more is %t, and the link is %q", path, l.Meta.HasMore, got.header.Get("Link"))
	}
	return l, next
}

// walk follows the links from a page on and returns the ids of all.
func (a *api) walk(t *testing.T, path, key string) (ids []string) {
	t.Helper()
	for path != "" {
		var l list
		l, path = a.listed(t, path, key)
		for _, item := range l.Data {
			ids = append(ids, item.ID)
		}
	}
	return ids
}

func TestCursor_WalksTheListByLinks(t *testing.T) {
	t.Parallel()
	a := start(t)
	for _, filters := range []string{"", "&status=completed", "&from=2026-02-10&to=2026-03-09", "&status=nothing"} {
		var paged []string
		for page := 1; ; page++ {
			l, _ := a.listed(t, fmt.Sprintf("/api/v1/calls?limit=7&page=%d%s", page, filters), a.key)
			for _, item := range l.Data {
				paged = append(paged, item.ID)
			}
			if !l.Meta.HasMore {
				break
			}
		}
		if walked := a.walk(t, "/api/v1/calls?limit=7"+filters, a.key); !slices.Equal(walked, paged) {
			t.Errorf("%q: %d rows by links, %d by pages", filters, len(walked), len(paged))
		}
	}
	first, _ := a.listed(t, "/api/v1/calls?limit=7", a.key)
	second, _ := a.listed(t, "/api/v1/calls?limit=3&cursor="+*first.Meta.NextCursor, a.key)
	if second.Meta.Page != nil || second.Meta.Total == nil || *second.Meta.Total != 60 || len(second.Data) != 3 {
		t.Errorf("%+v", second)
	}
}

// A cursor is good for its own tenant, dataset and filters, and only as it was given.
func TestCursor_IsValidForItsScopeOnly(t *testing.T) {
	t.Parallel()
	a := start(t)
	first, _ := a.listed(t, "/api/v1/calls?limit=7&status=completed", a.key)
	good := *first.Meta.NextCursor
	for path, key := range map[string]string{
		"calls?cursor=" + good:                                     a.key,
		"calls?status=no-answer&cursor=" + good:                    a.key,
		"messages?cursor=" + good:                                  a.key,
		"calls?status=completed&to=2026-12-31&cursor=" + good:      a.key,
		"calls?status=completed&cursor=" + good + "A":              a.key,
		"calls?status=completed&cursor=B" + good[1:]:               a.key,
		"calls?status=completed&cursor=" + good[:54]:               a.key,
		"calls?status=completed&cursor=AQ":                         a.key,
		"calls?status=completed&cursor=%00":                        a.key,
		"calls?cursor=" + url.QueryEscape(`{"id":"' OR 1=1 --"}`):  a.key,
		"calls?status=completed&limit=100&cursor=" + good:          a.other,
		"customers?status=completed&since=0&page=1&cursor=" + good: a.key,
	} {
		if got := a.do(t, "GET", "/api/v1/"+path, key); got.status != 400 || !strings.Contains(got.body, "INVALID_CURSOR") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if l, _ := a.listed(t, "/api/v1/calls?limit=100&status=completed&cursor="+good, a.key); len(l.Data) != 22 {
		t.Errorf("%d rows", len(l.Data))
	}
}

// While rows are written, a client that follows cursors sees each older row once, in the order of the list.
func TestCursor_WalkWhileRowsAreWritten(t *testing.T) {
	t.Parallel()
	a := start(t)
	before := a.walk(t, "/api/v1/calls?limit=100", a.key)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 2000; ; n++ {
			select {
			case <-stop:
				return
			default:
				merge(t, a.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-%02d-%02dT12:00:00Z"}`,
					mine, id(n), 1+n%5, 1+n%28))
			}
		}
	}()
	for range 3 {
		walked := a.walk(t, "/api/v1/calls?limit=5", a.key)
		seen := map[string]int{}
		for _, id := range walked {
			if seen[id]++; seen[id] > 1 {
				t.Errorf("%s twice", id)
			}
		}
		for _, id := range before {
			if seen[id] != 1 {
				t.Errorf("%s is missing", id)
			}
		}
	}
	close(stop)
	<-done
}

func TestList_IncludeTotal(t *testing.T) {
	t.Parallel()
	a := start(t)
	for query, total := range map[string]bool{"": true, "include_total=true": true, "include_total=x": true,
		"include_total=false": false, "include_total=0": false} {
		got := a.do(t, "GET", "/api/v1/calls?limit=50&"+query, a.key)
		if strings.Contains(got.body, `"total":60,"total_pages":2`) != total ||
			strings.Contains(got.body, `"total":null,"total_pages":null`) == total ||
			!strings.Contains(got.body, `"has_more":true`) {
			t.Errorf("%s: …%s", query, got.body[max(0, len(got.body)-200):])
		}
	}
}

func TestProblem_RFC9457(t *testing.T) {
	t.Parallel()
	at := time.Now()
	a := start(t, func(o *httpapi.Options) {
		o.Rules, o.Limiter = limit.Rules{{Max: 1, Window: time.Minute}}, limit.NewMemory(10, func() time.Time { return at })
	})
	const accept = "application/problem+json, application/json;q=0.5"
	a.do(t, "GET", "/api/v1/calls", a.key)
	for _, test := range []struct{ path, key, body string }{
		{"/api/v1/calls", "", `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"No x-api-key header provided","code":"MISSING_API_KEY"}`},
		{"/api/v1/calls", a.key, `{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Rate limit exceeded. Maximum 1 requests per minute.","code":"RATE_LIMIT_EXCEEDED","retry_after":60}`},
	} {
		got := a.do(t, "GET", test.path, test.key, "Accept", accept)
		if got.body != test.body || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v %s", got.header, got.body)
		}
	}
}

func TestDetail_ETag(t *testing.T) {
	t.Parallel()
	a := start(t)
	path := "/api/v1/calls/" + id(1)
	first := a.do(t, "GET", path, a.key)
	tag := first.header.Get("ETag")
	for match, status := range map[string]int{tag: 304, `"x", ` + tag: 304, "*": 304, strings.TrimPrefix(tag, "W/"): 304,
		`"x"`: 200, "": 200} {
		got := a.do(t, "GET", path, a.key, "If-None-Match", match)
		if got.status != status || got.header.Get("ETag") != tag || status == 304 && got.body != "" || status == 200 &&
			got.body != first.body {
			t.Errorf("%s: %d %v %s", match, got.status, got.header, got.body)
		}
	}
	merge(t, a.warehouse, schema.Messages, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-05"}`, mine, id(77)))
	if same := a.do(t, "GET", path, a.key, "If-None-Match", tag); same.status != 304 {
		t.Errorf("another row changed: %d", same.status)
	}
	if other := a.do(t, "GET", "/api/v1/calls/"+id(2), a.key, "If-None-Match", tag); other.status != 200 {
		t.Errorf("another row has the tag: %d", other.status)
	}
}

func TestRespond_Compression(t *testing.T) {
	t.Parallel()
	a := start(t)
	plain := a.do(t, "GET", "/api/v1/calls", a.key, "Accept-Encoding", "identity").body
	for accept, encoding := range map[string]string{
		"gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip;q=1.0, zstd;q=0.5": "gzip", "*": "zstd",
		"zstd;q=0, *": "gzip",
		"gzip;q=0":    "", "br": "", "identity": "", "zstd;q=x": "",
	} {
		got := a.do(t, "GET", "/api/v1/calls", a.key, "Accept-Encoding", accept)
		body := string(decoded(t, got.header.Get("Content-Encoding"), []byte(got.body)))
		if got.header.Get("Content-Encoding") != encoding || body != plain ||
			got.header.Get("Content-Length") != fmt.Sprint(len(got.body)) ||
			!slices.Contains(got.header.Values("Vary"), "Accept-Encoding") {
			t.Errorf("%s: %v, %d bytes decoded of %d", accept, got.header, len(body), len(plain))
		}
		head := a.do(t, "HEAD", "/api/v1/calls", a.key, "Accept-Encoding", accept)
		if head.header.Get("Content-Length") != got.header.Get("Content-Length") || head.body != "" {
			t.Errorf("%s: HEAD says %s, GET %s", accept, head.header.Get("Content-Length"), got.header.Get("Content-Length"))
		}
	}
	if small := a.do(t, "GET", "/healthz", "", "Accept-Encoding", "gzip"); small.header.Get("Content-Encoding") != "" {
		t.Error("what is small is compressed")
	}
}

// A key of another tenant finds nothing by any id, filter, feed position or cursor of this tenant.
func TestTenants_AreIsolated(t *testing.T) {
	t.Parallel()
	a := start(t)
	var cursors []string
	for _, dataset := range schema.Datasets {
		for _, query := range []string{"?limit=1", "?limit=1&since=0"} {
			l, _ := a.listed(t, "/api/v1/"+dataset.Name+query, a.key)
			cursors = append(cursors, *l.Meta.NextCursor)
		}
	}
	rows := []string{id(1), id(2), id(60), id(11), id(12), id(21), id(22)}
	for _, key := range []string{a.other, a.empty} {
		for _, dataset := range schema.Datasets {
			path := "/api/v1/" + dataset.Name
			for _, row := range rows {
				if got := a.do(t, "GET", path+"/"+row, key); got.status != 404 ||
					got.body != `{"error":{"code":"NOT_FOUND","message":"Resource not found"}}` {
					t.Errorf("%s/%s: %d %s", path, row, got.status, got.body)
				}
			}
			for _, cursor := range cursors {
				if got := a.do(t, "GET", path+"?cursor="+cursor, key); got.status != 400 {
					t.Errorf("%s?cursor=%s: %d", path, cursor, got.status)
				}
			}
			for _, query := range []string{"?since=0&limit=100", "?limit=100", "?customer_id=" + id(11),
				"?assistant_id=11111111-0000-4000-8000-000000000001", "?phone_number=919876512345", "?search=asha"} {
				for _, row := range a.walk(t, path+query, key) {
					if row != id(900) {
						t.Errorf("%s%s shows %s", path, query, row)
					}
				}
			}
		}
	}
}

// The document has every route of the server, and no other.
func TestOpenAPI_HasEveryRoute(t *testing.T) {
	t.Parallel()
	routes, err := httpapi.Routes()
	noError(t, err)
	documented := openapitest.Routes()
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("the server has %v\nthe document  %v", routes, documented)
	}
	a := start(t)
	for _, path := range []string{"/openapi.json", "/docs"} {
		if got := a.do(t, "GET", path, "", "Accept", "*/*"); got.status != 200 || len(got.body) < 10_000 {
			t.Errorf("%s: %d, %d bytes", path, got.status, len(got.body))
		}
	}
}

// The feed gives every row in the order it changed, deleted ones too, and its end is a place to go on from.
func TestFeed_ChangesAndDeletions(t *testing.T) {
	t.Parallel()
	a := start(t)
	state := map[string]string{} // by id, as a client keeps it
	follow := func(path string) (last list) {
		for path != "" {
			var next string
			last, next = a.listed(t, path, a.key)
			for _, item := range last.Data {
				if state[item.ID] = item.Summary; item.Deleted {
					delete(state, item.ID)
				}
			}
			if path = next; (last.Meta.NextCursor == nil) == last.Meta.HasMore || last.Meta.ResumeCursor == "" ||
				(last.Meta.Seq == nil) != last.Meta.HasMore {
				t.Fatalf("%+v", last.Meta)
			}
		}
		return last
	}
	end := follow("/api/v1/calls?since=0&limit=7")
	if len(state) != 60 {
		t.Errorf("%d rows", len(state))
	}
	again := "/api/v1/calls?limit=7&cursor=" + end.Meta.ResumeCursor
	for range 2 {
		if same := follow(again); len(same.Data) != 0 || same.Meta.ResumeCursor != end.Meta.ResumeCursor ||
			*same.Meta.Seq != *end.Meta.Seq {
			t.Errorf("the end has moved: %+v", same)
		}
	}
	change := func(row string) {
		_, _, err := a.warehouse.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Rows: lines(t, row)})
		noError(t, err)
	}
	change(fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-02-02","summary":"changed"}`, mine, id(3)))
	change(fmt.Sprintf(`{"user_id":%q,"id":%q,"deleted_at":"2026-05-01T00:00:00Z"}`, mine, id(4)))
	change(fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-31","summary":"late"}`, mine, id(61)))
	for _, path := range []string{again, fmt.Sprintf("/api/v1/calls?since=%d", *end.Meta.Seq)} {
		if l, _ := a.listed(t, path, a.key); len(l.Data) != 3 || l.Data[0].ID != id(3) || !l.Data[1].Deleted ||
			l.Data[2].ID != id(61) {
			t.Errorf("%s: %+v", path, l)
		}
	}
	follow(again)
	if len(state) != 60 || state[id(3)] != "changed" || state[id(61)] != "late" {
		t.Errorf("%v", state)
	}
	if _, there := state[id(4)]; there {
		t.Error("the deleted row is there")
	}
	if got := a.do(t, "GET", "/api/v1/calls/"+id(4), a.key); got.status != 404 {
		t.Errorf("the deleted row: %d", got.status)
	}
	// Filters narrow rows; deletions are always included.
	if l, _ := a.listed(t, "/api/v1/calls?since=0&limit=100&status=completed", a.key); len(l.Data) != 29 {
		t.Errorf("%d completed or deleted", len(l.Data))
	}
	for _, since := range []string{"100000000", "1767225600"} { // beyond the newest commit
		if got := a.do(t, "GET", "/api/v1/calls?since="+since, a.key); got.status != 400 ||
			!strings.Contains(got.body, "INVALID_CURSOR") {
			t.Errorf("%s: %d %s", since, got.status, got.body)
		}
	}
	for _, since := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		if got := a.do(t, "GET", "/api/v1/calls?since="+since, a.key); got.status != 400 ||
			!strings.Contains(got.body, "INVALID_FILTER") {
			t.Errorf("%s: %d", since, got.status)
		}
	}
}
