package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
)

// Published says what Publish wrote.
type Published struct {
	Files int   `json:"files"`
	Rows  int64 `json:"rows"`
}

// Publish brings the lake up to date: every file that a commit has touched since it was last written is written anew,
// whole, and takes its name in one step. A tenant or file that cannot be published keeps no other from it. What a crash
// interrupts is published by the next call.
func (w *Warehouse) Publish(ctx context.Context) (total Published, err error) {
	entries, err := os.ReadDir(filepath.Join(w.dir, warehouseDir))
	if err != nil {
		return total, fmt.Errorf("publish: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		name, noted := strings.CutSuffix(entry.Name(), unpublishedSuffix)
		if !noted {
			continue
		}
		id, err := uuid.Parse(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("publish: %s names no tenant: %w", entry.Name(), err))
			continue
		}
		published, err := w.publishTenant(ctx, id)
		total.Files += published.Files
		total.Rows += published.Rows
		if err != nil {
			errs = append(errs, fmt.Errorf("publish tenant %s: %w", id, w.diagnose(err)))
		}
	}
	return total, errors.Join(errs...)
}

// edition is one file of the lake that has to be written anew, because of commits up to seq.
type edition struct {
	dataset Dataset
	month   string // YYYY-MM in UTC; "" for a dataset of one file
	seq     int64
}

func (w *Warehouse) publishTenant(ctx context.Context, id uuid.UUID) (total Published, err error) {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return total, err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()

	editions, err := pendingEditions(ctx, store.db)
	if err != nil {
		return total, err
	}
	// A month fits few row groups, so that one alone does not keep every core busy.
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	written, failed := make([]int64, len(editions)), make([]error, len(editions))
	for i, e := range editions {
		group.Go(func() error {
			written[i], failed[i] = w.publishEdition(ctx, store, e, parquetRowGroup)
			return nil
		})
	}
	_ = group.Wait() // each has its error in failed
	for i, e := range editions {
		if isOutOfMemory(failed[i]) {
			written[i], failed[i] = w.publishEdition(ctx, store, e, parquetSmallRowGroup)
		}
		if written[i] > 0 {
			total.Files++
			total.Rows += written[i]
		}
	}
	if err := errors.Join(failed...); err != nil {
		return total, err
	}

	store.writing.Lock() // no commit may come between the look and the removal
	defer store.writing.Unlock()
	editions, err = pendingEditions(ctx, store.db)
	if err != nil || len(editions) > 0 {
		return total, err
	}
	return total, removeDurable(w.unpublishedPath(id))
}

func pendingEditions(ctx context.Context, db *sql.DB) ([]edition, error) {
	rows, err := db.QueryContext(ctx, statements.Get("lake/pending"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var editions []edition
	for rows.Next() {
		var e edition
		var name string
		if err := rows.Scan(&name, &e.month, &e.seq); err != nil {
			return nil, err
		}
		if e.dataset, err = DatasetNamed(name); err != nil {
			return nil, err
		}
		editions = append(editions, e)
	}
	return editions, rows.Err()
}

// path: lake/tenant_id=T/calls/month=YYYY-MM/calls.parquet, or lake/tenant_id=T/customers/customers.parquet.
func (e edition) path(w *Warehouse, tenant uuid.UUID) string {
	dir := filepath.Join(w.dir, lakeDir, "tenant_id="+tenant.String(), e.dataset.Name)
	if e.month != "" {
		dir = filepath.Join(dir, "month="+e.month)
	}
	return filepath.Join(dir, e.dataset.Name+".parquet")
}

// query selects the edition's rows, oldest first, so that readers can skip row groups by time. They are sorted as they are
// kept; what is derived from them, larger than they are, is derived on the way out.
func (e edition) query() (string, error) {
	var month Filter
	if e.month != "" {
		from, err := time.Parse("2006-01", e.month)
		if err != nil {
			return "", err
		}
		month = Filter{From: from, Before: from.AddDate(0, 1, 0)}
	}
	export, err := ExportNamed(e.dataset.Name)
	return export.Select(month), err
}

// publishEdition writes one file, and then strikes it off the list; an edition without rows leaves no file.
func (w *Warehouse) publishEdition(ctx context.Context, store *tenantStore, e edition, rowGroup int) (rows int64, err error) {
	rows, err = w.writeEdition(ctx, store, e, rowGroup)
	if err == nil {
		_, err = store.db.ExecContext(ctx, statements.Get("lake/published"),
			sql.Named("dataset", e.dataset.Name), sql.Named("month", e.month), sql.Named("seq", e.seq))
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", e.dataset.Name, e.month, err)
	}
	return rows, nil
}

var errNoRows = errors.New("no rows")

func (w *Warehouse) writeEdition(ctx context.Context, store *tenantStore, e edition, rowGroup int) (rows int64, err error) {
	query, err := e.query()
	if err != nil {
		return 0, err
	}
	path := e.path(w, store.id)
	err = writeAtomic(path, func(temp string) error {
		result, err := store.db.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE %d)", query, statements.Text(temp), rowGroup))
		if err != nil {
			return err
		}
		if rows, err = result.RowsAffected(); err != nil {
			return err
		}
		if rows == 0 {
			return errNoRows
		}
		return checkParquet(temp, rows)
	})
	if errors.Is(err, errNoRows) {
		return 0, removeDurable(path)
	}
	return rows, err
}

// Rows of a row group of the published Parquet. COPY cannot spill the row group that it is building, so they are fewer
// where texts are so long that memory does not suffice.
const (
	parquetRowGroup      = 30_720
	parquetSmallRowGroup = 2_048
)

func isOutOfMemory(err error) bool {
	var failure *duckdb.Error
	return errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeOutOfMemory
}

// checkParquet reads the footer back: a file that does not hold the rows it should is not published.
func checkParquet(path string, rows int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("written Parquet cannot be read back: %w", err)
	}
	if file.NumRows() != rows {
		return fmt.Errorf("written Parquet holds %d rows instead of %d", file.NumRows(), rows)
	}
	return nil
}
