package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// maxRefused bounds the rows of one push that go to the quarantine, so that nobody fills the disk with what is none.
const maxPushRefusals = 100_000

// pushTo takes in what is pushed to the API, as files are taken in.
func ingestPush(w *warehouse.Warehouse, log *slog.Logger) func(context.Context, httpapi.Push) (httpapi.Pushed, error) {
	return func(ctx context.Context, push httpapi.Push) (httpapi.Pushed, error) {
		name := "push-" + push.Tenant.String() // in the quarantine; the same rows, refused again, are the same file there
		summary, err := ingest.Load(ctx, w, ingest.Input{Name: name, Format: ingest.Format(push.Format), Dataset: push.Dataset.Name, Tenant: push.Tenant,
			Body: push.Body, Bounds: ingest.Bounds{Bytes: push.MaxBytes, Refused: maxPushRefusals}, InTurn: true, Log: log})
		for i := range summary.Refusals {
			summary.Refusals[i].Reason = strings.ReplaceAll(summary.Refusals[i].Reason, name, "body")
		}
		return httpapi.Pushed{Counts: summary.Counts, Refusals: summary.Refusals, Unknown: summary.Unknown}, err
	}
}

// byteSize is a number of bytes, written as 500MB or 1GiB.
type byteSize int64

type sizeUnit struct {
	name  string
	bytes int64
}

// sizeUnits are what a size is written in, the largest first.
var sizeUnits = []sizeUnit{{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}

// String is a whole number of the largest unit that allows it.
func (b byteSize) String() string {
	unit := sizeUnits[slices.IndexFunc(sizeUnits, func(u sizeUnit) bool { return int64(b)%u.bytes == 0 })] // the last one always does
	return strconv.FormatInt(int64(b)/unit.bytes, 10) + unit.name
}

// UnmarshalText reads a whole number with a unit, or without one.
func (b *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "KMGTiB")
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	for _, unit := range sizeUnits {
		if unit.name == cmp.Or(string(text[len(number):]), "B") && err == nil && n >= 1 && n <= math.MaxInt64/unit.bytes/1024 { // it is multiplied further
			*b = byteSize(n * unit.bytes)
			return nil
		}
	}
	return fmt.Errorf("%q is no size; 500MB is one", text)
}
