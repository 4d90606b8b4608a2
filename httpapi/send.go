package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// writeJSON writes a whole answer, unless the request has ended meanwhile.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, body []byte) error {
	return writeBody(w, r, status, "application/json; charset=utf-8", body)
}

// writeBody is the same for any content type.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) error {
	// First this, then a look whether the key is still good: who revokes does it the other way round, and one sees the other.
	exchangeOf(r).begun.Store(true)
	if err := context.Cause(r.Context()); err != nil {
		exchangeOf(r).begun.Store(false)
		return err
	}
	send(w, r, status, contentType, body)
	return nil
}

// writeTagged writes a whole answer that the client may have already, by its ETag.
func writeTagged(w http.ResponseWriter, r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"` // weak: it is the same for every encoding
	w.Header().Set("ETag", tag)
	if hasTag(r.Header.Values("If-None-Match"), tag) {
		w.Header().Add("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, r, http.StatusOK, body)
}

// hasTag tells whether an If-None-Match names the tag, compared weakly (RFC 9110, 8.8.3.2).
func hasTag(fields []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// minCompressed is the size below which compression saves no packet.
const minCompressed = 1 << 10

func send(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= minCompressed {
		encoding := preferred(r.Header.Get("Accept-Encoding"))
		if encoding != "" {
			body = compress(encoding, body)
			h.Set("Content-Encoding", encoding)
		}
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	defer exchangeOf(r).held.produced(len(body))()
	w.WriteHeader(status)
	w.Write(body) // a client that left is no error of ours
}

// preferred picks the content encoding: zstd or gzip, whichever the client likes better, zstd if both alike; none is "".
func preferred(accept string) (best string) {
	var most float64
	any, named := 0.0, map[string]bool{}
	consider := func(coding string, quality float64) {
		if quality > most || quality == most && quality > 0 && coding == "zstd" {
			best, most = coding, quality
		}
	}
	for part := range strings.SplitSeq(accept, ",") {
		coding, parameter, _ := strings.Cut(part, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		quality := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			var err error
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch coding {
		case "zstd", "gzip":
			named[coding] = true
			consider(coding, quality)
		case "*":
			any = quality
		}
	}
	for _, coding := range []string{"zstd", "gzip"} {
		if !named[coding] {
			consider(coding, any)
		}
	}
	return best
}

var (
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithZeroFrames(true)) // the options are good
	gzipWriters    = sync.Pool{New: func() any {
		writer, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is good
		return writer
	}}
)

func compress(encoding string, body []byte) []byte {
	if encoding == "zstd" {
		return zstdEncoder.EncodeAll(body, nil)
	}
	var out bytes.Buffer
	writer := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(writer)
	writer.Reset(&out)
	_, _ = writer.Write(body) // a buffer takes all
	_ = writer.Close()
	return out.Bytes()
}
