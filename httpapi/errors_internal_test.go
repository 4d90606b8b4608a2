package httpapi

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

func TestProblemOf_StatusOfEachKindOfError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err        error
		status     int
		code       string
		retryAfter int
	}{
		"memory full":   {warehouse.ErrNoMemory, 503, "SERVER_BUSY", 5},
		"disk full":     {warehouse.ErrNoSpace, 503, "SERVER_BUSY", 30},
		"disk failed":   {warehouse.ErrIO, 503, "DATA_UNAVAILABLE", 30},
		"large page":    {warehouse.ErrTooLarge, 400, "PAGE_TOO_LARGE", 0},
		"not found":     {warehouse.ErrNotFound, 404, "NOT_FOUND", 0},
		"unknown key":   {warehouse.ErrInvalidKey, 401, "INVALID_API_KEY", 0},
		"revoked key":   {warehouse.ErrRevokedKey, 401, "REVOKED_API_KEY", 0},
		"expired key":   {warehouse.ErrExpiredKey, 401, "REVOKED_API_KEY", 0},
		"unknown error": {errors.New("disk is on fire"), 500, "INTERNAL_ERROR", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := problemOf(fmt.Errorf("list calls: %w", test.err))
			if got.Status != test.status || got.Code != test.code || got.RetryAfter != test.retryAfter {
				t.Errorf("got %d %s after %d s, want %d %s after %d s",
					got.Status, got.Code, got.RetryAfter, test.status, test.code, test.retryAfter)
			}
		})
	}
}

func TestProblemFor_WritesWithoutSpace(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]int{
		"POST /api/v1/ingest/calls": 507, "DELETE /api/v1/customers/1": 507,
		"GET /api/v1/calls": 503, "POST /api/v1/query": 503,
	} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		got := problemFor(r, fmt.Errorf("merge calls: %w", warehouse.ErrNoSpace))
		if got.Status != want || got.RetryAfter == 0 {
			t.Errorf("%s: got %d after %d s, want %d", request, got.Status, got.RetryAfter, want)
		}
	}
}
