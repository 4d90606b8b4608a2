package warehouse

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Rows in a row group of the published Parquet files. A reader holds some columns of one row group per core in memory,
// uncompressed. COPY holds the row group that it builds in memory and cannot spill it.
const (
	parquetRowGroup      = 30_720
	parquetCallsRowGroup = 8_192 // calls have transcripts, which are long
	parquetSmallRowGroup = 2_048 // if COPY runs out of memory with a larger row group
)

// A partition is the unit of publishing: the rows of a dataset in one month, or in one day of a month that is published
// by day. It has one file of the dataset, and one of each export that is derived from the dataset. Commits and the list
// of unpublished partitions know months only.
type partition struct {
	dataset schema.Dataset
	month   string    // YYYY-MM of created_at in UTC; "" for a dataset with one file
	day     string    // YYYY-MM-DD, if the month is published by day and the partition is one of its days
	seq     int64     // last commit that changed the partition
	asOf    time.Time // all commits before this time are in the partition's files
}

// name returns the key of the partition in the list of unpublished partitions, such as calls/2026-04 or customers/.
func (p partition) name() string { return p.dataset.Name + "/" + p.month }

// publishedFormat is the format of the columns of published files. It is increased if the types or values of a column
// change, so that files of an older format are written again.
const publishedFormat = 3

// pendingPartitions returns the partitions that commits have changed since they were published, and those with files of
// an older format than the given one.
func pendingPartitions(ctx context.Context, db querier, format int) ([]partition, error) {
	rows, err := db.QueryContext(ctx, statements.Get("lake/select_unpublished"), sql.Named("format", format))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var pending []partition
	for rows.Next() {
		var p partition
		var name string
		if err := rows.Scan(&name, &p.month, &p.seq, &p.asOf); err != nil {
			return nil, err
		}
		if p.dataset, err = schema.DatasetNamed(name); err != nil {
			return nil, err
		}
		pending = append(pending, p)
	}
	return pending, rows.Err()
}

// path returns the path of the partition's file of the export in the lake:
// lake/tenant_id=T/calls/month=YYYY-MM/calls.parquet, calls-YYYY-MM-DD.parquet in the same folder for a day, or
// lake/tenant_id=T/customers/customers.parquet.
func (p partition) path(w *Warehouse, tenant uuid.UUID, export schema.Export) string {
	dir := filepath.Join(w.lakePath(tenant), export.Name)
	if p.month != "" {
		dir = filepath.Join(dir, "month="+p.month)
	}
	return filepath.Join(dir, p.fileName(export))
}

// fileName returns the name of the partition's file of the export.
func (p partition) fileName(export schema.Export) string {
	if p.day != "" {
		return export.Name + "-" + p.day + ".parquet"
	}
	return export.Name + ".parquet"
}

// lakePath returns the folder of the tenant in the lake.
func (w *Warehouse) lakePath(tenant uuid.UUID) string {
	return filepath.Join(w.dir, lakeDir, "tenant_id="+tenant.String())
}

// filter returns a filter that selects the rows of the partition.
func (p partition) filter() (schema.Filter, error) {
	if p.month == "" {
		return schema.Filter{}, nil
	}
	if p.day != "" {
		from, err := time.Parse(time.DateOnly, p.day)
		return schema.Filter{From: from, Before: from.AddDate(0, 0, 1)}, err
	}
	from, err := time.Parse("2006-01", p.month)
	return schema.Filter{From: from, Before: from.AddDate(0, 1, 0)}, err
}

// inspect reads a written file back and completes f: the size, the checksum, the name, and the bounds of created_at. It
// returns an error if the file does not have f.Rows rows.
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
	if period := cmp.Or(f.Day, f.Month); period != "" {
		f.Name += period + "-"
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

// bounds reads the bounds of created_at from the statistics in the file's footer. If the file has no such column, f
// keeps the bounds of the file that it was derived from.
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
