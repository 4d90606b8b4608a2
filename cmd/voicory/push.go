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

// maxPushRefusals bounds the refused rows of one push that are quarantined, so that a client cannot fill the disk with
// invalid rows.
const maxPushRefusals = 100_000

// ingestPush returns the function that ingests pushed bodies. They use the same pipeline as files.
func ingestPush(w *warehouse.Warehouse, log *slog.Logger) func(context.Context, httpapi.Push) (httpapi.Pushed, error) {
	return func(ctx context.Context, push httpapi.Push) (httpapi.Pushed, error) {
		// The quarantine names files by origin and content: the same rows, if refused again, replace their file there.
		name := "push-" + push.Tenant.String()
		summary, err := ingest.Load(ctx, w, ingest.Input{
			Name: name, Format: ingest.Format(push.Format), Dataset: push.Dataset.Name, Tenant: push.Tenant, Body: push.Body,
			Bounds: ingest.Bounds{Bytes: push.MaxBytes, Refused: maxPushRefusals}, Throttled: true, Log: log,
		})
		for i := range summary.Refusals {
			summary.Refusals[i].Reason = strings.ReplaceAll(summary.Refusals[i].Reason, name, "body")
		}
		return httpapi.Pushed{
			Counts: summary.Counts, Refusals: summary.Refusals, Unknown: summary.Unknown, Notes: summary.Notes,
		}, err
	}
}

// byteSize is a number of bytes as a flag, such as 500MB or 1GiB.
type byteSize int64

type sizeUnit struct {
	name  string
	bytes int64
}

// sizeUnits lists the units of sizes, the largest first.
var sizeUnits = []sizeUnit{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10},
	{"KB", 1e3}, {"B", 1},
}

// String returns the size as a whole number of the largest unit that divides it.
func (b byteSize) String() string {
	divides := func(u sizeUnit) bool { return int64(b)%u.bytes == 0 }
	unit := sizeUnits[slices.IndexFunc(sizeUnits, divides)] // "B" always matches
	return strconv.FormatInt(int64(b)/unit.bytes, 10) + unit.name
}

// UnmarshalText parses a whole number with an optional unit.
func (b *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "KMGTiB")
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	for _, unit := range sizeUnits {
		if unit.name != cmp.Or(string(text[len(number):]), "B") || err != nil || n < 1 {
			continue
		}
		if n <= math.MaxInt64/unit.bytes/1024 { // callers multiply sizes
			*b = byteSize(n * unit.bytes)
			return nil
		}
	}
	return fmt.Errorf("invalid size %q (example: 500MB)", text)
}
