package openapi

import (
	_ "embed" // the document and the parts of its page
	"net/http"
	"slices"
	"strconv"
)

//go:embed openapi.json
var document []byte

// JSON is the document.
func JSON() []byte { return slices.Clone(document) }

// Document answers with the document as JSON, to GET and HEAD.
func Document() http.Handler { return always("application/json", document) }

// Page answers with the document as an HTML page, to GET and HEAD.
func Page() http.Handler {
	page, policy := render(document)
	answer := always("text/html; charset=utf-8", page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		answer.ServeHTTP(w, r)
	})
}

// always answers with the same body. The server leaves it out for HEAD.
func always(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body) // a client that left is no error of ours
	})
}
