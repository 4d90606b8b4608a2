package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse/schema"
)

// slowly puts a server before the API that cuts off clients that take nothing for so long, as `voicory serve` does.
func (b *bulk) slowly(t *testing.T, handler http.Handler, stalled time.Duration) (ended chan any) {
	t.Helper()
	handler, ended = watched(handler)
	server := smallBuffers(httptest.NewUnstartedServer(handler))
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		noError(t, httpapi.CutStalled(conn, stalled))
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	b.Server = server
	return ended
}

// bufferBytes is the size of the buffers of smallBuffers.
const bufferBytes = 64 << 10

// smallBuffers bounds what the system keeps of an answer of the server that its client has not read.
func smallBuffers(server *httptest.Server) *httptest.Server {
	server.Listener = smallListener{server.Listener}
	return server
}

type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(bufferBytes)
	}
	return conn, err
}

// slowClient is one over HTTP/1.1 whose system keeps hardly anything that it has not read.
type slowClient struct {
	*http.Response
	taken *atomic.Int64 // bytes that were read from the connection
	from  net.Conn
}

func (c *slowClient) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.taken.Add(int64(n))
	return n, err
}

// dialSlowly requests a path and reads the head of the response. The count of read bytes starts at 0.
func (b *bulk) dialSlowly(t *testing.T, path string, taken *atomic.Int64) *slowClient {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		return errors.Join(conn.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET,
				syscall.SO_RCVBUF, 4096)
		}), err)
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", b.Listener.Addr().String())
	noError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nConnection: close\r\n\r\n", path, b.secret)
	noError(t, err)
	taken.Store(0)
	c := &slowClient{from: conn, taken: taken}
	reader := bufio.NewReaderSize(c, 1<<10)
	c.Response, err = http.ReadResponse(reader, nil) //nolint:bodyclose // it goes with its connection
	noError(t, err)
	if c.StatusCode != http.StatusOK {
		t.Fatal(path, c.Status)
	}
	return c
}

// take reads a KB.
func (c *slowClient) take(t *testing.T) []byte {
	t.Helper()
	kilobyte := make([]byte, 1<<10)
	_, err := io.ReadFull(c.Body, kilobyte)
	noError(t, err)
	return kilobyte
}

// ahead keeps the most that the server had sent of an answer beyond what its client had taken.
type ahead struct {
	http.ResponseWriter
	sent  int64
	taken *atomic.Int64
	most  *atomic.Int64
}

func (a *ahead) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	a.most.Store(max(a.most.Load(), a.sent-a.taken.Load()))
	return n, err
}

func (a *ahead) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// slowTargets are the ways out which take long enough to meet a client that is slow: streams of June, its file, and the
// database.
func (b *bulk) slowTargets(t *testing.T) (paths []string) {
	t.Helper()
	for _, format := range []string{"parquet", "arrow", "csv", "ndjson"} {
		paths = append(paths, "/api/v1/exports/calls?format="+format+"&from=2026-06-01&to=2026-06-30")
	}
	files := b.files(t, b.secret, "calls", "")
	return append(paths, files[len(files)-1].URL, databasePath)
}

// A client may take as little as it likes: others are answered meanwhile, rows are merged and published, and what it
// gets in the end is whole, and as it was when it began.
func TestSlowClients_DoNotDelayOthers(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	b.fill(t, filled)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	paths := b.slowTargets(t)
	publishes := map[int]bool{0: true, 1: true, 4: true, 5: true} // rounds beside streams, the file and the database
	paths = append(paths, paths[:3]...)                           // of a month that is not published, like that of round 3
	var taken, most atomic.Int64
	handler := b.Config.Handler
	ended := b.slowly(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "format=") {
			w = &ahead{w, 0, &taken, &most}
		}
		handler.ServeHTTP(w, r)
	}), time.Minute)
	for round, path := range paths {
		client := b.dialSlowly(t, path, &taken)
		all := client.take(t)
		const fresh = `{"user_id":%q,"id":%q,"created_at":"2026-06-02","summary":"fresh"}`
		merge(t, b.warehouse, schema.Calls, fmt.Sprintf(fresh, mine, id(20_000+round)))
		if publishes[round] {
			if got, err := b.warehouse.Publish(t.Context()); err != nil || got.Rows != int64(filled+1+round) {
				t.Errorf("beside %s, %+v was published, %v", path, got, err)
			}
		}
		if got := b.ask(t, "GET", "/api/v1/calls/"+id(20_000+round), b.secret); got.status != http.StatusOK ||
			!strings.Contains(got.body, "fresh") {
			t.Errorf("beside %s: %v", path, got)
		}
		if cause := <-ended; cause != nil {
			t.Errorf("beside %s, an answer ended with %v", path, cause)
		}
		all = append(all, client.take(t)...)
		select {
		case cause := <-ended:
			t.Errorf("%s ended with %v before it was read", path, cause)
		default:
		}
		rest, err := io.ReadAll(client.Body)
		noError(t, err)
		if cause := <-ended; cause != nil {
			t.Errorf("%s ended with %v", path, cause)
		}
		want := filled + round
		if strings.Contains(path, "/files/") {
			want = filled // rows at the time of the list
		}
		if rows, err := juneRows(t, client.Header.Get("Content-Type"), string(append(all, rest...))); err != nil ||
			rows != want {
			t.Errorf("%s has %d rows, not %d, %v", path, rows, want, err)
		}
	}
	if most := most.Load(); most < 1<<10 || most > 1<<20 {
		t.Errorf("%d bytes of a stream were sent that the client did not take", most)
	}
}

// juneRows returns the number of rows of June in a response, or an error if the response is not complete.
func juneRows(t *testing.T, kind, body string) (rows int, err error) {
	t.Helper()
	kind, _, _ = strings.Cut(kind, ";")
	if count := counts[kind]; count != nil {
		return count(body)
	}
	return strconv.Atoi(openDatabase(t, body).value(t, "SELECT count(*) FROM calls WHERE created_at >= '2026-06-01'"))
}

// A client that reads slowly is not disconnected; a client that reads nothing is. This applies to streams and files.
func TestSlowClients_AreNotDisconnected(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	b.fill(t, filled)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	const stalled = 2 * time.Second // longer than a busy machine delays a slow client
	paths := b.slowTargets(t)
	ended := b.slowly(t, b.Config.Handler, stalled)
	var taken atomic.Int64
	for _, path := range []string{paths[2], paths[4]} {
		slow, stalls := b.dialSlowly(t, path, &taken), b.dialSlowly(t, path, &taken)
		until, tick := time.After(3*stalled), time.NewTicker(10*time.Millisecond) // so long must pass
		for waiting := true; waiting; {
			slow.take(t)
			select {
			case <-tick.C:
			case <-until:
				waiting = false
			}
		}
		tick.Stop()
		wantAborted(t, path+", which nobody takes,", <-ended)
		if _, err := io.Copy(io.Discard, stalls.Body); err == nil {
			t.Errorf("%s, which nobody takes, ended well", path)
		}
		if _, err := io.Copy(io.Discard, slow.Body); err != nil {
			t.Errorf("%s, of which a little is taken: %v", path, err)
		}
		if cause := <-ended; cause != nil {
			t.Errorf("%s, of which a little is taken, ended with %v", path, cause)
		}
	}
}
