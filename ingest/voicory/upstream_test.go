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

// record is a row that the upstream has.
type record struct {
	id      string
	created time.Time
	version int // counts its changes
}

// text is the row as a list shows it; its numbers and spaces would not survive being read and written again.
func (r *record) text(detail bool) string {
	more := ""
	if detail {
		more = fmt.Sprintf(`,"stt_minutes":%d.50,"tts_characters":9007199254740993`, r.version)
	}
	return fmt.Sprintf(`{"id":%q,"cost":1.10,  "version":%d,"big":12345678901234567890,"summary":"caf\u00e9 \n \"{[",`+"\n"+`"unheard_of":[{}],"created_at":%q%s}`,
		r.id, r.version, r.created.UTC().Format(boundForm), more)
}

// upstream is the documented API over rows in memory. It may be told to misbehave.
type upstream struct {
	mu      sync.Mutex
	rows    map[string][]*record // newest first
	rules   []rule               // none: no limits and no headers of them
	pad     string               // more fields of each row
	names   int                  // X-RateLimit-Limit, if not what the rules say
	past    []time.Time          // requests that the limiter let through
	earned  int                  // requests that it refused
	asked   []string             // paths with queries
	micros  bool                 // times are kept in microseconds
	shuffle *rand.Rand           // rows of one time come in no order
	deep    bool                 // but on the first page
	skew    time.Duration        // of the Date header
	// before is called with the number of each request, counted from 1, after it was let through; what it returns answers instead.
	before  func(n int, r *http.Request) http.HandlerFunc
	latency func() (there, back time.Duration)
}

func newUpstream() *upstream { return &upstream{rows: map[string][]*record{}, rules: documented[:]} }

// add inserts a row.
func (u *upstream) add(dataset string, created time.Time) *record {
	if !u.micros {
		created = created.Truncate(time.Millisecond)
	}
	r := &record{id: uuid.NewString(), created: created.Truncate(time.Microsecond)}
	rows := u.rows[dataset]
	i, _ := slices.BinarySearchFunc(rows, r, inOrder)
	u.rows[dataset] = slices.Insert(rows, i, r)
	return r
}

func inOrder(a, b *record) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id)) }

// fill adds n rows of each dataset, one a minute, the newest just now.
func (u *upstream) fill(n int) {
	for _, dataset := range []string{"calls", "customers", "messages"} {
		for i := range n {
			u.add(dataset, time.Now().Add(-time.Duration(n-1-i)*time.Minute))
		}
	}
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	u.asked = append(u.asked, r.URL.RequestURI())
	w.Header().Set("Date", time.Now().Add(u.skew).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("X-Api-Key") != testKey {
		fail(w, 401, "INVALID_API_KEY", "Invalid API key")
		return
	}
	if !u.limit(w) {
		return
	}
	if u.before != nil {
		if instead := u.before(len(u.asked), r); instead != nil {
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
		i := slices.IndexFunc(rows, func(r *record) bool { return r.id == path[1] })
		if i < 0 {
			fail(w, 404, "NOT_FOUND", "Resource not found")
			return
		}
		fmt.Fprintf(w, `{"data":%s}`, rows[i].text(true))
	default:
		u.page(w, r, rows)
	}
}

// limit counts in sliding windows, at arrival.
func (u *upstream) limit(w http.ResponseWriter) bool {
	now := time.Now()
	wait := time.Duration(0)
	for _, rule := range u.rules {
		if i := len(u.past) - rule.max; i >= 0 {
			wait = max(wait, rule.window-now.Sub(u.past[i]))
		}
	}
	if wait <= 0 {
		u.past = append(u.past, now)
	}
	if len(u.rules) > 0 {
		first := u.rules[0]
		left := first.max
		for _, at := range u.past {
			if now.Sub(at) < first.window {
				left--
			}
		}
		w.Header().Set("X-RateLimit-Limit", strconv.Itoa(cmp.Or(u.names, first.max)))
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(0, left)))
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(u.skew+first.window+time.Second).Unix(), 10))
	}
	if wait > 0 {
		u.earned++
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		fail(w, 429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded. Maximum 60 requests per minute.")
	}
	return wait <= 0
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":%q}}`, code, message)
}

func (u *upstream) page(w http.ResponseWriter, r *http.Request, rows []*record) {
	query := r.URL.Query()
	from, fromErr := time.Parse(time.RFC3339Nano, cmp.Or(query.Get("from"), "0001-01-01T00:00:00Z"))
	to, toErr := time.Parse(time.RFC3339Nano, cmp.Or(query.Get("to"), "9999-01-01T00:00:00Z"))
	if fromErr != nil || toErr != nil {
		fail(w, 400, "INVALID_FILTER", "Invalid filter")
		return
	}
	begin, _ := slices.BinarySearchFunc(rows, to, func(r *record, to time.Time) int { return cmp.Compare(to.UnixMicro(), r.created.UnixMicro()) })
	end, _ := slices.BinarySearchFunc(rows, from, func(r *record, from time.Time) int {
		return cmp.Or(cmp.Compare(from.UnixMicro(), r.created.UnixMicro()), -1)
	})
	rows = rows[begin:max(begin, end)]
	page, _ := strconv.Atoi(query.Get("page"))
	if u.shuffle != nil && (page > 1 || !u.deep) {
		rows = slices.Clone(rows)
		u.shuffle.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		slices.SortStableFunc(rows, func(a, b *record) int { return b.created.Compare(a.created) })
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
		body.WriteString(strings.Replace(row.text(false), "{", "{"+u.pad, 1))
	}
	fmt.Fprintf(&body, `],"meta":{"page":%d,"limit":%d,"total":%d,"total_pages":%d,"has_more":%t}}`, page, limit, total, (total+limit-1)/limit, page*limit < total)
	_, _ = w.Write(body.Bytes())
}

// memoryListener hands connections over within the process, where a bubble's clock reaches them.
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

// serve starts the upstream and returns a client of it.
func serve(t *testing.T, u *upstream) *http.Client {
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
