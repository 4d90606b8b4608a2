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

// writeJSON sends a complete JSON response. It returns the cause if the request has been cancelled.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, body []byte) error {
	return writeBody(w, r, status, "application/json; charset=utf-8", body)
}

// writeBody sends a complete response of any content type. It returns the cause if the request has been cancelled.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) error {
	// Set begun before checking the key. A revocation cancels the key first and then reads begun, so at least one
	// side sees the other.
	exchangeOf(r).begun.Store(true)
	if err := context.Cause(r.Context()); err != nil {
		exchangeOf(r).begun.Store(false)
		return err
	}
	send(w, r, status, contentType, body)
	return nil
}

// writeTagged sends a complete JSON response with an ETag, or 304 if the client has it already.
func writeTagged(w http.ResponseWriter, r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"` // weak, because all content encodings share it
	w.Header().Set("ETag", tag)
	if hasTag(r.Header.Values("If-None-Match"), tag) {
		w.Header().Add("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, r, http.StatusOK, body)
}

// hasTag reports whether If-None-Match headers contain the tag, by weak comparison (RFC 9110, 8.8.3.2).
func hasTag(fields []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// minCompressed is the size in bytes below which a body is not compressed, because it fits in one packet anyway.
const minCompressed = 1 << 10

// send sends a complete response, compressed if the client accepts it. It releases the slot of the request first
// if the response may wait in memory for the client, see [held.produced].
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
	w.Write(body) // fails only if the client has closed the connection
}

// preferred returns the content encoding that an Accept-Encoding header prefers: "zstd", "gzip", or "" for none.
// It returns "zstd" if both have the same q-value.
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
	// The options and the level are valid, so these constructors do not fail.
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithZeroFrames(true))
	gzipWriters    = sync.Pool{New: func() any {
		writer, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		return writer
	}}
)

// compress returns the body in the encoding, "zstd" or "gzip".
func compress(encoding string, body []byte) []byte {
	if encoding == "zstd" {
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
