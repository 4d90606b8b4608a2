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

// file answers with a published file or with parts of it. Its name stands for its content, so that parts that are asked for one after
// the other fit together, whatever is published meanwhile.
func (a *api) file(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	file, content, err := a.Store.OpenPublished(r.Context(), key.Tenant, mux.Vars(r)["dataset"], mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	return a.sendFile(w, r, key, sentFile{content, file.Name, exports.Parquet.MediaType(), file.SHA256, file.Bytes, file.AsOf})
}

// database answers with a DuckDB file of all exports, or with parts of it. A reader that names the file in If-Match gets parts of that
// one as long as it is kept; all others are of the newest state.
func (a *api) database(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	// A read deadline that passes while it is written would look as if the client had left.
	_ = http.NewResponseController(exchangeOf(r).ResponseWriter).SetReadDeadline(time.Time{}) // where there is none to set, none passes
	file, content, err := a.Store.OpenDatabase(r.Context(), key.Tenant, strings.Trim(r.Header.Get("If-Match"), `"`), func() (func(), error) { return a.acquire(r.Context(), Streams, key) })
	if err != nil {
		return streamProblem(err)
	}
	name := "warehouse_" + file.AsOf.UTC().Format("20060102T150405Z") + ".duckdb"
	return a.sendFile(w, r, key, sentFile{content, name, "application/vnd.duckdb", file.SHA256, file.Bytes, file.AsOf})
}

// sentFile is a file whose sum stands for its content.
type sentFile struct {
	content                 *os.File
	name, mediaType, sha256 string
	bytes                   int64
	asOf                    time.Time
}

// sendFile answers with a file, or with the parts of it that are asked for, and closes it.
func (a *api) sendFile(w http.ResponseWriter, r *http.Request, key warehouse.Key, file sentFile) error {
	defer file.content.Close()
	x, tag := exchangeOf(r), `"`+file.sha256+`"`
	if x.counted {
		a.windows.begin(fileWindow(r, key), file.bytes, tag)
	}
	h := w.Header()
	unshared := h.Get("Cache-Control")
	own := map[string]string{"Cache-Control": "private, no-cache", "ETag": tag, "Content-Type": file.mediaType, "X-As-Of": moment(file.asOf).String(),
		"Content-Disposition": `attachment; filename="` + file.name + `"`}
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
		return ended // where the key has ended meanwhile, the answer broke off
	}
	if failure := (*fs.PathError)(nil); errors.As(answer.broke, &failure) {
		return fmt.Errorf("read %s: %w", file.name, answer.broke)
	}
	panic(http.ErrAbortHandler) // the client has left, or takes nothing
}

// slowest is the pace, in bytes per second, at which a file can still be read to its end. The kernel sends files, so that only the time for a
// whole file can be bounded.
const slowest = 16 << 10

// begin notes that an answer, or the next part of one, begins, unless the request has ended. The client must take it within the patience; a
// client that takes nothing at all is cut off sooner, see [CutStalled].
func (x *exchange) begin(ctx context.Context, patience time.Duration) error {
	_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Now().Add(patience)) // where there is none to set, nothing is cut off
	// As in writeJSON: first this, then a look whether the key is still good.
	x.begun.Store(true)
	if err := context.Cause(ctx); err != nil {
		x.begun.Store(false)
		return err
	}
	return nil
}

// writeGrace is what an answer may take beside what its bytes do.
const writeGrace = 2 * time.Minute

// fileAnswer passes on what is sent, and keeps errors back, which are told in the way of this API.
type fileAnswer struct {
	*exchange
	refused *problem // told instead of what would be sent
	broke   error    // why not all of it was sent
}

func (f *fileAnswer) WriteHeader(status int) {
	switch {
	case status == http.StatusRequestedRangeNotSatisfiable:
		f.refused = &problem{status: status, code: "RANGE_NOT_SATISFIABLE", message: "No part of the file lies in this range"}
	case status == http.StatusPreconditionFailed:
		f.refused = &problem{status: status, code: "PRECONDITION_FAILED", message: "The file is another one than the request is for"}
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
