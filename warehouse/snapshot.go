package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Snapshot is one state of a tenant's rows, that which its first statement finds: all that is read through it fits together, whatever is merged
// meanwhile. Close it: as long as it is open, the tenant's log cannot be packed into its file.
type Snapshot struct {
	// Conn stands in the tenant's database, in a transaction that only reads.
	Conn *sql.Conn
	// AsOf is a time before which every commit is in it; UTC.
	AsOf time.Time

	folder    *dataFolder
	tx        *sql.Tx
	release   func()
	dirs      []string   // where published files lie
	openFiles []*os.File // what is read of them
}

// Snapshot begins to read a tenant's rows at length. Unlike pages, which take turns, whoever does so is not waited for: the caller bounds
// how many there are.
func (w *Warehouse) Snapshot(ctx context.Context, tenant uuid.UUID) (_ *Snapshot, err error) {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{folder: w.folder, release: release, dirs: w.PublishedDirs(tenant)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot of tenant %s: %w", tenant, err), s.Close())
		}
	}()
	if s.Conn, err = store.db.Conn(ctx); err != nil {
		return nil, err
	}
	// DuckDB settles what is read with the first statement that reads the tenant's file, which comes later.
	s.AsOf = time.Now().UTC().Truncate(time.Microsecond)
	if s.tx, err = begin(ctx, s.Conn); err != nil {
		return nil, err
	}
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
	for _, file := range s.openFiles {
		errs = append(errs, file.Close())
	}
	s.release()
	return errors.Join(errs...)
}

// Select is a statement for an export's rows within the filter, in no order, which takes no parameters, and runs on Conn until the snapshot
// is closed. What is published as the state has it is read from the files, and the rest from the tenant's tables: a table that is read as a
// whole would fill all the memory that pages share with blocks that nobody asks for again.
func (s *Snapshot) Select(ctx context.Context, export Export, filter Filter) (statement string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", export.Name, err)
		}
	}()
	changed, err := pendingEditions(ctx, s.Conn)
	if err != nil {
		return "", err
	}
	changed = slices.DeleteFunc(changed, func(e edition) bool { return e.dataset.Name != export.Source.Name })
	files, err := publishedFiles(ctx, s.Conn)
	if err != nil {
		return "", err
	}
	source := export // whose files are read, and of these the columns that are asked for, or all where there is a filter
	switch {
	case filter == Filter{}:
	case export.hasColumnsOf(filter):
		source = mustExport(export.Name)
	default:
		source = mustExport(export.Source.Name)
	}
	var paths []string
	for _, f := range files {
		outside := f.MaxCreatedAt.Before(filter.From) || !filter.Before.IsZero() && !f.MinCreatedAt.Before(filter.Before)
		if f.Export != source.Name || outside || slices.ContainsFunc(changed, func(e edition) bool { return e.month == f.Month }) {
			continue
		}
		content, err := s.openFirst(filepath.Join(s.dirs[0], f.Name), filepath.Join(s.dirs[1], f.Name))
		if errors.Is(err, os.ErrNotExist) { // replaced, and gone since
			changed = append(changed, edition{dataset: export.Source, month: f.Month})
			continue
		}
		if err != nil {
			return "", err
		}
		s.openFiles = append(s.openFiles, content)
		// The path leads to what is open, although the file may have no name any more.
		paths = append(paths, fmt.Sprintf("/dev/fd/%d", content.Fd()))
	}
	if len(paths) == 0 && len(changed) == 0 {
		return export.selectWhere("false"), nil
	}
	var parts []string
	if len(paths) > 0 {
		parts = append(parts, export.selectFromFiles(source, paths, filter))
	}
	if len(changed) > 0 {
		condition, err := filter.partitionCondition(changed)
		if err != nil {
			return "", err
		}
		parts = append(parts, export.selectWhere(condition))
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return "(" + strings.Join(parts, ") UNION ALL (") + ")", nil
}

// openFirst opens the first of the paths that exists.
func (s *Snapshot) openFirst(paths ...string) (content *os.File, err error) {
	for _, path := range paths {
		if content, err = s.folder.open(path); !errors.Is(err, os.ErrNotExist) {
			return content, err
		}
	}
	return nil, err
}

// of is the condition of a table's rows that are within the filter, and of one of the editions.
func (f Filter) partitionCondition(editions []edition) (string, error) {
	months := make([]string, len(editions))
	for i, e := range editions {
		month, err := e.filter()
		if err != nil {
			return "", err
		}
		months[i] = month.literal(e.dataset)
	}
	return f.literal(editions[0].dataset) + " AND (" + strings.Join(months, " OR ") + ")", nil
}

// Diagnose gives an error of reading a snapshot its kind.
func (w *Warehouse) Diagnose(err error) error { return w.diagnose(err) }
