package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// removeMoved removes the rows of the batch from other tenants that have them, if the source of the batch names the one
// owner of each row (Batch.MovedBefore). It runs before the batch is merged: after a crash
// between the two, the source sends the rows again. If no row is new to its tenant, no other tenant is opened.
func (s *Staged) removeMoved(ctx context.Context) error {
	if s.batch.MovedBefore.IsZero() {
		return nil
	}
	if _, err := s.slot.conn.ExecContext(ctx, statements.Get("merge/moved_tables")); err != nil {
		return err
	}
	var tenants []uuid.UUID
	for _, t := range s.tenants {
		if t.hasRows() {
			tenants = append(tenants, t.id.UUID)
		}
	}
	candidates, err := s.fillFromStores(ctx, tenants,
		func(own string, group []string) string {
			return statements.Fill("merge/moved_candidates", "own", own, "tenants", strings.Join(group, ", "),
				"before", statements.Text(s.batch.MovedBefore.UTC().Format(time.RFC3339Nano)))
		})
	if err != nil || candidates == 0 {
		return err
	}
	all, err := s.w.Tenants(ctx)
	if err != nil {
		return err
	}
	others := make([]uuid.UUID, len(all))
	for i, tenant := range all {
		others[i] = tenant.ID
	}
	moved, err := s.fillFromStores(ctx, others,
		func(held string, _ []string) string { return statements.Fill("merge/moved_rows", "held", held) })
	if err != nil || moved == 0 {
		return err
	}
	_, refused, err := s.w.Merge(ctx, Batch{Dataset: s.batch.Dataset, Origin: s.batch.Origin, Inferred: true,
		NoLineNumbers: true, Rows: movedRows{s.slot.database + ".main.moved_rows"}})
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("row was refused: %s", refused[0].Reason)
	}
	return err
}

// fillFromStores executes a statement for each group of tenants and returns the number of rows that all of them wrote.
// The statement gets a query of the rows in the stores of the group, and the ids of its tenants as texts.
func (s *Staged) fillFromStores(
	ctx context.Context, tenants []uuid.UUID, statement func(union string, group []string) string,
) (written int64, err error) {
	for group := range slices.Chunk(tenants, maxGroupTenants) {
		rows, err := s.fillFromGroup(ctx, group, statement)
		if err != nil {
			return written, err
		}
		written += rows
	}
	return written, nil
}

// fillFromGroup executes the statement of fillFromStores for one group. The stores stay attached meanwhile. A tenant
// without a file has no rows. A tenant whose store is unavailable is left out, so that it does not stop the others: it
// may keep a row that has moved.
func (s *Staged) fillFromGroup(
	ctx context.Context, tenants []uuid.UUID, statement func(union string, group []string) string,
) (int64, error) {
	parts := []string{"SELECT NULL::UUID AS tenant_id, NULL::UUID AS id, NULL::TIMESTAMPTZ AS _source_at WHERE false"}
	var ids []string
	for _, id := range tenants {
		ids = append(ids, statements.Text(id.String()))
		exists, err := s.w.storeExists(id)
		release := func() {}
		if err == nil && exists {
			_, release, err = s.w.tenant(ctx, id)
		}
		if errors.Is(err, ErrUnavailable) {
			s.w.folder.log.Warn("rows that moved away from a tenant stay in it, because its store is unavailable",
				"tenant", id, "error", err)
			continue
		}
		if err != nil {
			return 0, err
		}
		if !exists {
			continue
		}
		defer release()
		parts = append(parts, statements.Fill("merge/moved_held", "tenant", statements.Text(id.String()),
			"store", statements.Ident(id.String())+".main", "dataset", statements.Ident(s.batch.Dataset.Name)))
	}
	return duckdb.Exec(ctx, s.slot.conn, statement(strings.Join(parts, " UNION ALL "), ids))
}

// movedRows are the deletions in a table of removeMoved, as lines of JSON.
type movedRows struct{ table string }

func (r movedRows) open(context.Context, *stagingSlot, uuid.UUID) (string, func(), error) {
	return "(SELECT rowid + 1 AS line, text, NULL::VARCHAR AS defect, NULL AS tenant FROM " + r.table + ")",
		func() {}, nil
}

func (movedRows) err() error { return nil }
