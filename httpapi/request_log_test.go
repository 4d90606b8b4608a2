package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse/control"
)

// Requests without a valid key fill a small part of the log; requests with one are all logged.
func TestRequestLog_SamplesRequestsWithoutAKey(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	a := start(t, func(o *httpapi.Options) { o.Metrics = registry })
	for n := range 80 {
		key := []string{"", "sk_" + strings.Repeat("x", 32), a.old}[n%3]
		if got := a.do(t, "GET", "/api/v1/calls", key); got.status != http.StatusUnauthorized {
			t.Fatalf("without a valid key: got %d, want 401", got.status)
		}
	}
	for range 5 {
		a.do(t, "GET", "/api/v1/calls", a.key)
	}
	a.Close() // waits for the last entries
	requests, err := a.warehouse.Requests(t.Context(), time.Now().Add(-time.Hour), uuid.NullUUID{}, 1000)
	noError(t, err)
	statuses := map[int]int{}
	for _, request := range requests {
		statuses[request.Status]++
	}
	if statuses[401] != 60 || statuses[200] != 5 {
		t.Errorf("got entries %v, want 60 of status 401 and 5 of status 200", statuses)
	}
	if unlogged, err := testutil.GatherAndCount(registry, "voicory_http_requests_unlogged_total"); err != nil ||
		unlogged != 1 {
		t.Errorf("got %d metrics of requests that are not logged, %v, want 1", unlogged, err)
	}
}

// A key is neither sent back nor logged, wherever a client puts it, with a valid key beside it or without.
func TestKeys_AreMaskedWhereverTheyAreSent(t *testing.T) {
	t.Parallel()
	var stderr logbook
	a := start(t, func(o *httpapi.Options) { o.Log = slog.New(slog.NewJSONHandler(&stderr, nil)) })
	secret := "sk_" + strings.Repeat("q7", 16)
	var encoded strings.Builder
	for _, letter := range []byte(secret) {
		fmt.Fprintf(&encoded, "%%%02X", letter)
	}
	twice := strings.ReplaceAll(encoded.String(), "%", "%25")
	keyIn := func(text string) string {
		for _, part := range []string{secret[3:20], encoded.String()[9:40], twice[15:60]} {
			if at := strings.Index(text, part); at >= 0 {
				return text[max(at-80, 0):min(at+80, len(text))]
			}
		}
		return ""
	}
	long := strings.Repeat("a", 240)
	type place struct{ path, header, value string }
	places := []place{
		{"/api/v1/calls", "X-Request-Id", secret}, {"/api/v1/calls", "X-Request-Id", "id-" + secret},
		{"/api/v1/calls", "X-Query-Id", secret},
		{"/api/v1/calls", "User-Agent", "x " + secret}, {"/api/v1/calls", "X-Forwarded-For", secret},
		{"/api/v1/calls", "Origin", "https://" + secret},
		{"/api/v1/calls", "Accept", "text/" + secret}, {"/api/v1/calls", "If-None-Match", secret},
		{"/api/v1/exports/calls", "Accept", "text/" + secret},
	}
	for _, text := range []string{secret, encoded.String(), twice, long + secret, long + encoded.String()} {
		for _, path := range []string{"/%s", "/api/v1/calls/%s", "/api/v1/exports/%s", "/api/v1/exports/calls/files/%s",
			"/api/v1/calls?%s", "/api/v1/calls?%s=1",
			"/api/v1/calls?search=%s", "/api/v1/calls?status=%s", "/api/v1/calls?from=%s", "/api/v1/calls?cursor=%s",
			"/api/v1/analytics/costs?group_by=%s",
			"/api/v1/analytics/costs?timezone=%s", "/api/v1/analytics/transcripts/search?q=%s",
			"/api/v1/exports/calls?columns=%s", "/api/v1/exports/calls?format=%s"} {
			places = append(places, place{path: fmt.Sprintf(path, text)})
		}
	}
	_, valid, err := a.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	for _, place := range places {
		for _, key := range []string{valid, ""} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+place.path, nil)
			noError(t, err)
			request.Header.Set("X-Api-Key", key)
			if place.header != "" {
				request.Header.Set(place.header, place.value)
			}
			response, err := a.Client().Do(request)
			noError(t, err)
			var answer bytes.Buffer
			noError(t, response.Header.Write(&answer))
			_, err = io.Copy(&answer, response.Body)
			noError(t, err)
			noError(t, response.Body.Close())
			if shown := keyIn(answer.String()); shown != "" {
				t.Errorf("%+v: the answer shows %q", place, shown)
			}
		}
	}
	a.Close() // waits for the last entries
	if shown := keyIn(stderr.read()); shown != "" {
		t.Errorf("the log shows %q", shown)
	}
	requests, err := a.warehouse.Requests(t.Context(), time.Now().Add(-time.Hour), uuid.NullUUID{}, 1000)
	noError(t, err)
	if stored := fmt.Sprintf("%+v", requests); len(requests) < len(places) || keyIn(stored) != "" {
		t.Errorf("got %d stored requests that show %q, want at least %d that show no key", len(requests), keyIn(stored),
			len(places))
	}
}
