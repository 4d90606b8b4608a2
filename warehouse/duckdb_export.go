package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Database describes a DuckDB file with all exports.
type Database struct {
	AsOf time.Time        // UTC; the file contains every commit before
	Seq  int64            // sequence number of the last commit in the file
	Rows map[string]int64 // number of rows by export
}

// WriteDatabase writes the exports of one snapshot of a tenant to a new DuckDB file at path, as tables with the order
// of [schema.Export.Select]. The file is self-contained and has DuckDB's default storage version, which older versions
// can read. If WriteDatabase fails, it removes the file.
func (w *Warehouse) WriteDatabase(ctx context.Context, tenant uuid.UUID, path string) (made Database, err error) {
	catalog := "export_" + strings.ReplaceAll(uuid.NewString(), "-", "") // unique, because exports may run concurrently
	always := context.WithoutCancel(ctx)
	// The file is attached before the snapshot begins, because a transaction does not see databases attached after its
	// start.
	attach := fmt.Sprintf("ATTACH %s AS %s (ROW_GROUP_SIZE %d)", statements.Text(path), catalog, RowGroup)
	if _, err := w.loader.ExecContext(always, attach); err != nil {
		return made, fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		_, detached := detachWritten(always, w.loader, catalog, path)
		if err = errors.Join(err, detached); err == nil {
			return
		}
		err = fmt.Errorf("write the exports of tenant %s: %w", tenant, err)
		err = errors.Join(err, context.Cause(ctx), discardDatabase(path))
	}()
	snapshot, err := w.Snapshot(ctx, tenant)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	made = Database{AsOf: snapshot.AsOf, Rows: map[string]int64{}}
	if err := snapshot.Conn.QueryRowContext(ctx, "SELECT seq FROM clock").Scan(&made.Seq); err != nil {
		return made, err
	}
	for _, export := range schema.Exports { // datasets come before the exports derived from them
		if made.Rows[export.Name], err = snapshot.fillTable(ctx, catalog, export); err != nil {
			return made, fmt.Errorf("%s: %w", export.Name, err)
		}
	}
	return made, snapshot.commit()
}

// discardDatabase removes a database file, which may be outside of the data folder, and its log.
func discardDatabase(path string) error {
	var errs []error
	for _, file := range []string{path, path + ".wal"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// commit commits the transaction. It is needed only if the transaction wrote to another file.
func (s *Snapshot) commit() error {
	tx := s.tx
	s.tx = nil
	return tx.Commit()
}

// fillTable creates the table of an export with its comments and inserts the rows. It returns their number. It
// inserts one month at a time, so that sorting needs the memory of one month only.
func (s *Snapshot) fillTable(ctx context.Context, catalog string, export schema.Export) (rows int64, err error) {
	table := catalog + ".main." + statements.Ident(export.Name)
	columns := make([]string, len(export.Columns))
	description := export.Description + " As of " + s.AsOf.Format(time.RFC3339) + "."
	comments := []string{fmt.Sprintf("COMMENT ON TABLE %s IS %s", table, statements.Text(description))}
	for i, c := range export.Columns {
		column := statements.Ident(c.Name)
		columns[i] = column + " " + c.Type
		comments = append(comments,
			fmt.Sprintf("COMMENT ON COLUMN %s.%s IS %s", table, column, statements.Text(c.Comment())))
	}
	create := fmt.Sprintf("CREATE TABLE %s (%s)", table, strings.Join(columns, ", "))
	// The comments come before the rows, because a comment on a table with uncommitted rows rewrites them.
	for _, statement := range append([]string{create}, comments...) {
		if _, err := s.Conn.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	months, err := s.months(ctx, export.Source)
	if err != nil {
		return 0, err
	}
	for _, month := range months {
		filter, err := partition{month: month}.filter()
		if err != nil {
			return rows, err
		}
		query := export.Select(filter)
		if export.Derived() { // from the rows of its source that were written before
			query = export.SelectFrom(fmt.Sprintf("(FROM %s.main.%s WHERE %s ORDER BY created_at, id)",
				catalog, statements.Ident(export.Source.Name), filter.TimeCondition()))
		}
		result, err := s.Conn.ExecContext(ctx, "INSERT INTO "+table+" "+query)
		if err != nil {
			return rows, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return rows, err
		}
		rows += n
	}
	return rows, nil
}

// months returns the months, as YYYY-MM in UTC, in which a dataset has rows. For a dataset that is not monthly, it
// returns one empty string.
func (s *Snapshot) months(ctx context.Context, dataset schema.Dataset) (months []string, err error) {
	if !dataset.Monthly {
		return []string{""}, nil
	}
	rows, err := s.Conn.QueryContext(ctx, statements.For("lake/select_months", dataset.Name))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var month string
		if err := rows.Scan(&month); err != nil {
			return nil, err
		}
		months = append(months, month)
	}
	return months, rows.Err()
}
