package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"
)

// A kind is a kind of request. share is its part of all requests; the shares are relative to each other.
type kind struct {
	name  string
	share int
	send  func(*load, context.Context, *tenant) error
}

var kinds = []kind{
	{"push", 36, (*load).push},
	{"push repeated", 3, (*load).repeatPush},
	{"push refused", 1, (*load).pushRefused},
	{"delete and restore", 2, (*load).deleteAndRestore},
	{"page", 18, (*load).page},
	{"detail", 8, (*load).detail},
	{"feed", 10, (*load).feed},
	{"export", 5, (*load).export},
	{"files", 4, (*load).files},
	{"database", 1, (*load).database},
	{"sql", 6, (*load).sql},
	{"report", 3, (*load).report},
	{"keys", 1, (*load).changeKeys},
	{"publish", 1, (*load).publish},
	{"invalid", 1, (*load).invalid},
}

// rowsEach is the number of rows of a push.
const rowsEach = 5

// The load prefers some tenants: busyShare of the requests are for the first busyTenants of the tenants.
const (
	busyShare   = 0.8
	busyTenants = 0.2
)

// maxInFlight is the maximum number of requests without an answer. A request that is due while there are as many is
// skipped.
const maxInFlight = 32

// A load sends requests to the server.
type load struct {
	server  *server
	tenants []*tenant
	kinds   []kind
	rate    float64
	client  *http.Client
	version atomic.Int64 // of the rows that are pushed next

	mu      sync.Mutex
	took    map[string][]time.Duration // times of answered requests, by kind; guarded by mu
	sent    int                        // guarded by mu
	left    int                        // requests that were left out; guarded by mu
	retries int                        // answers that ask to send the request again later; guarded by mu
	busy    int                        // requests whose attempts all got such an answer; guarded by mu
	failed  int                        // wrong answers; guarded by mu
	errs    []error                    // the first of them; guarded by mu
}

func newLoad(o options, s *server, tenants []*tenant) *load {
	l := &load{server: s, tenants: tenants, rate: o.rate, took: map[string][]time.Duration{}, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight}, Timeout: time.Minute,
	}}
	for _, k := range kinds {
		if o.only.MatchString(k.name) {
			l.kinds = append(l.kinds, k)
		}
	}
	return l
}

// run sends requests for the given time, and waits for their answers.
func (l *load) run(ctx context.Context, length time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	due := time.NewTicker(time.Duration(float64(time.Second) / l.rate))
	defer due.Stop()
	slots := make(chan struct{}, maxInFlight)
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
		select {
		case slots <- struct{}{}:
			k, t := l.pickKind(), l.pickTenant()
			inFlight.Go(func() {
				l.sendOne(context.WithoutCancel(ctx), k, t)
				<-slots
			})
		default:
			l.mu.Lock()
			l.left++
			l.mu.Unlock()
		}
	}
}

func (l *load) pickKind() kind {
	total := 0
	for _, k := range l.kinds {
		total += k.share
	}
	n := rand.IntN(total)
	for _, k := range l.kinds {
		if n -= k.share; n < 0 {
			return k
		}
	}
	panic("unreachable")
}

func (l *load) pickTenant() *tenant {
	n := len(l.tenants)
	if rand.Float64() < busyShare {
		n = max(int(busyTenants*float64(n)), 1)
	}
	return l.tenants[rand.IntN(n)]
}

// errBusy is the error of a request that the server asks to send again later (429 or 503 with Retry-After).
var errBusy = errors.New("server is busy")

// maxErrors is the number of errors that are kept.
const maxErrors = 10

// sendOne sends a request and records the outcome.
func (l *load) sendOne(ctx context.Context, k kind, t *tenant) {
	start := time.Now()
	err := k.send(l, ctx, t)
	took := time.Since(start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	switch {
	case err == nil:
		l.took[k.name] = append(l.took[k.name], took)
	case errors.Is(err, errBusy):
		l.busy++
	default:
		l.failed++
		if len(l.errs) < maxErrors {
			l.errs = append(l.errs, fmt.Errorf("%s, tenant %s: %w", k.name, t.id, err))
		}
	}
}

// total returns the number of requests that were sent.
func (l *load) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// get sends a GET request of the tenant and returns the body of the answer, which must have the status 200.
func (l *load) get(ctx context.Context, t *tenant, path string) ([]byte, error) {
	return l.do(ctx, http.MethodGet, path, http.Header{"X-Api-Key": {t.key}}, nil, http.StatusOK)
}

// maxAttempts is the number of times that a request is sent while the server asks to send it again later.
const maxAttempts = 5

// do sends a request and returns the body of the answer, which must have the given status. It obeys Retry-After.
func (l *load) do(
	ctx context.Context, method, path string, header http.Header, body []byte, status int,
) (answer []byte, err error) {
	for range maxAttempts {
		var pause time.Duration
		answer, pause, err = l.attempt(ctx, method, path, header, body, status)
		if !errors.Is(err, errBusy) {
			break
		}
		l.mu.Lock()
		l.retries++
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	return answer, err
}

// attempt sends a request once. If the server asks to send it again later, the error is errBusy and pause is the time
// until then.
func (l *load) attempt(
	ctx context.Context, method, path string, header http.Header, body []byte, status int,
) (answer []byte, pause time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, method, l.server.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header = header
	response, err := l.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode == status {
		return answer, 0, nil
	}
	err = fmt.Errorf("%s %s: got %s, want %d: %.300s", method, path, response.Status, status, answer)
	after, missing := strconv.Atoi(response.Header.Get("Retry-After"))
	if missing == nil && (response.StatusCode == http.StatusTooManyRequests ||
		response.StatusCode == http.StatusServiceUnavailable) {
		err = fmt.Errorf("%w: %w", errBusy, err)
	}
	return nil, time.Duration(after) * time.Second, err
}

// rows returns rowsEach neighbouring rows of a dataset, in a new version.
func (l *load) rows(t *tenant, dataset string, n int) (rows []map[string]any) {
	first, version := rand.IntN(n), int(l.version.Add(1))
	for i := range rowsEach {
		rows = append(rows, t.row(dataset, (first+i)%n, version))
	}
	return rows
}

func (l *load) postRows(ctx context.Context, t *tenant, dataset, key string, body []byte) ([]byte, error) {
	header := http.Header{"X-Api-Key": {t.key}, "Content-Type": {"application/x-ndjson"}}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return l.do(ctx, http.MethodPost, "/api/v1/ingest/"+dataset, header, body, http.StatusOK)
}

// push changes rows of the tenant.
func (l *load) push(ctx context.Context, t *tenant) error {
	dataset, n := "calls", callsEach
	switch rand.IntN(4) {
	case 0:
		dataset, n = "messages", messagesEach
	case 1:
		dataset, n = "customers", customersEach
	}
	p := push{uuid.NewString(), lines(l.rows(t, dataset, n)...)}
	answer, err := l.postRows(ctx, t, dataset, p.key, p.body)
	if err == nil && gjson.GetBytes(answer, "data.refused").Int() != 0 {
		err = fmt.Errorf("push: rows were refused: %s", answer)
	}
	if err == nil && dataset == "calls" {
		t.mu.Lock()
		t.last = p
		t.mu.Unlock()
	}
	return err
}

// repeatPush sends the newest push of calls again. No other goroutine repeats this push at the same time, because the
// answer of one of them would be 409.
func (l *load) repeatPush(ctx context.Context, t *tenant) error {
	t.mu.Lock()
	p := t.last
	t.last = push{}
	t.mu.Unlock()
	if p.key == "" {
		return l.push(ctx, t)
	}
	_, err := l.postRows(ctx, t, "calls", p.key, p.body)
	return err
}

// pushRefused pushes a row that is merged and one that is refused, which the quarantine keeps.
func (l *load) pushRefused(ctx context.Context, t *tenant) error {
	version := int(l.version.Add(1))
	refused := t.row("calls", 0, version)
	refused["cost"] = "unknown"
	answer, err := l.postRows(ctx, t, "calls", "", lines(refused, t.row("calls", 1, version)))
	if err == nil && gjson.GetBytes(answer, "data.refused").Int() != 1 {
		err = fmt.Errorf("got %s, want one refused row", answer)
	}
	return err
}

// deleteAndRestore deletes a message and pushes a newer version of it.
func (l *load) deleteAndRestore(ctx context.Context, t *tenant) error {
	i, now := rand.IntN(messagesEach), time.Now().UTC()
	row := t.row("messages", i, int(l.version.Add(1)))
	row["deleted_at"] = now
	if _, err := l.postRows(ctx, t, "messages", "", lines(row)); err != nil {
		return err
	}
	delete(row, "deleted_at")
	row["updated_at"] = now.Add(time.Millisecond)
	_, err := l.postRows(ctx, t, "messages", "", lines(row))
	return err
}

func pickPath(paths ...string) string { return paths[rand.IntN(len(paths))] }

// page reads a page of a list, and the next one.
func (l *load) page(ctx context.Context, t *tenant) error {
	path := pickPath("/api/v1/calls?limit=25", "/api/v1/calls?status=completed&limit=50",
		"/api/v1/customers?search=Customer", "/api/v1/messages?direction=inbound",
		"/api/v1/calls?limit=10&phone_number="+url.QueryEscape(t.number(rand.IntN(customersEach))))
	page, err := l.get(ctx, t, path)
	next := gjson.GetBytes(page, "meta.next_cursor").String()
	if err != nil || next == "" {
		return err
	}
	_, err = l.get(ctx, t, path+"&cursor="+url.QueryEscape(next))
	return err
}

func (l *load) detail(ctx context.Context, t *tenant) error {
	dataset, n := "calls", callsEach
	if rand.IntN(2) == 0 {
		dataset, n = "customers", customersEach
	}
	_, err := l.get(ctx, t, "/api/v1/"+dataset+"/"+t.rowID(dataset, rand.IntN(n)).String())
	return err
}

// feed reads the next page of the tenant's change feed.
func (l *load) feed(ctx context.Context, t *tenant) error {
	t.mu.Lock()
	cursor := t.cursor
	t.mu.Unlock()
	page, err := l.get(ctx, t, "/api/v1/calls?limit=100&"+cursor)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.cursor = "cursor=" + url.QueryEscape(gjson.GetBytes(page, "meta.resume_cursor").String())
	t.mu.Unlock()
	return nil
}

func (l *load) export(ctx context.Context, t *tenant) error {
	_, err := l.get(ctx, t, "/api/v1/exports/"+pickPath("calls", "messages", "customers", "transcript_turns")+
		"?format="+pickPath("parquet", "arrow", "csv", "ndjson"))
	return err
}

// files lists the published files of an export and downloads one.
func (l *load) files(ctx context.Context, t *tenant) error {
	list, err := l.get(ctx, t, "/api/v1/exports/"+pickPath("calls", "messages", "cost_daily")+"/files?signed=true")
	if err != nil {
		return err
	}
	path := gjson.GetBytes(list, "data.0.url").String()
	if path == "" {
		return fmt.Errorf("got no file: %s", list)
	}
	_, err = l.do(ctx, http.MethodGet, path, http.Header{}, nil, http.StatusOK)
	return err
}

func (l *load) database(ctx context.Context, t *tenant) error {
	_, err := l.get(ctx, t, "/api/v1/exports/warehouse.duckdb")
	return err
}

func (l *load) sql(ctx context.Context, t *tenant) error {
	statement := pickPath("SELECT status, count(*), sum(cost) FROM calls GROUP BY ALL",
		"SELECT * FROM messages ORDER BY created_at DESC LIMIT 20",
		"SELECT speaker, avg(chars) FROM transcript_turns GROUP BY ALL")
	_, err := l.do(ctx, http.MethodPost, "/api/v1/query",
		http.Header{"X-Api-Key": {t.key}, "Content-Type": {"application/json"}},
		fmt.Appendf(nil, `{"sql": %q, "format": %q}`, statement, pickPath("json", "csv", "arrow")), http.StatusOK)
	return err
}

func (l *load) report(ctx context.Context, t *tenant) error {
	_, err := l.get(ctx, t, "/api/v1/analytics/"+pickPath("costs?interval=day&", "calls?group_by=assistant&",
		"messages?", "transcripts/search?q=appointment&")+"from=2026-10-01&to=2026-10-31")
	return err
}

// settle waits until the server uses at most a twentieth of a core, and for two minutes at most.
func (l *load) settle(ctx context.Context) error {
	const pause = time.Second
	for range 2 * time.Minute / pause {
		before, err := cpuTime(l.server.command.Process.Pid)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		after, err := cpuTime(l.server.command.Process.Pid)
		if err != nil || after-before <= pause/20 {
			return err
		}
	}
	return nil
}

// changeKeys creates a key, uses it, changes it, revokes it, and uses it again.
func (l *load) changeKeys(ctx context.Context, t *tenant) error {
	key, err := l.server.createKey(ctx, t)
	if err != nil {
		return err
	}
	header := http.Header{"X-Api-Key": {key.Text}}
	if _, err := l.do(ctx, http.MethodGet, "/api/v1/calls?limit=1", header, nil, http.StatusOK); err != nil {
		return err
	}
	settings := map[string]any{"label": "changed", "rate_limit": "60/1m"}
	if err := l.server.call(ctx, http.MethodPut, "/keys/"+key.ID, settings, nil); err != nil {
		return err
	}
	if err := l.server.call(ctx, http.MethodDelete, "/keys/"+key.ID, nil, nil); err != nil {
		return err
	}
	_, err = l.do(ctx, http.MethodGet, "/api/v1/calls?limit=1", header, nil, http.StatusUnauthorized)
	return err
}

// publish publishes all stale partitions of all tenants.
func (l *load) publish(ctx context.Context, _ *tenant) error {
	return l.server.call(ctx, http.MethodPost, "/publish", nil, nil)
}

// invalid sends a request that is refused.
func (l *load) invalid(ctx context.Context, t *tenant) error {
	key := http.Header{"X-Api-Key": {t.key}}
	var err error
	switch rand.IntN(3) {
	case 0:
		_, err = l.do(ctx, http.MethodGet, "/api/v1/calls?cursor=none", key, nil, http.StatusBadRequest)
	case 1:
		_, err = l.do(ctx, http.MethodGet, "/api/v1/calls/"+uuid.NewString(), key, nil, http.StatusNotFound)
	case 2:
		header := http.Header{"X-Api-Key": {"sk_" + uuid.NewString()}}
		_, err = l.do(ctx, http.MethodGet, "/api/v1/calls", header, nil, http.StatusUnauthorized)
	}
	return err
}

// costRequests is the number of requests of each kind that measureCosts sends.
const costRequests = 20

// measureCosts sends requests of each kind one after the other, and returns the CPU time of the server and its child
// processes per request. Before each kind, the server completes its background work, such as publications.
func (l *load) measureCosts(ctx context.Context) (map[string]time.Duration, error) {
	costs := map[string]time.Duration{}
	for _, k := range l.kinds {
		if err := l.settle(ctx); err != nil {
			return nil, err
		}
		before, err := cpuTime(l.server.command.Process.Pid)
		if err != nil {
			return nil, err
		}
		for range costRequests {
			l.sendOne(ctx, k, l.pickTenant())
		}
		after, err := cpuTime(l.server.command.Process.Pid)
		if err != nil {
			return nil, err
		}
		costs[k.name] = (after - before) / costRequests
	}
	return costs, nil
}
