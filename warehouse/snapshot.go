package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
)

// Snapshot is one state of a tenant's rows: all that is read through it fits together, whatever is merged meanwhile. Close it: as long
// as it is open, the tenant's log cannot be packed into its file.
type Snapshot struct {
	// Conn stands in the tenant's database, in a transaction that only reads.
	Conn *sql.Conn
	// AsOf is a time before which every commit is in it; UTC.
	AsOf time.Time

	tx      *sql.Tx
	release func()
	dirs    []string   // where published files lie
	held    []*os.File // what is read of them
}

// Snapshot begins to read a tenant's rows at length. Unlike pages, which take turns, whoever does so is not waited for: the caller bounds
// how many there are.
func (w *Warehouse) Snapshot(ctx context.Context, tenant uuid.UUID) (_ *Snapshot, err error) {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{release: release, dirs: w.PublishedDirs(tenant)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot of tenant %s: %w", tenant, err), s.Close())
		}
	}()
	if s.Conn, err = store.db.Conn(ctx); err != nil {
		return nil, err
	}
	if s.tx, err = begin(ctx, s.Conn); err != nil {
		return nil, err
	}
	// The first statement that reads the tenant's file is what the state is of; the transaction, whose time now() is, began before.
	if err = s.Conn.QueryRowContext(ctx, "SELECT now() FROM clock").Scan(&s.AsOf); err != nil {
		return nil, err
	}
	s.AsOf = s.AsOf.UTC()
	return s, nil
}

// Close lets the state go.
func (s *Snapshot) Close() error {
	var errs []error
	if s.tx != nil {
		errs = append(errs, s.tx.Rollback())
	}
	if s.Conn != nil {
		errs = append(errs, s.Conn.Close())
	}
	for _, file := range s.held {
		errs = append(errs, file.Close())
	}
	s.release()
	return errors.Join(errs...)
}

// Diagnose gives an error of reading a snapshot its kind.
func (w *Warehouse) Diagnose(err error) error { return w.diagnose(err) }
