package httpapi_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/control"
)

// A tenant whose store is missing gets 503 from every route, with the file and the operator's command, and no store.
func TestUnavailable_MissingStore(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	dir := b.warehouse.Dir()
	noError(t, os.MkdirAll(filepath.Join(dir, "lake", "tenant_id="+nobody.String(), "calls"), 0o700)) // it had rows
	_, key, err := b.warehouse.CreateKey(t.Context(), nobody, control.Secret, control.KeySettings{})
	noError(t, err)
	for _, c := range []struct{ method, path, contentType, body string }{
		{"GET", "/api/v1/calls", "", ""},
		{"GET", "/api/v1/calls/" + id(1), "", ""},
		{"GET", "/api/v1/messages?since=0", "", ""},
		{"GET", "/api/v1/exports/calls?format=ndjson", "", ""},
		{"GET", "/api/v1/exports/calls/files", "", ""},
		{"GET", "/api/v1/analytics/costs?from=2026-01-01&to=2026-02-01", "", ""},
		{"POST", "/api/v1/query", "application/json", `{"sql": "SELECT count(*) FROM calls"}`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, b.URL+c.path, strings.NewReader(c.body))
		noError(t, err)
		request.Header.Set("x-api-key", key)
		request.Header.Set("Content-Type", c.contentType)
		response, err := b.Client().Do(request)
		noError(t, err)
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		noError(t, err)
		body := string(text)
		if response.StatusCode != http.StatusServiceUnavailable || code(body) != "DATA_UNAVAILABLE" ||
			response.Header.Get("Retry-After") == "" ||
			!strings.Contains(body, "warehouse/"+nobody.String()+".duckdb") || !strings.Contains(body, "voicory repair") ||
			strings.Contains(body, dir) {
			t.Errorf("%s %s: got %d %s, want 503 with the file and the command", c.method, c.path, response.StatusCode, body)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "warehouse", nobody.String()+".duckdb")); !os.IsNotExist(err) {
		t.Errorf("got error %v, want no new store", err)
	}
}
