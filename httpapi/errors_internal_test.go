package httpapi

import (
	"errors"
	"fmt"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

func TestProblemOf(t *testing.T) {
	for name, test := range map[string]struct {
		err        error
		status     int
		code       string
		retryAfter int
	}{
		"memory full":   {warehouse.ErrNoMemory, 503, "SERVER_BUSY", 5},
		"disk full":     {warehouse.ErrNoSpace, 503, "SERVER_BUSY", 30},
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
