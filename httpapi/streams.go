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
)

// stream answers with all rows of an export within a filter, of one state. HEAD reads none.
func (a *api) stream(_ http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	request, err := parseStream(r)
	if err != nil {
		return err
	}
	stream, err := exports.Open(r.Context(), a.Store, key.Tenant, request)
	if err != nil {
		return streamProblem(err)
	}
	answer := &streamAnswer{exchange: exchangeOf(r), out: pacedWriter{exchangeOf(r), r.Context(), answerPace()}, r: r, headers: map[string]string{"Content-Type": request.Format.MediaType(), "X-As-Of": moment(stream.AsOf).String(),
		"Content-Disposition": `attachment; filename="` + fileName(request.Export.Name, request.Filter, request.Format, stream.AsOf) + `"`}}
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
		panic(http.ErrAbortHandler) // the client has left, or takes nothing
	}
	return streamProblem(err)
}

// parseStream reads what is asked for: the export, the format, and the filters of the list that the export is made of.
func parseStream(r *http.Request) (request exports.Request, err error) {
	if request.Export, err = warehouse.ExportNamed(mux.Vars(r)["dataset"]); err != nil {
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

// parseFormat reads in which of the formats rows are asked for: what format says, else what Accept likes best, and the first where it likes
// all alike.
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
		return "", &problem{status: http.StatusNotAcceptable, code: "NOT_ACCEPTABLE", message: "There are " + strings.Join(types, ", ")}
	}
	return formats[best], nil
}

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

// acceptable picks the media type that an Accept likes best; the first where it likes all alike, or says nothing of any.
func acceptable(accept string, types []string) (best int, ok bool) {
	liked, named := map[string]float64{}, false
	for part := range strings.SplitSeq(accept, ",") {
		kind, parameters, _ := strings.Cut(part, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		if kind == "" || kind == problemJSON { // that is about errors
			continue
		}
		named = true
		liked[kind] = 1
		for parameter := range strings.SplitSeq(parameters, ";") {
			if q, is := strings.CutPrefix(strings.TrimSpace(parameter), "q="); is {
				liked[kind], _ = strconv.ParseFloat(q, 64) // what is no number is not liked
			}
		}
	}
	if !named {
		return 0, true
	}
	most := 0.0
	for i, kind := range types {
		group, _, _ := strings.Cut(kind, "/")
		for _, of := range []string{kind, group + "/*", "*/*"} { // the closest one counts
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

// streamProblem tells what a client did wrong, or has to wait for.
func streamProblem(err error) error {
	switch {
	case errors.Is(err, warehouse.ErrInvalid):
		return &problem{status: http.StatusBadRequest, code: "INVALID_FILTER", message: strings.TrimPrefix(err.Error(), warehouse.ErrInvalid.Error()+": ")}
	case errors.Is(err, warehouse.ErrNoMemory):
		return fmt.Errorf("%w: %w", &problem{status: http.StatusServiceUnavailable, code: "SERVER_BUSY", message: "The server has no memory left for this", retryAfter: 5}, err)
	}
	return err
}

// fileName says what is in the file: its name, its days, and the moment it is of.
func fileName(name string, filter warehouse.Filter, format exports.Format, asOf time.Time) string {
	if from := filter.From; !from.IsZero() {
		name += "_from-" + from.UTC().Format(time.DateOnly)
	}
	if before := filter.Before; !before.IsZero() {
		name += "_to-" + before.Add(-1).UTC().Format(time.DateOnly)
	}
	return name + "_" + asOf.UTC().Format("20060102T150405Z") + format.Extension()
}

// streamAnswer is an answer that begins with its first byte; until then, an error can be told. One that is not brought to its end stays
// without the end of its chunks and of its encoding.
type streamAnswer struct {
	*exchange
	out      pacedWriter
	r        *http.Request
	headers  map[string]string
	encoding string // "": none
	encoder  encoder
	flushed  time.Time // the encoder, last
	sending  bool
	broke    error // why it cannot be sent
}

// encoder compresses what is sent.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// flushEvery bounds how long rows may stay in an encoder: less often, they compress better.
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

// start sends the headers.
func (s *streamAnswer) start() error {
	if s.sending {
		return nil
	}
	// A read deadline that passes while the answer is being sent would look as if the client had left.
	_ = http.NewResponseController(s.ResponseWriter).SetReadDeadline(time.Time{}) // where there is none to set, none passes
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
		s.encoder, _ = zstd.NewWriter(sender{s}, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true)) // the options are good
	case "gzip":
		s.encoder, _ = gzip.NewWriterLevel(sender{s}, gzip.BestSpeed) // the level is good
	}
	if s.encoder != nil {
		h.Set("Content-Encoding", s.encoding)
	}
	s.WriteHeader(http.StatusOK)
	return nil
}

// sender is where an encoder writes.
type sender struct{ *streamAnswer }

func (s sender) Write(p []byte) (int, error) { return s.send(p) }

// send sends at once, at the pace of the client within its bounds.
func (s *streamAnswer) send(p []byte) (n int, err error) {
	if n, err = s.out.Write(p); err == nil {
		err = http.NewResponseController(s.ResponseWriter).Flush()
	}
	s.broke = err
	return n, err
}

// sendChunk is the size of the parts in which an answer is sent, in bytes; the pace is checked for each.
const sendChunk = 64 << 10

// end brings the answer to its end.
func (s *streamAnswer) end() error {
	if err := s.start(); err != nil {
		return err
	}
	if s.encoder == nil || s.head {
		return nil
	}
	return s.encoder.Close()
}
