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
)

// Database says what a DuckDB file of all exports holds.
type Database struct {
	AsOf time.Time        // every commit before is in it; UTC
	Seq  int64            // the last commit that is in it
	Rows map[string]int64 // of each export
}

// WriteDatabase writes the exports of one state of a tenant as tables of a new DuckDB file at path. It holds their rows, and so works
// wherever it is put, and is of DuckDB's default storage version, which older versions read too. Rows are sorted as [Export.Select] says.
// Where that fails, as when the context ends, there is no file.
func (w *Warehouse) WriteDatabase(ctx context.Context, tenant uuid.UUID, path string) (made Database, err error) {
	catalog := "export_" + strings.ReplaceAll(uuid.NewString(), "-", "") // others may be written at the same time
	always := context.WithoutCancel(ctx)
	// It is attached before the snapshot begins, which would not see it otherwise.
	if _, err := w.loader.ExecContext(always, fmt.Sprintf("ATTACH %s AS %s (ROW_GROUP_SIZE %d)", statements.Text(path), catalog, RowGroup)); err != nil {
		return made, fmt.Errorf("make %s: %w", path, w.diagnose(err))
	}
	defer func() {
		_, detached := w.loader.ExecContext(always, "DETACH "+catalog) // packs the log into the file
		if err = errors.Join(err, detached); err == nil {
			return
		}
		err = errors.Join(fmt.Errorf("write the exports of tenant %s: %w", tenant, w.diagnose(err)), context.Cause(ctx), discardDatabase(path))
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
	for _, export := range Exports { // a dataset comes before what is made of it
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

// commit ends a transaction that has written to another file.
func (s *Snapshot) commit() error {
	tx := s.tx
	s.tx = nil
	return tx.Commit()
}

// fill makes the export's table, with what is said of it and of its columns, and puts its rows in, month by month: sorting takes no more
// memory than one needs.
func (s *Snapshot) fillTable(ctx context.Context, catalog string, export Export) (rows int64, err error) {
	table := catalog + ".main." + statements.Ident(export.Name)
	columns := make([]string, len(export.Columns))
	comments := []string{fmt.Sprintf("COMMENT ON TABLE %s IS %s", table, statements.Text(export.Description+" As of "+s.AsOf.Format(time.RFC3339)+"."))}
	for i, c := range export.Columns {
		columns[i] = statements.Ident(c.Name) + " " + c.Type
		comments = append(comments, fmt.Sprintf("COMMENT ON COLUMN %s.%s IS %s", table, statements.Ident(c.Name), statements.Text(c.Comment())))
	}
	// The comments come before the rows: a table with rows that are not committed would be written once more for them.
	for _, statement := range append([]string{fmt.Sprintf("CREATE TABLE %s (%s)", table, strings.Join(columns, ", "))}, comments...) {
		if _, err := s.Conn.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	months, err := s.months(ctx, export.Source)
	if err != nil {
		return 0, err
	}
	for _, month := range months {
		filter, err := edition{month: month}.filter()
		if err != nil {
			return rows, err
		}
		query := export.Select(filter)
		if export.derived() { // of the rows that are written already, whose transcripts are read
			query = export.selectFrom(fmt.Sprintf("(FROM %s.main.%s WHERE %s ORDER BY created_at, id)", catalog, statements.Ident(export.Source.Name), filter.timeCondition()))
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

// months is the condition of a filter that has no more than bounds.
func (f Filter) timeCondition() string {
	const layout = "2006-01-02 15:04:05+00"
	return fmt.Sprintf("created_at >= '%s' AND created_at < '%s'", f.From.UTC().Format(layout), f.Before.UTC().Format(layout))
}

// months are those, as YYYY-MM in UTC, that a dataset has rows of; of one that is not monthly "", which is all.
func (s *Snapshot) months(ctx context.Context, dataset Dataset) (months []string, err error) {
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
