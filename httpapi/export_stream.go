package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// stream sends all rows of an export that match a filter, as of one state. A HEAD request reads no rows.
func (a *api) stream(_ http.ResponseWriter, r *http.Request, key control.Key) error {
	request, err := parseStream(r)
	if err != nil {
		return err
	}
	stream, err := exports.Open(r.Context(), a.Store, key.Tenant, request)
	if err != nil {
		return streamProblem(err)
	}
	name := fileName(request.Export.Name, request.Filter, request.Format, stream.AsOf)
	recorder := stateOf(r).ResponseRecorder
	response := &streamResponse{
		ResponseRecorder: recorder,
		out:              web.NewPacedWriter(r.Context(), recorder),
		r:                r,
		headers: map[string]string{
			"Content-Type": request.Format.MediaType(), "X-As-Of": timestamp(stream.AsOf).String(),
			"Content-Disposition": `attachment; filename="` + name + `"`,
		},
	}
	if request.Format.IsText() {
		response.encoding = web.ContentEncoding(r.Header.Get("Accept-Encoding"))
	}
	if r.Method != http.MethodHead {
		_, err = stream.Write(r.Context(), response)
	}
	if err = errors.Join(err, stream.Close()); err == nil {
		err = response.end()
	}
	if response.writeErr != nil && context.Cause(r.Context()) == nil {
		panic(http.ErrAbortHandler) // the client closed the connection or stopped reading
	}
	return streamProblem(err)
}

// parseStream returns the parameters of a stream: the export, the format, the columns, and the filters of the list
// that the export is based on.
func parseStream(r *http.Request) (request exports.Request, err error) {
	if request.Export, err = schema.ExportNamed(mux.Vars(r)["dataset"]); err != nil {
		return request, err
	}
	known := append(request.Export.Source.Filters(), "format", "columns", "bom", "escape_formulas")
	values, err := parseParams(r.URL.RawQuery, known, true)
	if err != nil {
		return request, err
	}
	if request.Filter, err = parseFilter(values, request.Export.Source, time.UTC); err != nil {
		return request, err
	}
	if columns := values.Get("columns"); columns != "" {
		request.Columns = strings.Split(columns, ",")
	}
	if request.CSV, err = parseCSVOptions(values); err != nil {
		return request, err
	}
	request.Format, err = parseFormat(r, values, exports.NDJSON, exports.CSV, exports.Parquet, exports.Arrow)
	return request, err
}

// parseFormat returns the requested format, one of formats: the one in the format parameter, or else the one that
// the Accept header prefers. The first is the default.
func parseFormat(r *http.Request, values url.Values, formats ...exports.Format) (exports.Format, error) {
	if name := exports.Format(values.Get("format")); name != "" {
		if !slices.Contains(formats, name) {
			return "", invalidFilter("format", fmt.Sprintf("must be one of %v", formats))
		}
		return name, nil
	}
	types := make([]string, len(formats))
	for i, format := range formats {
		types[i], _, _ = strings.Cut(format.MediaType(), ";")
	}
	best, ok := web.MediaType(strings.Join(r.Header.Values("Accept"), ","), types)
	if !ok {
		return "", &web.Problem{Status: http.StatusNotAcceptable, Code: "NOT_ACCEPTABLE",
			Message: "The available types are " + strings.Join(types, ", ")}
	}
	return formats[best], nil
}

// parseCSVOptions returns the options bom and escape_formulas.
func parseCSVOptions(values url.Values) (options exports.CSVOptions, err error) {
	for name, set := range map[string]*bool{"bom": &options.BOM, "escape_formulas": &options.EscapeFormulas} {
		if text := values.Get(name); text != "" {
			if *set, err = strconv.ParseBool(text); err != nil {
				return options, invalidFilter(name, "must be true or false")
			}
		}
	}
	return options, nil
}

// streamProblem returns the problem for an error that the client caused. It returns other errors unchanged.
func streamProblem(err error) error {
	if isArgument(err) {
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: strings.TrimPrefix(err.Error(), warehouse.ErrInvalid.Error()+": ")}
	}
	return err
}

// fileName returns a file name with the name of the table, its first and last day, and the time of its state.
func fileName(name string, filter schema.Filter, format exports.Format, asOf time.Time) string {
	if from := filter.From; !from.IsZero() {
		name += "_from-" + from.UTC().Format(time.DateOnly)
	}
	if before := filter.Before; !before.IsZero() {
		name += "_to-" + before.Add(-1).UTC().Format(time.DateOnly)
	}
	return name + "_" + asOf.UTC().Format("20060102T150405Z") + format.Extension()
}

// streamResponse is a response that starts with its first byte. Until then, an error can still be sent instead.
// After a failure, the last chunk and the end of the compression are missing, so the client can detect that the
// response is incomplete.
type streamResponse struct {
	*web.ResponseRecorder
	out      *web.PacedWriter
	r        *http.Request
	headers  map[string]string
	encoding string // "": not compressed
	encoder  web.Encoder
	flushed  time.Time // time of the last flush of encoder
	started  bool      // the headers have been sent
	writeErr error     // error of the last write to the client; nil: none
}

// flushEvery bounds how long rows may stay in an encoder. Rarer flushes compress better.
const flushEvery = 500 * time.Millisecond

func (s *streamResponse) Write(p []byte) (int, error) {
	if err := s.start(); err != nil {
		return 0, err
	}
	if s.encoder == nil {
		return s.send(p)
	}
	n, err := s.encoder.Write(p)
	if now := time.Now(); err == nil && now.Sub(s.flushed) >= flushEvery {
		s.flushed = now
		err = s.encoder.Flush()
	}
	return n, err
}

// start sends the headers, unless they have been sent.
func (s *streamResponse) start() error {
	if s.started {
		return nil
	}
	if err := s.Begin(s.r.Context(), web.WriteGrace); err != nil {
		return err
	}
	s.started = true
	h := s.Header()
	for name, value := range s.headers {
		h.Set(name, value)
	}
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Encoding")
	s.encoder = web.NewEncoder(sender{s}, s.encoding)
	if s.encoder != nil {
		h.Set("Content-Encoding", s.encoding)
	}
	s.WriteHeader(http.StatusOK)
	return nil
}

// sender is the writer that an encoder writes to.
type sender struct{ *streamResponse }

func (s sender) Write(p []byte) (int, error) { return s.send(p) }

// send writes p to the client at the required pace, and flushes it.
func (s *streamResponse) send(p []byte) (n int, err error) {
	if n, err = s.out.Write(p); err == nil {
		err = http.NewResponseController(s.ResponseWriter).Flush()
	}
	s.writeErr = err
	return n, err
}

// end sends the headers if nothing has been written, and ends the compression.
func (s *streamResponse) end() error {
	if err := s.start(); err != nil {
		return err
	}
	if s.encoder == nil || s.Head {
		return nil
	}
	return s.encoder.Close()
}
