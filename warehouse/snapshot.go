package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Snapshot is one state of a tenant's rows, which later merges do not change. Its first statement determines the
// state. The caller must close it: while it is open, the tenant's WAL cannot be checkpointed.
type Snapshot struct {
	// Conn has the tenant's database as its default database and is in a read-only transaction.
	Conn *sql.Conn
	// AsOf is a UTC time. The snapshot includes every commit before it.
	AsOf time.Time

	w         *Warehouse
	store     *tenantStore
	tx        *sql.Tx
	release   func()
	openFiles []*os.File // published files that statements read
}

// Snapshot opens a snapshot of a tenant's rows. Unlike pages, snapshots need no reader slot, so the caller must limit
// their number.
func (w *Warehouse) Snapshot(ctx context.Context, tenant uuid.UUID) (_ *Snapshot, err error) {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{w: w, store: store, release: release}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot of tenant %s: %w", tenant, err), s.Close())
		}
	}()
	if s.Conn, err = store.db.Conn(ctx); err != nil {
		return nil, err
	}
	// DuckDB determines the state with the first statement that reads the tenant's file, which is executed after this.
	s.AsOf = time.Now().UTC().Truncate(time.Microsecond)
	if s.tx, err = duckdb.Begin(ctx, s.Conn); err != nil {
		return nil, err
	}
	return s, nil
}

// ReadSnapshot waits for a reader slot, and opens a snapshot that holds the slot until it is closed. It is for readers
// that take as long as a page; others use Snapshot.
func (w *Warehouse) ReadSnapshot(ctx context.Context, tenant uuid.UUID) (*Snapshot, error) {
	// The store is used once, by Snapshot: a second use would wait for ever for a caller that drains the store.
	release, err := w.reading.Acquire(ctx, tenant, tenant)
	if err != nil {
		return nil, err
	}
	s, err := w.Snapshot(ctx, tenant)
	if err != nil {
		release()
		return nil, err
	}
	releaseStore := s.release
	s.release = func() {
		releaseStore()
		release()
	}
	return s, nil
}

// Close rolls back the transaction and releases the tenant and the open files.
func (s *Snapshot) Close() error {
	var errs []error
	if s.tx != nil {
		errs = append(errs, s.tx.Rollback())
	}
	if s.Conn != nil {
		errs = append(errs, s.Conn.Close())
	}
	for _, file := range s.openFiles {
		errs = append(errs, file.Close())
	}
	s.release()
	return errors.Join(errs...)
}

// Select returns a statement that selects the rows of an export that match the filter, in no particular order. The
// statement has no parameters and is valid on Conn until the snapshot is closed. It reads published files, and reads
// the tenant's tables only for partitions that changed after they were published. Reading whole tables would fill
// DuckDB's memory with blocks that are not needed again, and displace the blocks of pages.
func (s *Snapshot) Select(
	ctx context.Context, export schema.Export, filter schema.Filter,
) (statement string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", export.Name, err)
		}
	}()
	changed, err := pendingPartitions(ctx, s.Conn, 0)
	if err != nil {
		return "", err
	}
	changed = slices.DeleteFunc(changed, func(p partition) bool { return p.dataset.Name != export.Source.Name })
	files, err := publishedFiles(ctx, s.Conn)
	if err != nil {
		return "", err
	}
	// source is the export whose files are read. Without a filter, export may have been reduced to some columns, and only
	// these are read. A filter may need the other columns.
	source := export
	if filter != (schema.Filter{}) {
		if source = schema.MustExport(export.Name); !source.HasColumnsOf(filter) {
			source = schema.MustExport(export.Source.Name)
		}
	}
	var paths []string
	for _, f := range files {
		outside := f.MaxCreatedAt.Before(filter.From) || !filter.Before.IsZero() && !f.MinCreatedAt.Before(filter.Before)
		stale := slices.ContainsFunc(changed, func(p partition) bool { return p.month == f.Month && p.day == "" })
		if f.Export != source.Name || outside || stale {
			continue
		}
		content, err := s.w.openPresent(ctx, s.store.id, f)
		// If the file is evicted or damaged, or was replaced and removed after the snapshot began, its rows are read from the
		// store.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnavailable) {
			changed = append(changed, f.partition())
			continue
		}
		if err != nil {
			return "", err
		}
		s.openFiles = append(s.openFiles, content)
		// This path names the open file even if the file is moved or removed.
		paths = append(paths, fmt.Sprintf("/dev/fd/%d", content.Fd()))
	}
	if len(paths) == 0 && len(changed) == 0 {
		return export.SelectWhere("false"), nil
	}
	var parts []string
	if len(paths) > 0 {
		parts = append(parts, export.SelectFromFiles(source, paths, filter))
	}
	if len(changed) > 0 {
		condition, err := partitionCondition(filter, changed)
		if err != nil {
			return "", err
		}
		parts = append(parts, export.SelectWhere(condition))
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return "(" + strings.Join(parts, ") UNION ALL (") + ")", nil
}

// partitionCondition returns the condition for rows that match the filter and belong to one of the partitions.
func partitionCondition(f schema.Filter, partitions []partition) (string, error) {
	months := make([]string, len(partitions))
	for i, p := range partitions {
		month, err := p.filter()
		if err != nil {
			return "", err
		}
		months[i] = month.Literal(p.dataset)
	}
	return f.Literal(partitions[0].dataset) + " AND (" + strings.Join(months, " OR ") + ")", nil
}
