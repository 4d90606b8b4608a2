package schema_test

import (
	"errors"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
)

func TestRetention_Text(t *testing.T) {
	for text, want := range map[string]string{
		"none": "none", "calls=24mo": "calls=24mo", "messages=1y, calls=90d": "calls=90d,messages=12mo",
	} {
		var r schema.Retention
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%q: got %s (%v), want %s", text, r, err, want)
		}
	}
	for _, text := range []string{"", "24mo", "calls", "calls=", "calls=0d", "calls=-1d", "calls=1", "calls=2000y",
		"turns=1y", "calls=1y;"} {
		var r schema.Retention
		if err := r.UnmarshalText([]byte(text)); !errors.Is(err, schema.ErrInvalid) {
			t.Errorf("%q: got %s (%v), want an error", text, r, err)
		}
	}
}

func TestRetention_Expired(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	r := schema.Retention{"calls": {Months: 12}, "messages": {Days: 1}}
	for dataset, want := range map[*schema.Dataset]string{
		&schema.Calls:     "coalesce(created_at < '2025-03-31T12:00:00Z'::TIMESTAMPTZ, false)",
		&schema.Messages:  "coalesce(created_at < '2026-03-30T12:00:00Z'::TIMESTAMPTZ, false)",
		&schema.Customers: "false",
	} {
		if got := r.Expired(*dataset, now); got != want {
			t.Errorf("%s: got %s, want %s", dataset.Name, got, want)
		}
	}
}
