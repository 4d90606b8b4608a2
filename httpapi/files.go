package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

// file sends a published file or ranges of it. The content of a file name never changes, so ranges from several
// requests fit together even if a newer file is published between them.
func (a *api) file(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if _, err := parseParams(r.URL.RawQuery, []string{"expires", "key_id", "signature"}, true); err != nil {
		return err
	}
	file, content, err := a.Store.OpenPublished(r.Context(), key.Tenant, mux.Vars(r)["dataset"], mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	sent := sentFile{content: content, name: file.Name, mediaType: exports.Parquet.MediaType(), sha256: file.SHA256,
		bytes: file.Bytes, asOf: file.AsOf}
	a.openAllowance(r, key, file.Bytes, file.SHA256)
	return a.sendFile(w, r, sent)
}

// database sends a DuckDB file of all exports, or ranges of it. A client that sends the ETag in If-Match gets
// ranges of that same file as long as it is kept. Other requests get a file of the newest state.
func (a *api) database(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if _, err := parseParams(r.URL.RawQuery, nil, true); err != nil {
		return err
	}
	sum := strings.Trim(r.Header.Get("If-Match"), `"`)
	file, content, err := a.Store.OpenDatabase(r.Context(), key.Tenant, sum,
		func() (func(), error) { return a.acquire(r.Context(), Streams, key) })
	if err != nil {
		return streamProblem(err)
	}
	name := "warehouse_" + file.AsOf.UTC().Format("20060102T150405Z") + ".duckdb"
	a.openAllowance(r, key, file.Bytes, file.SHA256)
	return a.sendFile(w, r, sentFile{content: content, name: name, mediaType: "application/vnd.duckdb",
		sha256: file.SHA256, bytes: file.Bytes, asOf: file.AsOf})
}

// sentFile is an open file to send. Its SHA-256 sum is its ETag.
type sentFile struct {
	content                 io.ReadSeekCloser
	name, mediaType, sha256 string
	bytes                   int64
	asOf                    time.Time
	modified                time.Time // zero: the response has no Last-Modified
}

// openAllowance opens the allowance of a file after a request that was counted.
func (a *api) openAllowance(r *http.Request, key control.Key, bytes int64, sum string) {
	if stateOf(r).counted {
		a.allowances.open(fileAllowance(r, key), bytes, 1, `"`+sum+`"`)
	}
}

// sendFile sends a file or the requested ranges of it, and closes it.
func (a *api) sendFile(w http.ResponseWriter, r *http.Request, file sentFile) error {
	defer file.content.Close()
	state, tag := stateOf(r), `"`+file.sha256+`"`
	h := w.Header()
	cacheControl := h.Get("Cache-Control")
	own := map[string]string{
		"Cache-Control": "private, no-cache", "ETag": tag, "Content-Type": file.mediaType,
		"X-As-Of":             timestamp(file.asOf).String(),
		"Content-Disposition": `attachment; filename="` + file.name + `"`,
	}
	for name, value := range own {
		h.Set(name, value)
	}
	if err := state.Begin(r.Context(), time.Duration(file.bytes/slowest)*time.Second+web.WriteGrace); err != nil {
		return err
	}
	kept, _ := web.Ranges(r.Header.Get("Range"), file.bytes)
	if r.Header.Del("Range"); kept != "" {
		r.Header.Set("Range", kept)
	}
	response := &fileResponse{ResponseRecorder: state.ResponseRecorder}
	http.ServeContent(response, r, "", file.modified, file.content)
	if response.refused != nil {
		for name := range own {
			h.Del(name)
		}
		h.Set("Cache-Control", cacheControl)
		state.Discard()
		return response.refused
	}
	if ended := context.Cause(r.Context()); ended != nil || response.writeErr == nil {
		return ended // nil, or the reason why the request was cancelled, such as a revoked key
	}
	if failure := (*fs.PathError)(nil); errors.As(response.writeErr, &failure) {
		return fmt.Errorf("read %s: %w", file.name, response.writeErr)
	}
	panic(http.ErrAbortHandler) // the client closed the connection or stopped reading
}

// slowest is the minimum rate, in bytes per second, at which a client must receive a file. The kernel sends files,
// so the server can only bound the time for the whole file.
const slowest = 16 << 10

// fileResponse passes successful responses of http.ServeContent to the client. It discards error responses and
// records them as problems, so that they are sent in the format of this API.
type fileResponse struct {
	*web.ResponseRecorder
	refused  *web.Problem // error response to send instead; nil: none
	writeErr error        // error of the last write; nil: none
}

func (f *fileResponse) WriteHeader(status int) {
	switch {
	case status == http.StatusRequestedRangeNotSatisfiable:
		f.refused = &web.Problem{Status: status, Code: "RANGE_NOT_SATISFIABLE",
			Message: "The file has no bytes in this range"}
	case status == http.StatusPreconditionFailed:
		f.refused = &web.Problem{Status: status, Code: "PRECONDITION_FAILED",
			Message: "The file has another ETag than the request requires"}
	case status >= 400:
		f.refused = internalProblem
	default:
		f.ResponseRecorder.WriteHeader(status)
	}
}

func (f *fileResponse) Write(p []byte) (int, error) {
	if f.refused != nil {
		return io.Discard.Write(p)
	}
	n, err := f.ResponseRecorder.Write(p)
	f.writeErr = err
	return n, err
}

func (f *fileResponse) ReadFrom(src io.Reader) (int64, error) {
	if f.refused != nil {
		return io.Copy(io.Discard, src)
	}
	n, err := f.ResponseRecorder.ReadFrom(src)
	f.writeErr = err
	return n, err
}
