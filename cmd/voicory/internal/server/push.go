package server

import (
	"context"
	"log/slog"
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
		// A quarantine file is named by its origin and its content. So if the same rows are refused again, their file
		// replaces the earlier one.
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
