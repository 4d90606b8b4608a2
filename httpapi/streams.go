package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// stream sends all rows of an export that match a filter, as of one state. A HEAD request reads no rows.
func (a *api) stream(_ http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	request, err := parseStream(r)
	if err != nil {
		return err
	}
	stream, err := exports.Open(r.Context(), a.Store, key.Tenant, request)
	if err != nil {
		return streamProblem(err)
	}
	name := fileName(request.Export.Name, request.Filter, request.Format, stream.AsOf)
	answer := &streamAnswer{
		exchange: exchangeOf(r),
		out:      pacedWriter{exchangeOf(r), r.Context(), answerPace()},
		r:        r,
		headers: map[string]string{
			"Content-Type": request.Format.MediaType(), "X-As-Of": moment(stream.AsOf).String(),
			"Content-Disposition": `attachment; filename="` + name + `"`,
		},
	}
	if request.Format.IsText() {
		answer.encoding = preferred(r.Header.Get("Accept-Encoding"))
	}
	if r.Method != http.MethodHead {
		_, err = stream.Write(r.Context(), answer)
	}
	if err = errors.Join(err, stream.Close()); err == nil {
		err = answer.end()
	}
	if answer.broke != nil && context.Cause(r.Context()) == nil {
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
	q, err := parseListQuery(r.URL.RawQuery, request.Export.Source)
	if err != nil {
		return request, err
	}
	request.Filter = q.filter
	values := r.URL.Query()
	if columns := values.Get("columns"); columns != "" {
		request.Columns = strings.Split(columns, ",")
	}
	if request.CSV, err = parseCSVOptions(values); err != nil {
		return request, err
	}
	request.Format, err = parseFormat(r, exports.NDJSON, exports.CSV, exports.Parquet, exports.Arrow)
	return request, err
}

// parseFormat returns the requested format, one of formats: the one in the format parameter, or else the one that
// the Accept header prefers. The first is the default.
func parseFormat(r *http.Request, formats ...exports.Format) (exports.Format, error) {
	if name := exports.Format(r.URL.Query().Get("format")); name != "" {
		if !slices.Contains(formats, name) {
			return "", invalidFilter("format", fmt.Sprintf("is none of %v", formats))
		}
		return name, nil
	}
	types := make([]string, len(formats))
	for i, format := range formats {
		types[i], _, _ = strings.Cut(format.MediaType(), ";")
	}
	best, ok := acceptable(strings.Join(r.Header.Values("Accept"), ","), types)
	if !ok {
		return "", &problem{status: http.StatusNotAcceptable, code: "NOT_ACCEPTABLE",
			message: "There are " + strings.Join(types, ", ")}
	}
	return formats[best], nil
}

// parseCSVOptions returns the options bom and escape_formulas.
func parseCSVOptions(values url.Values) (options exports.CSVOptions, err error) {
	for name, set := range map[string]*bool{"bom": &options.BOM, "escape_formulas": &options.EscapeFormulas} {
		if text := values.Get(name); text != "" {
			if *set, err = strconv.ParseBool(text); err != nil {
				return options, invalidFilter(name, "is neither true nor false")
			}
		}
	}
	return options, nil
}

// acceptable returns the index of the media type that an Accept header prefers: the first of equals, and 0 if the
// header names none. ok is false if the header accepts none of types.
func acceptable(accept string, types []string) (best int, ok bool) {
	liked, named := map[string]float64{}, false
	for part := range strings.SplitSeq(accept, ",") {
		kind, parameters, _ := strings.Cut(part, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		if kind == "" || kind == problemJSON { // it only applies to errors
			continue
		}
		named = true
		liked[kind] = 1
		for parameter := range strings.SplitSeq(parameters, ";") {
			if q, is := strings.CutPrefix(strings.TrimSpace(parameter), "q="); is {
				liked[kind], _ = strconv.ParseFloat(q, 64) // an invalid q-value counts as 0
			}
		}
	}
	if !named {
		return 0, true
	}
	most := 0.0
	for i, kind := range types {
		group, _, _ := strings.Cut(kind, "/")
		for _, of := range []string{kind, group + "/*", "*/*"} { // the most specific range applies
			if quality, is := liked[of]; is {
				if quality > most {
					best, most = i, quality
				}
				break
			}
		}
	}
	return best, most > 0
}

// streamProblem returns the problem for an error that the client caused or should retry after. It returns other
// errors unchanged.
func streamProblem(err error) error {
	switch {
	case errors.Is(err, warehouse.ErrInvalid):
		return &problem{status: http.StatusBadRequest, code: "INVALID_FILTER",
			message: strings.TrimPrefix(err.Error(), warehouse.ErrInvalid.Error()+": ")}
	case errors.Is(err, warehouse.ErrNoMemory):
		busy := &problem{status: http.StatusServiceUnavailable, code: "SERVER_BUSY", retryAfter: 5,
			message: "The server has no memory left for this"}
		return fmt.Errorf("%w: %w", busy, err)
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

// streamAnswer is a response that starts with its first byte. Until then, an error can still be sent instead.
// After a failure, the last chunk and the end of the compression are missing, so the client can detect that the
// response is incomplete.
type streamAnswer struct {
	*exchange
	out      pacedWriter
	r        *http.Request
	headers  map[string]string
	encoding string // "": not compressed
	encoder  encoder
	flushed  time.Time // time of the last flush of encoder
	sending  bool      // the headers have been sent
	broke    error     // error of the last write to the client; nil: none
}

// encoder is a compressing writer.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// flushEvery bounds how long rows may stay in an encoder. Rarer flushes compress better.
const flushEvery = 500 * time.Millisecond

func (s *streamAnswer) Write(p []byte) (int, error) {
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
func (s *streamAnswer) start() error {
	if s.sending {
		return nil
	}
	if err := s.begin(s.r.Context(), writeGrace); err != nil {
		return err
	}
	s.sending = true
	h := s.Header()
	for name, value := range s.headers {
		h.Set(name, value)
	}
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Encoding")
	switch s.encoding {
	case "zstd":
		s.encoder, _ = zstd.NewWriter(sender{s}, zstd.WithEncoderLevel(zstd.SpeedFastest), // the options are valid
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
	case "gzip":
		s.encoder, _ = gzip.NewWriterLevel(sender{s}, gzip.BestSpeed) // the level is valid
	}
	if s.encoder != nil {
		h.Set("Content-Encoding", s.encoding)
	}
	s.WriteHeader(http.StatusOK)
	return nil
}

// sender is the writer that an encoder writes to.
type sender struct{ *streamAnswer }

func (s sender) Write(p []byte) (int, error) { return s.send(p) }

// send writes p to the client at the required pace, and flushes it.
func (s *streamAnswer) send(p []byte) (n int, err error) {
	if n, err = s.out.Write(p); err == nil {
		err = http.NewResponseController(s.ResponseWriter).Flush()
	}
	s.broke = err
	return n, err
}

// sendChunk is the size in bytes of the parts that a response is written in. The pace is checked for each part.
const sendChunk = 64 << 10

// end sends the headers if nothing has been written, and ends the compression.
func (s *streamAnswer) end() error {
	if err := s.start(); err != nil {
		return err
	}
	if s.encoder == nil || s.head {
		return nil
	}
	return s.encoder.Close()
}
