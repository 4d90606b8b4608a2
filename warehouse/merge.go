package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Batch is a bounded portion of rows of one dataset on their way in.
type Batch struct {
	Dataset Dataset
	Tenant  uuid.UUID // whose rows these are; zero: each row names its tenant in user_id
	Origin  string    // where the rows come from (a file's name), for the quarantine
	Rows    Rows
}

// Counts says what became of rows. Read is the sum of the others.
type Counts struct {
	Read       int64 `json:"read"`
	New        int64 `json:"new"`
	Changed    int64 `json:"changed"`
	Unchanged  int64 `json:"unchanged"`
	Superseded int64 `json:"superseded"` // older than the version that is kept
	Refused    int64 `json:"refused"`    // put into quarantine
}

// Add sums.
func (c *Counts) Add(other Counts) {
	c.Read += other.Read
	c.New += other.New
	c.Changed += other.Changed
	c.Unchanged += other.Unchanged
	c.Superseded += other.Superseded
	c.Refused += other.Refused
}

// Merge takes a batch in: each row is typed, refused rows go to the quarantine, and every tenant's rows are merged
// into its file in one transaction that also marks what the lake must be told of. When it returns, what it counts is
// durable. Merging the same batch again changes nothing, so after an error or a crash the batch is simply given again.
func (w *Warehouse) Merge(ctx context.Context, batch Batch) (counts Counts, refusals []Refusal, err error) {
	conn, err := w.loader.Conn(ctx)
	if err != nil {
		return counts, nil, fmt.Errorf("merge: %w", err)
	}
	defer func() {
		// The connection goes with its temporary tables, and with its transaction where that was left open.
		closed := conn.Raw(func(any) error { return driver.ErrBadConn })
		if !errors.Is(closed, driver.ErrBadConn) {
			err = errors.Join(err, closed)
		}
		err = w.diagnose(err)
	}()

	if counts.Read, counts.Refused, err = batch.stage(ctx, conn); err != nil {
		return counts, nil, fmt.Errorf("read %s: %w", batch.Origin, err)
	}
	if counts.Refused > 0 {
		if refusals, err = w.quarantine(ctx, conn, batch); err != nil {
			return counts, nil, err
		}
	}
	tenants, err := stagedTenants(ctx, conn)
	if err != nil {
		return counts, nil, err
	}
	for _, tenant := range tenants {
		merged, err := w.mergeTenant(ctx, conn, batch.Dataset, tenant)
		counts.Add(merged)
		if err != nil {
			return counts, refusals, fmt.Errorf("merge %s of tenant %s: %w", batch.Dataset.Name, tenant, err)
		}
	}
	return counts, refusals, nil
}

// stage types the batch's rows into the temporary table staged, and says which are refused and why.
func (b Batch) stage(ctx context.Context, conn *sql.Conn) (read, refused int64, err error) {
	release, err := b.Rows.open(ctx, conn, b.Dataset)
	if err != nil {
		return 0, 0, unreadable(err)
	}
	defer release()
	tenant := "NULL::UUID"
	if b.Tenant != uuid.Nil {
		tenant = statements.Text(b.Tenant.String()) + "::UUID" // a parameter would have the statement planned twice
	}
	typing, reasons := b.Dataset.staging(tenant)
	if _, err := conn.ExecContext(ctx, typing); err != nil {
		return 0, 0, unreadable(err)
	}
	if err := b.Rows.finish(ctx, conn); err != nil {
		return 0, 0, err
	}
	count := func() error {
		return conn.QueryRowContext(ctx, statements.Get("merge/counts")).Scan(&read, &refused)
	}
	if err := count(); err != nil || refused == 0 {
		return read, refused, err
	}
	_, err = conn.ExecContext(ctx, reasons)
	return read, refused, err
}

// unreadable marks what DuckDB says of a file that is not what it should be.
func unreadable(err error) error {
	var failure *duckdb.Error
	if errors.As(err, &failure) && (failure.Type == duckdb.ErrorTypeInvalidInput || failure.Type == duckdb.ErrorTypeConversion ||
		failure.Type == duckdb.ErrorTypeIO || failure.Type == duckdb.ErrorTypeInvalid) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

func stagedTenants(ctx context.Context, conn *sql.Conn) ([]uuid.UUID, error) {
	rows, err := conn.QueryContext(ctx, statements.Get("merge/tenants"))
	if err != nil {
		return nil, fmt.Errorf("find tenants: %w", err)
	}
	defer rows.Close()
	var tenants []uuid.UUID
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("find tenants: %w", err)
		}
		tenants = append(tenants, id)
	}
	return tenants, rows.Err()
}

// mergeTenant merges the staged rows of one tenant. Readers see all of it or nothing.
func (w *Warehouse) mergeTenant(ctx context.Context, conn *sql.Conn, dataset Dataset, id uuid.UUID) (counts Counts, err error) {
	if _, err := os.Stat(w.tenantPath(id)); errors.Is(err, os.ErrNotExist) {
		if err := w.registerTenant(ctx, id); err != nil { // before there is a file, so that no file is unknown
			return counts, err
		}
	}
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return counts, err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()

	run := func(name string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, statements.For(name, dataset.Name), args...)
		}
	}
	_, err = conn.ExecContext(ctx, "USE "+statements.Ident(id.String()))
	defer func() { // the connection must not hold the tenant when that is detached
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "USE memory")
		err = errors.Join(err, back)
	}()
	run("merge/classify", sql.Named("tenant", id.String()))
	if err != nil {
		return counts, err
	}
	counts, moved, err := outcomes(ctx, conn)
	if err != nil || counts.New+counts.Changed == 0 {
		return counts, err
	}
	if err := w.markUnpublished(id); err != nil {
		return Counts{}, err
	}

	run("merge/begin")
	run("merge/tick")
	if counts.Changed > moved {
		run("merge/update")
	}
	if moved > 0 {
		run("merge/remove_moved")
	}
	if counts.New+moved > 0 {
		run("merge/insert")
	}
	if dataset.Monthly {
		run("merge/mark_months", sql.Named("dataset", dataset.Name))
	} else {
		run("merge/mark_whole", sql.Named("dataset", dataset.Name))
	}
	run("merge/commit")
	if err != nil {
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return Counts{}, errors.Join(err, back)
	}
	return counts, nil
}

// outcomes counts what classify found; rows that moved are among the changed.
func outcomes(ctx context.Context, conn *sql.Conn) (counts Counts, moved int64, err error) {
	err = conn.QueryRowContext(ctx, statements.Get("merge/outcomes")).
		Scan(&counts.New, &counts.Changed, &moved, &counts.Unchanged, &counts.Superseded)
	return counts, moved, err
}

// markUnpublished leaves a note, outside the tenant's file, that it may hold what the lake does not show. It is there
// before the commit and goes after the publishing, so that no crash between the two is overlooked.
func (w *Warehouse) markUnpublished(id uuid.UUID) error {
	path := w.unpublishedPath(id)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return writeAtomic(path, func(temp string) error { return os.WriteFile(temp, nil, 0o644) })
}

const unpublishedSuffix = ".unpublished"

func (w *Warehouse) unpublishedPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+unpublishedSuffix)
}
