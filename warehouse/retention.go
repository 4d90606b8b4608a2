package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// An Expiry reports the rows of a tenant that were deleted because they are older than the tenant keeps.
type Expiry struct {
	Tenant uuid.UUID        `json:"tenant_id"`
	Rows   map[string]int64 `json:"rows"` // rows by dataset
}

// ApplyRetention deletes the rows that are older than their tenants keep, as an erasure does: with tombstones that hold
// the id only, and in files that are written again. A merge keeps such rows out, so no source brings them back. The
// failure of a tenant does not stop the others. Only tenants with such rows are in the result.
func (w *Warehouse) ApplyRetention(ctx context.Context) (expired []Expiry, err error) {
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range tenants {
		e, err := w.expire(ctx, t.ID, t.Keep)
		if err != nil {
			errs = append(errs, fmt.Errorf("apply the retention of tenant %s: %w", t.ID, err))
		}
		if len(e.Rows) > 0 {
			expired = append(expired, e)
		}
	}
	return expired, errors.Join(append(errs, ctx.Err())...)
}

// expire deletes the rows of a tenant that are older than keep. If there are none, it leaves the store as it is.
func (w *Warehouse) expire(ctx context.Context, tenant uuid.UUID, keep schema.Retention) (e Expiry, err error) {
	e = Expiry{Tenant: tenant}
	if len(keep) == 0 {
		return e, nil
	}
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	now := time.Now()
	if found, err := w.hasExpired(ctx, tenant, keep, now); err != nil || !found {
		return e, err
	}
	if err := w.folder.createMark(w.erasingPath(tenant)); err != nil {
		return e, err
	}
	err = w.replaceRows(ctx, tenant, func(store *tenantStore, conn *sql.Conn) (bool, error) {
		leave := func(dataset schema.Dataset) string {
			return statements.Fill("erasure/create_leaving", "rows", store.main()+"."+statements.Ident(dataset.Name),
				"expired", keep.Expired(dataset, now), "covered", "SELECT NULL WHERE false")
		}
		e.Rows = map[string]int64{}
		return true, w.deleteRows(ctx, store, conn, e.Rows, leave, nil)
	})
	if err != nil {
		return e, err
	}
	return e, w.folder.removeDurable(w.erasingPath(tenant))
}

// hasExpired reports whether the tenant has rows that are older than keep.
func (w *Warehouse) hasExpired(
	ctx context.Context, tenant uuid.UUID, keep schema.Retention, now time.Time,
) (found bool, err error) {
	if exists, err := w.storeExists(tenant); err != nil || !exists {
		return false, err
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return false, err
	}
	defer release()
	for _, dataset := range schema.Datasets {
		query := "SELECT EXISTS (FROM " + statements.Ident(dataset.Name) + " WHERE " + keep.Expired(dataset, now) + ")"
		if err := store.db.QueryRowContext(ctx, query).Scan(&found); err != nil || found {
			return found, err
		}
	}
	return false, nil
}
