package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// road is one way to use the server's slots.
type road struct {
	name   string
	work   httpapi.Work // slots that a slow client keeps; "": none, because its answer is in memory
	public bool         // a public key may use it
	unread bool         // the answer is larger than the buffers between server and client
	// The request of a slow client. If declared is not 0, the client declares a body of this size and sends only the
	// beginning.
	method, path, body string
	declared           int
	// The same request of another tenant; "": this road differs from another only in how a slow client uses it.
	otherPath, otherBody string
}

// mediaType returns the Content-Type of the road's requests.
func (r road) mediaType() string {
	if strings.Contains(r.path, "/ingest/") {
		return "application/x-ndjson"
	}
	return "application/json"
}

// shared is a server with few slots, 2 of each kind for one tenant.
type shared struct {
	*bulk
	slots    httpapi.Slots
	registry *prometheus.Registry
}

func startShared(t *testing.T) *shared {
	t.Helper()
	s := &shared{slots: httpapi.NewSlots(4), registry: prometheus.NewRegistry()}
	s.slots[httpapi.Bodies] = admission.New(admission.Limits{Total: 4, PerTenant: 2, PerKey: 1, Waiters: 64,
		WaitersPerTenant: 16, MaxWait: 5 * time.Second})
	s.bulk = startBulk(t, func(o *httpapi.Options) {
		store := o.Store.(*warehouse.Warehouse)
		program, err := os.Executable()
		noError(t, err)
		o.Queries, err = query.New(query.Options{Files: store, Command: []string{program, query.WorkerArgument}})
		noError(t, err)
		o.Slots, o.Metrics, o.MaxBody = s.slots, s.registry, 16<<20
		o.Ingest = func(ctx context.Context, push httpapi.Push) (pushed httpapi.Pushed, err error) {
			body, err := io.ReadAll(push.Body)
			if err != nil {
				return pushed, err
			}
			pushed.Counts, pushed.Refusals, err = store.Merge(ctx, warehouse.Batch{Dataset: push.Dataset, Tenant: push.Tenant,
				Origin: "push",
				Rows:   lines(t, strings.Split(strings.TrimSpace(string(body)), "\n")...)})
			return pushed, err
		}
	})
	server := smallBuffers(httptest.NewUnstartedServer(s.Config.Handler))
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if err := httpapi.CutStalled(conn, time.Minute); err != nil {
			t.Error(err)
		}
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	s.Server = server
	return s
}

// inFlight returns the number of requests that are being answered.
func (s *shared) inFlight(t *testing.T) (n float64) {
	t.Helper()
	families, err := s.registry.Gather()
	noError(t, err)
	for _, family := range families {
		if family.GetName() == "voicory_http_requests_in_flight" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("got no metric voicory_http_requests_in_flight")
	return 0
}

// outside returns the number of callers that wait for a slot of any kind, and of those that got none since the start.
func (s *shared) outside() (n int64) {
	for _, slots := range s.slots {
		stats := slots.Stats()
		n += int64(stats.Waiting) + stats.RefusedTotal + stats.RefusedTenant + stats.RefusedKey
	}
	return n
}

// send sends the road's request from a client with a small receive buffer, and reads nothing.
func (s *shared) send(t *testing.T, r road, key string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		return errors.Join(conn.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET,
				syscall.SO_RCVBUF, 4096)
		}), err)
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	noError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Type: %s\r\nContent-Length: "+
		"%d\r\n\r\n",
		r.method, r.path, key, r.mediaType(), max(len(r.body), r.declared))
	noError(t, err)
	// The body of a client in the queue is not read until its connection is closed.
	go io.WriteString(conn, r.body) //nolint:errcheck // see above
	return conn
}

// occupy opens slow clients, more than the road has slots, and waits until they have all that they can get.
func (s *shared) occupy(t *testing.T, r road, keys []string) (leave func()) {
	t.Helper()
	const clients = 6
	before := s.outside()
	var conns []net.Conn
	for n := range clients {
		conns = append(conns, s.send(t, r, keys[n%len(keys)]))
	}
	if r.work != "" {
		limits := s.slots[r.work].Limits()
		want := min(limits.PerTenant, len(keys)*limits.PerKey)
		until(t, func() bool {
			return s.slots[r.work].Stats().Active == want && s.outside()-before == int64(clients-want)
		})
	} else {
		for _, conn := range conns {
			head := make([]byte, len("HTTP/1.1 200"))
			_, err := io.ReadFull(conn, head)
			noError(t, err)
			if string(head) != "HTTP/1.1 200" {
				t.Fatalf("slow client of the road %s: got %q, want status 200", r.name, head)
			}
		}
		if r.unread && s.inFlight(t) != clients {
			t.Errorf("slow clients of the road %s: got %v requests in flight, want %d", r.name, s.inFlight(t), clients)
		}
		until(t, func() bool { return s.slots[httpapi.Requests].Stats().Active == 0 })
	}
	return func() {
		for _, conn := range conns {
			conn.Close()
		}
		until(t, func() bool { return s.inFlight(t) == 0 })
	}
}

// answered asks for the road as another tenant and returns the status of the whole answer.
func (s *shared) answered(t *testing.T, r road) int {
	t.Helper()
	conn := rawRequest(t, s.Listener.Addr().String(), fmt.Sprintf(
		"%s %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.method, r.otherPath, s.another, r.mediaType(), len(r.otherBody), r.otherBody))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	noError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	noError(t, err)
	noError(t, conn.Close())
	return response.StatusCode
}

// roads returns every way to use slots.
func (s *shared) roads(t *testing.T) []road {
	t.Helper()
	s.fill(t, filled)
	var long strings.Builder
	for n := range 100 {
		long.WriteString(noise(n))
	}
	merge(t, s.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-05-01","summary":%q}`, mine,
		id(30_000), long.String()))
	_, err := s.warehouse.Publish(t.Context())
	noError(t, err)
	files, others := s.files(t, s.secret, "calls", ""), s.files(t, s.another, "calls", "")
	const (
		stream, costs, search = "/api/v1/exports/calls?format=ndjson", "/api/v1/analytics/costs",
			"/api/v1/analytics/transcripts/search?q=hi"
		sql, ingest = "/api/v1/query", "/api/v1/ingest/calls"
		small       = `{"sql": "SELECT 1"}`
	)
	row := fmt.Sprintf(`{"id":%q,"created_at":"2026-06-01"}`+"\n", id(40_000))
	return []road{
		{name: "page", public: true, unread: true, method: "GET", path: "/api/v1/calls?limit=100",
			otherPath: "/api/v1/calls?limit=100"},
		{name: "detail", public: true, unread: true, method: "GET", path: "/api/v1/calls/" + id(30_000),
			otherPath: "/api/v1/calls/" + id(900)},
		{name: "analytics", method: "GET", path: costs, otherPath: costs},
		{name: "search", method: "GET", path: search, otherPath: search},
		{name: "stream", work: httpapi.Streams, method: "GET", path: stream, otherPath: stream},
		{name: "file", work: httpapi.Files, method: "GET", path: files[len(files)-1].URL,
			otherPath: others[len(others)-1].URL},
		{name: "database", work: httpapi.Files, method: "GET", path: databasePath, otherPath: databasePath},
		{name: "large result", work: httpapi.Queries, method: "POST", path: sql,
			body: `{"sql": "SELECT summary FROM calls", "format": "csv"}`, otherPath: sql, otherBody: small},
		{name: "long statement", work: httpapi.Queries, method: "POST", path: sql, body: endless},
		{name: "statement that trickles", work: httpapi.Bodies, method: "POST", path: sql, body: `{"sql":`,
			declared: 1 << 20},
		{name: "push that trickles", work: httpapi.Bodies, method: "POST", path: ingest, body: "{", declared: 8 << 20,
			otherPath: ingest, otherBody: row},
		{name: "push that stalls after its beginning", work: httpapi.Pushes, method: "POST", path: ingest,
			body: strings.Repeat(row, (512<<10)/len(row)), declared: 8 << 20},
	}
}

// TestTenantShares_SlowClientsDoNotKeepOthersOut checks every road against every other: while slow clients of one
// tenant have all that they can get of a road with several keys, another tenant is answered on all roads. While they
// have one key, which gets them less, it is answered on the roads that need the same kind of slots.
func TestTenantShares_SlowClientsDoNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	s := startShared(t)
	roads := s.roads(t)
	keys := []string{s.secret}
	for range 2 {
		_, key, err := s.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
		noError(t, err)
		keys = append(keys, key)
	}
	// its file is written once
	if status := s.ask(t, http.MethodHead, databasePath, s.secret).status; status != http.StatusOK {
		t.Fatalf("database: got %d, want 200", status)
	}
	callers := map[string][]string{"one key": keys[:1], "several keys": keys, "public key": {s.key}}
	for _, slow := range roads {
		for _, caller := range slices.Sorted(maps.Keys(callers)) {
			if caller == "public key" && !slow.public || caller == "one key" && slow.work == "" {
				continue
			}
			t.Run(slow.name+"/"+caller, func(t *testing.T) {
				leave := s.occupy(t, slow, callers[caller])
				defer leave()
				for _, other := range roads {
					related := other.work == slow.work || other.method == http.MethodPost && slow.method == http.MethodPost
					if other.otherPath == "" || !related && (caller != "several keys" || slow.body == endless) {
						continue // a statement that runs takes the processors from all roads
					}
					if status := s.answered(t, other); status != http.StatusOK {
						t.Errorf("%s of another tenant: got %d, want 200", other.name, status)
					}
				}
			})
		}
	}
}
