package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	statements "github.com/voicory/warehouse/sql"
)

// ParquetFile is an open Parquet file on this machine. Its rows are read once, in their order, in batches of [RowGroup]: of more or fewer,
// the row groups of the tenant's file are not full, and the next checkpoint packs them all anew. Close it.
type ParquetFile struct {
	Bytes int64 // what it says that it holds before its compression

	ctx         context.Context
	conn        *sql.Conn // nothing else is done with it
	relation    string
	columns     []column
	schema      *arrow.Schema
	stretches   []stretch         // not read to their end yet
	rows, given int64             // how many there are, and are in a batch
	results     *Results          // of the stretch that is being read; nil: none
	read        int64             // rows
	record      arrow.RecordBatch // read last, perhaps with rows of the next batch too; nil: none
}

// stretch is rows that one statement reads: a row group that is as large as a batch, of which there is only room for one, since it is
// unpacked whole; or smaller ones, to the end of a batch, which DuckDB unpacks in any order.
type stretch struct{ first, rows int64 }

// OpenParquet opens a Parquet file, of which nothing but the footer is read before its first batch is staged. ErrUnreadable: it is none. ErrTooLarge: it says that it has more than most rows.
func (w *Warehouse) OpenParquet(ctx context.Context, path string, most int64) (_ *ParquetFile, err error) {
	f := &ParquetFile{ctx: ctx, relation: "read_parquet(" + statements.Text(path) + ")"}
	if f.conn, err = w.loader.Conn(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(w.diagnose(unreadable(err)), f.Close())
		}
	}()
	if err = f.footer(path, most); err != nil {
		return nil, err
	}
	if f.columns, err = columnsOf(ctx, f.conn, f.relation); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(f.columns, func(c column) bool { return c.name == "file_row_number" }) {
		return nil, fmt.Errorf("%w: it has a column called file_row_number, which is DuckDB's name for the number of a row", ErrUnreadable)
	}
	// Else a UUID would become a text on the way, and JSON would be looked through again.
	_, err = f.conn.ExecContext(ctx, "SET arrow_lossless_conversion = true")
	return f, err
}

// footer reads where the row groups are.
func (f *ParquetFile) footer(path string, most int64) error {
	groups, err := f.conn.QueryContext(f.ctx, statements.Get("stage/parquet_groups"), sql.Named("path", path))
	if err != nil {
		return err
	}
	defer groups.Close()
	small := false // whether the last stretch takes more row groups
	for groups.Next() {
		var rows, size int64
		if err := groups.Scan(&rows, &size); err != nil {
			return err
		}
		if rows < 0 || size < 0 {
			return fmt.Errorf("%w: its footer contradicts itself", ErrUnreadable)
		}
		if rows > most-f.rows { // before a list of so many fills the memory
			return fmt.Errorf("%w: it says that it has more than %d rows", ErrTooLarge, most)
		}
		f.Bytes += size
		if rows >= RowGroup {
			f.stretches, small = append(f.stretches, stretch{f.rows, rows}), false
			f.rows += rows
			continue
		}
		for rows > 0 {
			if !small {
				f.stretches = append(f.stretches, stretch{first: f.rows})
			}
			some := min(rows, RowGroup-f.rows%RowGroup)
			f.stretches[len(f.stretches)-1].rows += some
			f.rows, rows = f.rows+some, rows-some
			small = f.rows%RowGroup > 0
		}
	}
	return groups.Err()
}

// begin begins to read the next stretch, or goes on with it.
func (f *ParquetFile) begin() error {
	if len(f.stretches) == 0 {
		return fmt.Errorf("%w: it has fewer rows than it says", ErrUnreadable)
	}
	first, last := f.read, f.stretches[0].first+f.stretches[0].rows-1
	return f.conn.Raw(func(driverConn any) (err error) {
		f.results, err = ResultsOf(f.ctx, driverConn.(driver.Conn), statements.Fill("stage/parquet", "row", looseRow(f.columns), "relation", f.relation,
			"first", strconv.FormatInt(first, 10), "last", strconv.FormatInt(last, 10)))
		if err == nil {
			f.schema = f.results.Schema
		}
		return err
	})
}

// More tells whether there are rows that no batch has.
func (f *ParquetFile) More() bool { return f.given < f.rows }

// Next is the next batch. Stage it before the one that comes after it.
func (f *ParquetFile) Next() Rows {
	b := &parquetBatch{file: f, reached: f.given}
	f.given += min(f.rows-f.given, RowGroup)
	b.last = f.given
	return b
}

// readOn reads the next record.
func (f *ParquetFile) readOn() error {
	for {
		if f.results == nil {
			if err := f.begin(); err != nil {
				return err
			}
		}
		record, err := f.results.Next()
		if err != nil {
			return err
		}
		if record != nil {
			f.forget()
			f.record = record
			f.read += record.NumRows()
			return nil
		}
		f.Pause()
		f.stretches = f.stretches[1:]
	}
}

// Pause lets go of what is unpacked of the file until the next batch, which unpacks the rest of a row group anew: between batches that take
// turns in DuckDB's memory, nothing of it is held.
func (f *ParquetFile) Pause() {
	if f.results != nil {
		f.results.Close()
		f.results = nil
	}
}

// forget lets go of what was read last.
func (f *ParquetFile) forget() {
	if f.record != nil {
		f.record.Release()
		f.record = nil
	}
}

// Close lets go of the file, and of what was read of it.
func (f *ParquetFile) Close() error {
	f.forget()
	f.Pause()
	return discard(f.conn)
}

// parquetBatch reads the rows of one batch as Arrow records; its first and its last record may have rows of others.
type parquetBatch struct {
	file    *ParquetFile
	last    int64 // of its rows, counted from 1
	reached int64 // the last row of the record
	err     error
}

func (b *parquetBatch) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose string, release func(), err error) {
	if b.file.schema == nil {
		if err := b.file.begin(); err != nil {
			return "", nil, err
		}
	}
	view, release, err := register(ctx, conn, b)
	if err != nil {
		return "", nil, err
	}
	rows := statements.Fill("stage/parquet_batch", "rows", view, "most", strconv.Itoa(RowGroup), "batch", strconv.FormatInt((b.last-1)/RowGroup, 10))
	return dataset.looseTable(b.file.columns, rows), release, nil
}

// finish returns why reading ended: what DuckDB makes of an error of its reader has lost its kind.
func (b *parquetBatch) finish(context.Context, *sql.Conn) error { return b.err }

func (b *parquetBatch) Schema() *arrow.Schema { return b.file.schema }
func (b *parquetBatch) Err() error            { return nil }

func (b *parquetBatch) Next() bool {
	if b.reached >= b.last || b.err != nil {
		return false
	}
	if b.file.read == b.reached {
		b.err = b.file.readOn()
	}
	b.reached = b.file.read
	return b.err == nil
}

func (b *parquetBatch) RecordBatch() arrow.RecordBatch { return b.file.record }
func (b *parquetBatch) Record() arrow.RecordBatch      { return b.file.record }

// Retain and Release do nothing: the file holds the record.
func (b *parquetBatch) Retain()  {}
func (b *parquetBatch) Release() {}
