package openapi

import (
	_ "embed" // the document and the parts of its page
	"net/http"
	"slices"
	"strconv"
	"sync"
)

//go:generate go run ./bundle

//go:embed openapi.json
var document []byte

// JSON returns a copy of the document.
func JSON() []byte { return slices.Clone(document) }

// Document returns a handler that serves the document as JSON.
func Document() http.Handler { return static("application/json", document) }

// rendered returns the page of the embedded document and its Content-Security-Policy. It renders once per process.
var rendered = sync.OnceValues(func() (page []byte, policy string) { return render(document) })

// Page returns a handler that serves the document as an HTML page.
func Page() http.Handler {
	page, policy := rendered()
	answer := static("text/html; charset=utf-8", page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		answer.ServeHTTP(w, r)
	})
}

// static returns a handler that always serves the same body. net/http omits the body for HEAD.
func static(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body) // an error means that the client has disconnected
	})
}
