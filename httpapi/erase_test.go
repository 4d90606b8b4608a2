package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/control"
)

func TestErase_OnlyWithTheRightOfTheKey(t *testing.T) {
	t.Parallel()
	a := start(t)
	key := func(settings control.KeySettings) string {
		_, text, err := a.warehouse.CreateKey(t.Context(), mine, control.Secret, settings)
		noError(t, err)
		return text
	}
	plain, allowed := key(control.KeySettings{}), key(control.KeySettings{AllowErase: true})
	if _, _, err := a.warehouse.CreateKey(t.Context(), mine, control.Public,
		control.KeySettings{AllowErase: true}); err == nil {
		t.Error("got a public key that may erase")
	}
	path := "/api/v1/customers/" + id(11)
	for _, test := range []struct {
		path, key string
		status    int
		code      string
	}{
		{path + "?erase=true", "", 401, "MISSING_API_KEY"},
		{path + "?erase=true", a.key, 403, "SECRET_KEY_REQUIRED"},
		{path + "?erase=true", plain, 403, "ERASE_NOT_ALLOWED"},
		{path, allowed, 400, "INVALID_FILTER"},
		{path + "?erase=1", allowed, 400, "INVALID_FILTER"},
		{path + "?erase=true&force=true", allowed, 400, "INVALID_FILTER"},
		{"/api/v1/customers/x?erase=true", allowed, 400, "INVALID_ID"},
		{"/api/v1/customers/" + id(99) + "?erase=true", allowed, 404, "NOT_FOUND"},
		{"/api/v1/customers/" + id(1) + "?erase=true", allowed, 404, "NOT_FOUND"}, // the id of a call
		{"/api/v1/calls/" + id(1) + "?erase=true", allowed, 405, "METHOD_NOT_ALLOWED"},
	} {
		if got := a.do(t, "DELETE", test.path, test.key); got.status != test.status || code(got.body) != test.code {
			t.Errorf("%s: got %d %s, want %d %s", test.path, got.status, got.body, test.status, test.code)
		}
	}
	if got := a.do(t, "GET", path, a.key); got.status != 200 {
		t.Fatalf("the customer is gone: %d", got.status)
	}

	got := a.do(t, "DELETE", path+"?erase=true", allowed)
	if got.status != 200 || got.body != `{"data":{"rows":{"calls":1,"customers":1,"messages":1},"refused":0,"requests":4,"remaining":0}}` {
		t.Errorf("got %d %s", got.status, got.body)
	}
	for _, gone := range []string{path, "/api/v1/calls/" + id(1), "/api/v1/messages/" + id(21)} {
		if got := a.do(t, "GET", gone, a.key); got.status != 404 {
			t.Errorf("%s: got %d, want 404", gone, got.status)
		}
	}
	if got := a.do(t, "DELETE", path+"?erase=true", allowed); got.status != 404 {
		t.Errorf("a second erasure: got %d, want 404", got.status)
	}
	if got := a.do(t, "GET", "/api/v1/customers/"+id(12), a.key); got.status != 200 {
		t.Errorf("another customer: got %d", got.status)
	}
	logged, err := a.warehouse.Requests(t.Context(), time.Time{}, uuid.NullUUID{}, 1000)
	noError(t, err)
	for _, request := range logged {
		if strings.Contains(request.Path+request.Query, id(11)) {
			t.Errorf("the request log names the customer: %s %s?%s", request.Method, request.Path, request.Query)
		}
	}
}
