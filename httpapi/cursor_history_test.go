package httpapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// earlier signs the position of a cursor as versions without histories did.
func (a *api) earlier(t *testing.T, cursor string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	noError(t, err)
	bound, err := json.Marshal(struct {
		Tenant  uuid.UUID
		Dataset string
		Filter  schema.Filter
	}{mine, "calls", schema.Filter{}})
	noError(t, err)
	place := raw[:len(raw)-16]
	mac := hmac.New(sha256.New, a.warehouse.SigningKey("cursor"))
	mac.Write(place)
	mac.Write(bound)
	return base64.RawURLEncoding.EncodeToString(append(place, mac.Sum(nil)[:16]...))
}

// When the store of a tenant begins a new history, every cursor of the tenant is invalid, in lists and in feeds, and of
// earlier versions, too. The cursors of other tenants stay valid.
func TestCursor_EndsWithTheHistoryOfTheStore(t *testing.T) {
	t.Parallel()
	a := start(t)
	first, _ := a.listed(t, "/api/v1/calls?limit=7", a.key)
	feed, _ := a.listed(t, "/api/v1/calls?since=0&limit=7", a.key)
	end, _ := a.listed(t, "/api/v1/calls?since=0&limit=100", a.key)
	other, _ := a.listed(t, "/api/v1/calls?since=0&limit=100", a.other)
	cursors := map[string]string{
		"list": *first.Meta.NextCursor, "feed": *feed.Meta.NextCursor, "resume": end.Meta.ResumeCursor,
	}
	for kind, cursor := range maps.Clone(cursors) {
		cursors["earlier "+kind] = a.earlier(t, cursor)
	}
	check := func(cursors map[string]string, key string, want int) {
		t.Helper()
		for kind, cursor := range cursors {
			got := a.do(t, "GET", "/api/v1/calls?limit=100&cursor="+cursor, key)
			if got.status != want || want == 400 && !strings.Contains(got.body, "INVALID_CURSOR") {
				t.Errorf("%s: got %d %s, want %d", kind, got.status, got.body[:min(len(got.body), 200)], want)
			}
		}
	}
	check(cursors, a.key, 200)
	noError(t, a.warehouse.BeginHistory(t.Context(), mine))
	check(cursors, a.key, 400)
	check(map[string]string{"other tenant": other.Meta.ResumeCursor}, a.other, 200)
	again, _ := a.listed(t, "/api/v1/calls?limit=7", a.key)
	check(map[string]string{"new": *again.Meta.NextCursor}, a.key, 200)
	check(map[string]string{"new without a history": a.earlier(t, *again.Meta.NextCursor)}, a.key, 400)
	if l, _ := a.listed(t, fmt.Sprintf("/api/v1/calls?since=%d&limit=100", 0), a.key); len(l.Data) != 60 {
		t.Errorf("got %d rows from the start, want 60", len(l.Data))
	}
}
