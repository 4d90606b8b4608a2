package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// maxRefused bounds the rows of one push that go to the quarantine, so that nobody fills the disk with what is none.
const maxRefused = 100_000

// pushTo takes in what is pushed to the API, as files are taken in.
func pushTo(w *warehouse.Warehouse) func(context.Context, httpapi.Push) (httpapi.Pushed, error) {
	return func(ctx context.Context, push httpapi.Push) (httpapi.Pushed, error) {
		name := "push-" + push.Tenant.String() // in the quarantine; the same rows, refused again, are the same file there
		summary, err := ingest.Load(ctx, w, ingest.Input{Name: name, Format: ingest.Format(push.Format), Dataset: push.Dataset.Name, Tenant: push.Tenant,
			Body: push.Body, Bounds: ingest.Bounds{Bytes: push.MaxBytes, Refused: maxRefused}, InTurn: true})
		for i := range summary.Refusals {
			summary.Refusals[i].Reason = strings.ReplaceAll(summary.Refusals[i].Reason, name, "body")
		}
		return httpapi.Pushed{Counts: summary.Counts, Refusals: summary.Refusals, Unknown: summary.Unknown}, err
	}
}

// byteSize is a number of bytes, written as 500MB or 1GiB.
type byteSize int64

// UnmarshalText reads a whole number with a unit, or without one.
func (b *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "KMGTiB")
	factor, ok := map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[string(text[len(number):])]
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || !ok || n < 1 || n > math.MaxInt64/factor/1024 { // it is multiplied further
		return fmt.Errorf("%q is no size; 500MB is one", text)
	}
	*b = byteSize(n * factor)
	return nil
}
