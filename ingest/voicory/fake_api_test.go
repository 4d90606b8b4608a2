package voicory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

const testKey = "sk_0123456789abcdefghijklmnopqrstuv"

// A storedRow is a row of the fake API.
type storedRow struct {
	id        string
	createdAt time.Time
	version   int // counts its changes
	// listed is the row as listed, in the version listedVersion. It is empty until the row is listed.
	listed        string
	listedVersion int
}

// json returns the row as it is listed, or with the fields of details. Parsing and encoding it again would change its
// numbers and spaces.
func (r *storedRow) json(detail bool) string {
	if r.listed == "" || r.listedVersion != r.version {
		r.listedVersion = r.version
		r.listed = fmt.Sprintf(`{"id":%q,"cost":1.10,  "version":%d,"big":12345678901234567890,"summary":"caf\u00e9 \n \"{[",`+
			"\n"+`"unknown":[{}],"created_at":%q}`, r.id, r.version, r.createdAt.UTC().Format(boundLayout))
	}
	if !detail {
		return r.listed
	}
	return strings.TrimSuffix(r.listed, "}") +
		fmt.Sprintf(`,"stt_minutes":%d.50,"tts_characters":9007199254740993}`, r.version)
}

// A fakeAPI is the documented API over rows in memory, with options for faults. Its fields are guarded by mu while it
// serves.
type fakeAPI struct {
	mu            sync.Mutex
	rows          map[string][]*storedRow // newest first
	rules         []rule                  // rate limits; none: no limits and no rate limit headers
	pad           string                  // additional fields of each row, as JSON
	limitHeader   int                     // X-RateLimit-Limit; 0: the limit of the first rule
	arrivals      []time.Time             // times of the accepted requests
	refused       int                     // number of requests that got status 429
	requests      []string                // URIs of all requests
	microseconds  bool                    // times are stored in microseconds instead of milliseconds
	shuffle       *rand.Rand              // rows of the same time are in random order; nil: sorted by id
	sortFirstPage bool                    // the first page is sorted in spite of shuffle
	key           string                  // key of the account; "": testKey
	clockSkew     time.Duration           // added to the time in Date and X-RateLimit-Reset
	// intercept is called with the number of each accepted request, counting all from 1. If it returns a handler, that
	// handles the request.
	intercept func(n int, r *http.Request) http.HandlerFunc
	latency   func() (there, back time.Duration) // delays before and after handling a request
}

func newFakeAPI() *fakeAPI { return &fakeAPI{rows: map[string][]*storedRow{}, rules: documented[:]} }

// add inserts a row and returns it.
func (u *fakeAPI) add(dataset string, created time.Time) *storedRow {
	if !u.microseconds {
		created = created.Truncate(time.Millisecond)
	}
	r := &storedRow{id: uuid.NewString(), createdAt: created.Truncate(time.Microsecond)}
	rows := u.rows[dataset]
	i, _ := slices.BinarySearchFunc(rows, r, compareRows)
	u.rows[dataset] = slices.Insert(rows, i, r)
	return r
}

func compareRows(a, b *storedRow) int {
	return cmp.Or(b.createdAt.Compare(a.createdAt), cmp.Compare(a.id, b.id))
}

// fill adds n rows to each dataset, one per minute, the newest with the current time.
func (u *fakeAPI) fill(n int) {
	for _, dataset := range []string{"calls", "customers", "messages"} {
		for i := range n {
			u.add(dataset, time.Now().Add(-time.Duration(n-1-i)*time.Minute))
		}
	}
}

func (u *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	there, back := time.Duration(0), time.Duration(0)
	u.mu.Lock()
	if u.latency != nil {
		there, back = u.latency()
	}
	u.mu.Unlock()
	time.Sleep(there)
	defer time.Sleep(back)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, r.URL.RequestURI())
	w.Header().Set("Date", time.Now().Add(u.clockSkew).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("X-Api-Key") != cmp.Or(u.key, testKey) {
		writeError(w, 401, "INVALID_API_KEY", "Invalid API key")
		return
	}
	if !u.checkLimit(w) {
		return
	}
	if u.intercept != nil {
		if instead := u.intercept(len(u.requests), r); instead != nil {
			instead(w, r)
			return
		}
	}
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	rows, known := u.rows[path[0]]
	switch {
	case !known && path[0] != "calls" && path[0] != "customers" && path[0] != "messages":
		http.NotFound(w, r)
	case len(path) == 2:
		i := slices.IndexFunc(rows, func(r *storedRow) bool { return r.id == path[1] })
		if i < 0 {
			writeError(w, 404, "NOT_FOUND", "Resource not found")
			return
		}
		fmt.Fprintf(w, `{"data":%s}`, rows[i].json(true))
	default:
		u.servePage(w, r, rows)
	}
}

// limit counts in sliding windows, at arrival.
func (u *fakeAPI) checkLimit(w http.ResponseWriter) bool {
	now := time.Now()
	wait := time.Duration(0)
	for _, rule := range u.rules {
		if i := len(u.arrivals) - rule.max; i >= 0 {
			wait = max(wait, rule.window-now.Sub(u.arrivals[i]))
		}
	}
	if wait <= 0 {
		u.arrivals = append(u.arrivals, now)
	}
	if len(u.rules) > 0 {
		first := u.rules[0]
		left := first.max
		for _, at := range u.arrivals {
			if now.Sub(at) < first.window {
				left--
			}
		}
		w.Header().Set("X-RateLimit-Limit", strconv.Itoa(cmp.Or(u.limitHeader, first.max)))
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(u.clockSkew+first.window+time.Second).Unix(), 10))
	}
	if wait > 0 {
		u.refused++
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		writeError(w, 429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded. Maximum 60 requests per minute.")
	}
	return wait <= 0
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":%q}}`, code, message)
}

func (u *fakeAPI) servePage(w http.ResponseWriter, r *http.Request, rows []*storedRow) {
	query := r.URL.Query()
	from, fromErr := time.Parse(time.RFC3339Nano, cmp.Or(query.Get("from"), "0001-01-01T00:00:00Z"))
	to, toErr := time.Parse(time.RFC3339Nano, cmp.Or(query.Get("to"), "9999-01-01T00:00:00Z"))
	if fromErr != nil || toErr != nil {
		writeError(w, 400, "INVALID_FILTER", "Invalid filter")
		return
	}
	begin, _ := slices.BinarySearchFunc(rows, to, func(r *storedRow, to time.Time) int {
		return cmp.Compare(to.UnixMicro(), r.createdAt.UnixMicro())
	})
	end, _ := slices.BinarySearchFunc(rows, from, func(r *storedRow, from time.Time) int {
		return cmp.Or(cmp.Compare(from.UnixMicro(), r.createdAt.UnixMicro()), -1)
	})
	rows = rows[begin:max(begin, end)]
	page, _ := strconv.Atoi(query.Get("page"))
	if u.shuffle != nil && (page > 1 || !u.sortFirstPage) {
		rows = slices.Clone(rows)
		u.shuffle.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		slices.SortStableFunc(rows, func(a, b *storedRow) int { return b.createdAt.Compare(a.createdAt) })
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	page, limit = max(page, 1), min(cmp.Or(limit, 25), 100)
	total := len(rows)
	rows = rows[min(total, (page-1)*limit):min(total, page*limit)]
	var body bytes.Buffer
	body.WriteString(`{"data":[`)
	for i, row := range rows {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(strings.Replace(row.json(false), "{", "{"+u.pad, 1))
	}
	fmt.Fprintf(&body, `],"meta":{"page":%d,"limit":%d,"total":%d,"total_pages":%d,"has_more":%t}}`,
		page, limit, total, (total+limit-1)/limit, page*limit < total)
	_, _ = w.Write(body.Bytes())
}

// A memoryListener accepts in-memory connections, so that they work with the fake clock of synctest.
type memoryListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *memoryListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// serve starts the API and returns a client for it.
func serve(t *testing.T, u *fakeAPI) *http.Client {
	listener := &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: u}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(listener) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case listener.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-stopped
	})
	return &http.Client{Transport: transport}
}
