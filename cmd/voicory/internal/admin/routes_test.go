package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Scripts of operators use the routes, so their requests and replies stay as they are.
func TestRoutes_ServeScripts(t *testing.T) {
	w := warehousetest.OpenNew(t)
	handler := Handler(&Local{Warehouse: w}, slog.New(slog.DiscardHandler))
	send := func(method, path, body string) (int, []byte) {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.Code, text
	}
	result := func(method, path, body string, value any) {
		t.Helper()
		_, text := send(method, path, body)
		var reply struct {
			Result json.RawMessage `json:"result"`
			Error  string          `json:"error"`
		}
		if err := json.Unmarshal(text, &reply); err != nil || reply.Error != "" {
			t.Fatalf("%s %s: got %s (%v)", method, path, text, err)
		}
		if err := json.Unmarshal(reply.Result, value); err != nil {
			t.Fatalf("%s %s: got %s (%v)", method, path, text, err)
		}
	}
	var ignored json.RawMessage
	var key struct{ ID, Key, Label string }
	result("POST", "/keys", `{"tenant_id":"7f3c1a52-8d5e-4b8e-9a43-0c1d2e3f4a5b","type":"secret","label":"t",`+
		`"rate_limit":"","origins":[]}`, &key)
	if !strings.HasPrefix(key.Key, "sk_") || key.Label != "t" {
		t.Errorf("got key %+v", key)
	}
	result("PUT", "/keys/"+key.ID, `{"label":"renamed"}`, &key)
	if key.Label != "renamed" {
		t.Errorf("got key %+v", key)
	}
	result("DELETE", "/keys/"+key.ID, "", &ignored)
	var keys []struct {
		ID        string
		RevokedAt string `json:"revoked_at"`
	}
	result("GET", "/keys", "", &keys)
	if len(keys) != 1 || keys[0].ID != key.ID || keys[0].RevokedAt == "" {
		t.Errorf("got keys %+v, want the revoked one", keys)
	}
	var tenants []struct{}
	if result("GET", "/tenants", "", &tenants); len(tenants) != 1 {
		t.Errorf("got %d tenants", len(tenants))
	}
	result("POST", "/publish", "", &ignored)
	result("POST", "/quarantine/replay", "", &ignored)
	result("DELETE", "/quarantine", "", &ignored)
	result("GET", "/requests?query="+url.QueryEscape(`{"since":"2026-01-01T00:00:00Z","limit":5}`), "", &ignored)
	for n := range 3 { // the list has n rows, or as many as the limit
		var refusals []warehouse.Refusal
		if result("GET", "/quarantine?limit=2", "", &refusals); refusals == nil || len(refusals) != min(n, 2) {
			t.Errorf("got %+v, want %d rows", refusals, min(n, 2))
		}
		warehousetest.NoError(t, w.RefuseFile(warehouse.Refusal{File: fmt.Sprintf("calls-%d.csv", n),
			Reason: "cannot be read"}))
	}
	for _, path := range []string{"/quarantine", "/quarantine?limit=x", "/requests", "/requests?query=x"} {
		if status, text := send("GET", path, ""); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want status 422", path, status, text)
		}
	}
}
