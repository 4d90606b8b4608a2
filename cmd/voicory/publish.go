package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
)

// publish publishes the rows that a command has stored. It returns an error if a tenant of these rows could not be
// published. It prints a warning for any other tenant, because that is not a failure of the command.
func (m *Main) publish(ctx context.Context, conn *admin.Conn, tenants []uuid.UUID) (admin.Publication, error) {
	outcome, err := admin.Publish.Call(ctx, conn, admin.None{})
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
