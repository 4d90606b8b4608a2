package web

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// The encodings of responses that this package produces.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

// preference is an element of an Accept or Accept-Encoding header.
type preference struct {
	name    string  // in lower case
	quality float64 // 1 if the element has no q-value, 0 if it has an invalid one
}

// preferences returns the elements of an Accept or Accept-Encoding header.
func preferences(header string) (all []preference) {
	for element := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(element, ";")
		p := preference{name: strings.ToLower(strings.TrimSpace(name)), quality: 1}
		if p.name == "" {
			continue
		}
		for parameter := range strings.SplitSeq(parameters, ";") {
			if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
				p.quality, _ = strconv.ParseFloat(q, 64)
			}
		}
		all = append(all, p)
	}
	return all
}

// quality returns the quality of the first of names that is in the list, or 0. Names go from the most specific to
// the least specific.
func quality(all []preference, names ...string) float64 {
	for _, name := range names {
		for _, p := range all {
			if p.name == name {
				return p.quality
			}
		}
	}
	return 0
}

// ContentEncoding returns the encoding that an Accept-Encoding header prefers: [Zstd], [Gzip], or "" for none. It
// returns Zstd if both have the same quality.
func ContentEncoding(accept string) (best string) {
	all, most := preferences(accept), 0.0
	for _, encoding := range []string{Zstd, Gzip} {
		if q := quality(all, encoding, "*"); q > most {
			best, most = encoding, q
		}
	}
	return best
}

// MediaType returns the index of the media type that an Accept header prefers. Of types with the same quality it
// returns the first, and 0 if the header is empty. ok is false if the header accepts none of types. Elements for
// [ProblemJSON] are ignored, because they apply to errors only.
func MediaType(accept string, types []string) (best int, ok bool) {
	var all []preference
	for _, p := range preferences(accept) {
		if p.name != ProblemJSON {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return 0, true
	}
	most := 0.0
	for i, name := range types {
		group, _, _ := strings.Cut(name, "/")
		if q := quality(all, name, group+"/*", "*/*"); q > most {
			best, most = i, q
		}
	}
	return best, most > 0
}

// HasTag reports whether If-None-Match headers contain the tag, by weak comparison (RFC 9110, 8.8.3.2).
func HasTag(fields []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

var (
	// The options and the level are valid, so these constructors do not fail.
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithZeroFrames(true))
	gzipWriters    = sync.Pool{New: func() any {
		writer, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		return writer
	}}
)

// Compress returns the body in the encoding, [Zstd] or [Gzip].
func Compress(encoding string, body []byte) []byte {
	if encoding == Zstd {
		return zstdEncoder.EncodeAll(body, nil)
	}
	var out bytes.Buffer
	writer := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(writer)
	writer.Reset(&out)
	_, _ = writer.Write(body) // a bytes.Buffer returns no error
	_ = writer.Close()
	return out.Bytes()
}

// Encoder is a writer that compresses a stream.
type Encoder interface {
	io.WriteCloser
	Flush() error
}

// NewEncoder returns a writer that compresses to w, or nil if the encoding is "".
func NewEncoder(w io.Writer, encoding string) Encoder {
	switch encoding {
	case Zstd:
		encoder, _ := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), // the options are valid
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
		return encoder
	case Gzip:
		encoder, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
		return encoder
	}
	return nil
}
