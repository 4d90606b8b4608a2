package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	statements "github.com/voicory/warehouse/sql"
)

// Rows of a row group of the published Parquet. Calls have fewer, since each has a transcript: who reads holds some columns of a row group,
// unpacked, for each core. COPY cannot spill the row group that it is building, so they are fewer still where texts are so long that memory
// does not suffice.
const (
	parquetRowGroup      = 30_720
	parquetCallsRowGroup = 8_192
	parquetSmallRowGroup = 2_048
)

func isOutOfMemory(err error) bool {
	var failure *duckdb.Error
	return errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeOutOfMemory
}

// path: lake/tenant_id=T/calls/month=YYYY-MM/calls.parquet, or lake/tenant_id=T/customers/customers.parquet.
func (e edition) path(w *Warehouse, tenant uuid.UUID, export Export) string {
	dir := filepath.Join(w.dir, lakeDir, "tenant_id="+tenant.String(), export.Name)
	if e.month != "" {
		dir = filepath.Join(dir, "month="+e.month)
	}
	return filepath.Join(dir, export.Name+".parquet")
}

// filter is that of the edition's month.
func (e edition) filter() (Filter, error) {
	if e.month == "" {
		return Filter{}, nil
	}
	from, err := time.Parse("2006-01", e.month)
	return Filter{From: from, Before: from.AddDate(0, 1, 0)}, err
}

// publishEdition writes the edition's files: the dataset's, and then those of the exports that are made of it. What is not noted after that is
// written again by the next publishing.
func (w *Warehouse) publishEdition(ctx context.Context, store *tenantStore, e edition, rowGroup int) (files []PublishedFile, err error) {
	defer func() {
		if err != nil {
			files, err = nil, fmt.Errorf("%s %s: %w", e.dataset.Name, e.month, err)
		}
	}()
	filter, err := e.filter()
	if err != nil {
		return nil, err
	}
	for _, export := range Exports { // a dataset comes before what is made of it
		if export.Source.Name != e.dataset.Name {
			continue
		}
		file := PublishedFile{Export: export.Name, Month: e.month, AsOf: e.asOf}
		if export.derived() {
			err = w.writeDerived(ctx, store, e, export, &file, files[0], rowGroup)
		} else {
			err = w.writeFile(ctx, store, e.path(w, store.id, export), export.Select(filter), &file, rowGroup)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

var errNoRows = errors.New("no rows")

// writeDerived writes an export that is made of the file source, which was written just before: of its very rows, and without reading
// their transcripts a second time.
func (w *Warehouse) writeDerived(ctx context.Context, store *tenantStore, e edition, export Export, file *PublishedFile, source PublishedFile, rowGroup int) error {
	path := e.path(w, store.id, export)
	if source.Rows == 0 {
		return errors.Join(w.folder.mkdir(filepath.Dir(path)), w.folder.removeDurable(path))
	}
	file.MinCreatedAt, file.MaxCreatedAt = source.MinCreatedAt, source.MaxCreatedAt
	relation := "read_parquet(" + statements.Text(e.path(w, store.id, mustExport(source.Export))) + ", hive_partitioning = false)"
	return w.writeFile(ctx, store, path, export.selectFrom(relation), file, rowGroup)
}

// writeFile writes the rows of the query to path, and fills in what they are; where there are none, there is no file. There are no bloom
// filters: DuckDB makes them of columns with few values, which every row group has all of.
func (w *Warehouse) writeFile(ctx context.Context, store *tenantStore, path, query string, file *PublishedFile, rowGroup int) error {
	if file.Export == Calls.Name {
		rowGroup = min(rowGroup, parquetCallsRowGroup)
	}
	err := w.folder.writeAtomic(path, func(temp string) error {
		conn, err := store.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }() // it only goes back
		if file.Rows, err = execute(ctx, conn, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, KV_METADATA %s)",
			query, statements.Text(temp), rowGroup, statements.Struct(mustExport(file.Export).Metadata(file.AsOf)))); err != nil {
			return err
		}
		if file.Rows == 0 {
			return errNoRows
		}
		if err := file.inspect(w.folder, temp); err != nil {
			return err
		}
		return w.folder.linkAtomic(temp, filepath.Join(w.filesPath(store.id), file.Name))
	})
	if errors.Is(err, errNoRows) {
		return w.folder.removeDurable(path)
	}
	return err
}

// inspect reads a written file back: its sum, and its footer. One that does not hold the rows it should is not published.
func (f *PublishedFile) inspect(folder *dataFolder, path string) error {
	in, err := folder.open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	if f.Bytes, err = io.Copy(sum, in); err != nil {
		return err
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	f.Name = f.Export + "-"
	if f.Month != "" {
		f.Name += f.Month + "-"
	}
	f.Name += f.SHA256[:16] + ".parquet"
	file, err := parquet.OpenFile(in, f.Bytes, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("written Parquet cannot be read back: %w", err)
	}
	if file.NumRows() != f.Rows {
		return fmt.Errorf("written Parquet holds %d rows instead of %d", file.NumRows(), f.Rows)
	}
	return f.bounds(file)
}

// bounds takes the bounds of created_at from the footer's statistics; a file without that column keeps those of its source.
func (f *PublishedFile) bounds(file *parquet.File) error {
	column, ok := file.Schema().Lookup("created_at")
	if !ok {
		return nil
	}
	f.MinCreatedAt, f.MaxCreatedAt = time.Time{}, time.Time{}
	for _, group := range file.Metadata().RowGroups {
		statistics := group.Columns[column.ColumnIndex].MetaData.Statistics
		if len(statistics.MinValue) != 8 || len(statistics.MaxValue) != 8 {
			return errors.New("written Parquet has no bounds of created_at")
		}
		first := time.UnixMicro(int64(binary.LittleEndian.Uint64(statistics.MinValue))).UTC()
		last := time.UnixMicro(int64(binary.LittleEndian.Uint64(statistics.MaxValue))).UTC()
		if f.MinCreatedAt.IsZero() || first.Before(f.MinCreatedAt) {
			f.MinCreatedAt = first
		}
		if last.After(f.MaxCreatedAt) {
			f.MaxCreatedAt = last
		}
	}
	return nil
}
