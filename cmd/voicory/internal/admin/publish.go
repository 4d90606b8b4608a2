package admin

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// Publication is the outcome of publishing, in the summaries of commands.
type Publication struct {
	warehouse.Published
	Failed []PublishFailure `json:"failed,omitempty"` // tenants whose rows are stored, but not all published
}

// PublishFailure is the failure to publish a tenant.
type PublishFailure struct {
	Tenant uuid.UUID `json:"tenant"`
	Error  string    `json:"error"`
}

// Publish writes the stale partitions of all tenants. Failures of tenants are part of the outcome. Without a server,
// nothing else upgrades the files of earlier versions, so Publish does it, too.
var Publish = operation("publish", func(ctx context.Context, l *Local, _ None) (outcome Publication, err error) {
	outcome.Published, err = l.Warehouse.Publish(ctx)
	if err == nil && l.Standalone {
		var upgraded warehouse.Published
		upgraded, err = l.Warehouse.UpgradePublished(ctx)
		outcome.Files += upgraded.Files
		outcome.Rows += upgraded.Rows
	}
	if failures := (warehouse.PublishErrors)(nil); errors.As(err, &failures) {
		for _, failure := range failures {
			outcome.Failed = append(outcome.Failed, PublishFailure{failure.Tenant, failure.Err.Error()})
		}
		return outcome, nil
	}
	return outcome, err
})
