package admin

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/warehouse"
)

// Query runs a SQL statement and writes its result.
var Query = download("query",
	func(ctx context.Context, l *Local, r query.Request, out io.Writer) (outcome query.Outcome, err error) {
		if err := l.requireTenant(ctx, r.Tenant); err != nil {
			return outcome, err
		}
		release, err := l.Slots.Acquire(ctx, uuid.Nil, uuid.Nil)
		if err != nil {
			return outcome, fmt.Errorf("start the query: %w; try again later", err)
		}
		defer release()
		if l.Standalone {
			// If it fails, Start returns the error.
			if _, err := l.Warehouse.PublishTenant(ctx, r.Tenant); ctx.Err() != nil {
				return outcome, err
			}
		}
		result, err := l.Queries.Start(ctx, uuid.NewString(), r)
		if l.Standalone && errors.Is(err, warehouse.ErrUnavailable) { // no server publishes the damaged file again
			if _, failed := l.Warehouse.PublishTenant(ctx, r.Tenant); failed == nil {
				result, err = l.Queries.Start(ctx, uuid.NewString(), r)
			}
		}
		if err != nil {
			return outcome, err
		}
		defer result.Close()
		if _, err = result.WriteTo(out); err != nil {
			return outcome, err
		}
		return *result.Outcome, nil
	})
