package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
)

// file sends a published file or ranges of it. The content of a file name never changes, so ranges from several
// requests fit together even if a newer file is published between them.
func (a *api) file(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	file, content, err := a.Store.OpenPublished(r.Context(), key.Tenant, mux.Vars(r)["dataset"], mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	sent := sentFile{content, file.Name, exports.Parquet.MediaType(), file.SHA256, file.Bytes, file.AsOf}
	return a.sendFile(w, r, key, sent)
}

// database sends a DuckDB file of all exports, or ranges of it. A client that sends the ETag in If-Match gets
// ranges of that same file as long as it is kept. Other requests get a file of the newest state.
func (a *api) database(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	sum := strings.Trim(r.Header.Get("If-Match"), `"`)
	file, content, err := a.Store.OpenDatabase(r.Context(), key.Tenant, sum,
		func() (func(), error) { return a.acquire(r.Context(), Streams, key) })
	if err != nil {
		return streamProblem(err)
	}
	name := "warehouse_" + file.AsOf.UTC().Format("20060102T150405Z") + ".duckdb"
	return a.sendFile(w, r, key, sentFile{content, name, "application/vnd.duckdb", file.SHA256, file.Bytes, file.AsOf})
}

// sentFile is an open file to send. Its SHA-256 sum is its ETag.
type sentFile struct {
	content                 *os.File
	name, mediaType, sha256 string
	bytes                   int64
	asOf                    time.Time
}

// sendFile sends a file or the requested ranges of it, and closes it.
func (a *api) sendFile(w http.ResponseWriter, r *http.Request, key warehouse.Key, file sentFile) error {
	defer file.content.Close()
	x, tag := exchangeOf(r), `"`+file.sha256+`"`
	if x.counted {
		a.windows.begin(fileWindow(r, key), file.bytes, tag)
	}
	h := w.Header()
	unshared := h.Get("Cache-Control")
	own := map[string]string{
		"Cache-Control": "private, no-cache", "ETag": tag, "Content-Type": file.mediaType,
		"X-As-Of":             moment(file.asOf).String(),
		"Content-Disposition": `attachment; filename="` + file.name + `"`,
	}
	for name, value := range own {
		h.Set(name, value)
	}
	if err := x.begin(r.Context(), time.Duration(file.bytes/slowest)*time.Second+writeGrace); err != nil {
		return err
	}
	kept, _ := rangesOf(r.Header.Get("Range"), file.bytes)
	if r.Header.Del("Range"); kept != "" {
		r.Header.Set("Range", kept)
	}
	answer := &fileAnswer{exchange: x}
	http.ServeContent(answer, r, "", time.Time{}, file.content)
	if answer.refused != nil {
		for name := range own {
			h.Del(name)
		}
		h.Set("Cache-Control", unshared)
		x.begun.Store(false) // nothing was sent
		return answer.refused
	}
	if ended := context.Cause(r.Context()); ended != nil || answer.broke == nil {
		return ended // nil, or the reason why the request was cancelled, such as a revoked key
	}
	if failure := (*fs.PathError)(nil); errors.As(answer.broke, &failure) {
		return fmt.Errorf("read %s: %w", file.name, answer.broke)
	}
	panic(http.ErrAbortHandler) // the client closed the connection or stopped reading
}

// slowest is the minimum rate, in bytes per second, at which a client must receive a file. The kernel sends files,
// so the server can only bound the time for the whole file.
const slowest = 16 << 10

// begin marks the response as begun and sets the write deadline to patience from now. It returns the cause if the
// request has been cancelled. A client that reads nothing at all is disconnected sooner, see [CutStalled].
func (x *exchange) begin(ctx context.Context, patience time.Duration) error {
	_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Now().Add(patience))
	// Set begun before checking the key, as in writeBody.
	x.begun.Store(true)
	if err := context.Cause(ctx); err != nil {
		x.begun.Store(false)
		return err
	}
	return nil
}

// writeGrace is the part of the write deadline that does not depend on the size of the response.
const writeGrace = 2 * time.Minute

// fileAnswer passes successful responses of http.ServeContent to the client. It discards error responses and
// records them as problems, so that they are sent in the format of this API.
type fileAnswer struct {
	*exchange
	refused *problem // error response to send instead; nil: none
	broke   error    // error of the last write; nil: none
}

func (f *fileAnswer) WriteHeader(status int) {
	switch {
	case status == http.StatusRequestedRangeNotSatisfiable:
		f.refused = &problem{status: status, code: "RANGE_NOT_SATISFIABLE",
			message: "No part of the file lies in this range"}
	case status == http.StatusPreconditionFailed:
		f.refused = &problem{status: status, code: "PRECONDITION_FAILED",
			message: "The file is another one than the request is for"}
	case status >= 400:
		f.refused = internalProblem
	default:
		f.exchange.WriteHeader(status)
	}
}

func (f *fileAnswer) Write(p []byte) (int, error) {
	if f.refused != nil {
		return io.Discard.Write(p)
	}
	n, err := f.exchange.Write(p)
	f.broke = err
	return n, err
}

func (f *fileAnswer) ReadFrom(src io.Reader) (int64, error) {
	if f.refused != nil {
		return io.Copy(io.Discard, src)
	}
	n, err := f.exchange.ReadFrom(src)
	f.broke = err
	return n, err
}
