package httpapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// logbook keeps what is logged until it is read.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) read() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// june is a number of calls of June that are more than one vector of DuckDB, so that a stream has begun before it comes
// to July.
const june = 6000

// startCramped is a server with little memory over 6,000 calls of June for which it suffices, and 30 of July for which
// it does not: their transcripts have to be parsed, since nothing is published.
func startCramped(t *testing.T) (b *bulk, dir string, log *logbook) {
	t.Helper()
	dir, log = t.TempDir(), &logbook{}
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	noError(t, err)
	b = &bulk{api: &api{warehouse: w}}
	b.fill(t, june)
	_, b.secret, err = w.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	long := strings.Repeat("AI: "+strings.Repeat("good day to you ", 4)+"\n", 10_000)
	for n := 0; n < 30; n += 10 {
		rows := make([]string, 10)
		for i := range rows {
			rows[i] = fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-07-01","transcript":%q}`, mine, id(20_000+n+i), long)
		}
		merge(t, w, schema.Calls, rows...)
	}
	noError(t, w.Close())
	b.warehouse, err = warehouse.Open(t.Context(), warehouse.Options{Dir: dir, MemoryLimit: "120MB"})
	noError(t, err)
	t.Cleanup(func() { noError(t, b.warehouse.Close()) })
	b.Server = httptest.NewServer(httpapi.New(httpapi.Options{Store: b.warehouse,
		CursorKey: b.warehouse.SigningKey("cursor"), Log: slog.New(slog.NewTextHandler(log, nil))}))
	t.Cleanup(b.Close)
	return b, dir, log
}

// A stream for which the memory does not suffice is refused, or has no end where it has begun. The log says why, and
// nothing stays of it: neither its memory nor its place.
func TestStreams_OutOfMemory(t *testing.T) {
	b, dir, log := startCramped(t)
	for _, format := range []string{"parquet", "arrow", "csv", "ndjson"} { // they are more than there are places
		path := "calls?format=" + format
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+"/api/v1/exports/"+path, nil)
		noError(t, err)
		request.Header.Set("X-Api-Key", b.secret)
		request.Header.Set("Accept-Encoding", "identity") // compression costs a lot with the race detector
		response, err := b.Client().Do(request)
		noError(t, err)
		size, err := io.Copy(io.Discard, response.Body)
		noError(t, response.Body.Close())
		if response.StatusCode != http.StatusOK || size == 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s ends after %d bytes with %s, %v", path, size, response.Status, err)
		}
		if got := b.ask(t, "GET", "/api/v1/calls/"+id(5000), b.secret); got.status != http.StatusOK {
			t.Errorf("after %s: %v", path, got)
		}
		if text := log.read(); strings.Count(text, "Out of Memory")+strings.Count(text, "of memory perhaps") != 1 ||
			strings.Contains(text, dir) {
			t.Errorf("of %s, the log says: %s", path, text)
		}
		// a stream of one month differs from that of another format in its writer only
		if format == "arrow" || format == "ndjson" {
			continue
		}
		got := b.stream(t, path+"&from=2026-07-01")
		if got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "SERVER_BUSY") ||
			got.header.Get("Retry-After") == "" || strings.Contains(got.body, "Memory") {
			t.Errorf("%s, of July alone: %d %.300s", path, got.status, got.body)
		}
		got = b.stream(t, path+"&to=2026-06-30", "Accept-Encoding", "identity")
		if rows, err := counts[strings.Split(got.header.Get("Content-Type"), ";")[0]](
			got.body); got.status != http.StatusOK || rows != june || err != nil {
			t.Errorf("%s, of June alone: %d, %d rows, %v", path, got.status, rows, err)
		}
	}
}
