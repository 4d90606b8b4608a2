package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// writeJSON sends a complete JSON response. It returns the cause if the request has been cancelled.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, body []byte) error {
	return writeBody(w, r, status, web.JSON, body)
}

// writeBody sends a complete response of any content type. It returns the cause if the request has been cancelled.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) error {
	if err := stateOf(r).Begin(r.Context(), 0); err != nil {
		return err
	}
	respond(w, r, status, contentType, body)
	return nil
}

// writeTagged sends a complete JSON response with an ETag, or 304 if the client has it already.
func writeTagged(w http.ResponseWriter, r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"` // weak, because all content encodings share it
	w.Header().Set("ETag", tag)
	if web.HasTag(r.Header.Values("If-None-Match"), tag) {
		w.Header().Add("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, r, http.StatusOK, body)
}

// minCompressed is the size in bytes below which a body is not compressed, because it fits in one packet anyway.
const minCompressed = 1 << 10

// respond sends a complete response, compressed if the client accepts it. It releases the slot of the request first
// if the response may wait in memory for the client, see [held.produced].
func respond(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= minCompressed {
		encoding := web.ContentEncoding(r.Header.Get("Accept-Encoding"))
		if encoding != "" {
			body = web.Compress(encoding, body)
			h.Set("Content-Encoding", encoding)
		}
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	defer stateOf(r).held.produced(len(body))()
	w.WriteHeader(status)
	w.Write(body) // fails only if the client has closed the connection
}
