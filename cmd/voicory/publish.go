package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// publication is the outcome of publishing, in the summaries of commands.
type publication struct {
	warehouse.Published
	Failed []publishFailure `json:"failed,omitempty"` // tenants whose rows are stored, but not all published
}

// publishFailure is the failure to publish a tenant.
type publishFailure struct {
	Tenant uuid.UUID `json:"tenant"`
	Error  string    `json:"error"`
}

// Publish publishes all tenants. Failures of tenants are part of the outcome. Without a server, nothing else upgrades
// the files of earlier versions, so Publish does it, too.
func (l localAdmin) Publish(ctx context.Context) (outcome publication, err error) {
	outcome.Published, err = l.Warehouse.Publish(ctx)
	if err == nil && l.standalone {
		var upgraded warehouse.Published
		upgraded, err = l.UpgradePublished(ctx)
		outcome.Files += upgraded.Files
		outcome.Rows += upgraded.Rows
	}
	if failures := (warehouse.PublishErrors)(nil); errors.As(err, &failures) {
		for _, failure := range failures {
			outcome.Failed = append(outcome.Failed, publishFailure{failure.Tenant, failure.Err.Error()})
		}
		return outcome, nil
	}
	return outcome, err
}

// publish publishes the rows that a command has stored. It returns an error if a tenant of these rows could not be
// published. It prints a warning for any other tenant, because that is not a failure of the command.
func (m *Main) publish(ctx context.Context, api admin, tenants []uuid.UUID) (publication, error) {
	outcome, err := api.Publish(ctx)
	if err != nil {
		return outcome, err
	}
	var failed []error
	for _, failure := range outcome.Failed {
		err := fmt.Errorf("publish tenant %s: %s; its rows are stored, and the next publishing tries again",
			failure.Tenant, failure.Error)
		if slices.Contains(tenants, failure.Tenant) {
			failed = append(failed, err)
		} else {
			fmt.Fprintln(m.Stderr, "voicory: warning:", err)
		}
	}
	return outcome, errors.Join(failed...)
}
