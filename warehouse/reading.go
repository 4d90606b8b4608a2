package warehouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// Reading is what an export has within a filter, in one state: what is published as the state has it is read from the files, and the rest
// from the tenant's tables. A table that is read as a whole would fill all the memory that pages share with blocks that nobody asks for again.
type Reading struct {
	export Export
	filter Filter
	own    bool         // the files are the export's own; else those of the dataset that it is made of
	files  []*heldFile  // in order of their months
	rest   string       // the condition of the table's rows that no file has; "": every file has its rows
	next   readingPlace // of Next
}

// heldFile is a file whose content stays, whatever is published meanwhile.
type heldFile struct {
	*os.File
	rows int64
}

// readingPlace is how far a reading has come: in which file, and at which row of it; after the files, in the table.
type readingPlace struct {
	file     int
	row      int64
	from, to int64 // rows of the table that are left, by their place in its file
}

// Read says how an export's rows within the filter are read. The snapshot must be open as long as they are.
func (s *Snapshot) Read(ctx context.Context, export Export, filter Filter) (_ *Reading, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", export.Name, err)
		}
	}()
	r := &Reading{export: export, filter: filter, own: export.Name == export.Source.Name || filter == (Filter{})}
	pending, err := pendingEditions(ctx, s.Conn)
	if err != nil {
		return nil, err
	}
	pending = slices.DeleteFunc(pending, func(e edition) bool { return e.dataset.Name != export.Source.Name })
	files, err := publishedFiles(ctx, s.Conn)
	if err != nil {
		return nil, err
	}
	source := export.Name
	if !r.own {
		source = export.Source.Name
	}
	for _, f := range files {
		outside := f.MaxCreatedAt.Before(filter.From) || !filter.Before.IsZero() && !f.MinCreatedAt.Before(filter.Before)
		changed := slices.ContainsFunc(pending, func(e edition) bool { return e.month == f.Month })
		if f.Export != source || outside || changed {
			continue
		}
		content, err := openEither(filepath.Join(s.dirs[0], f.Name), filepath.Join(s.dirs[1], f.Name))
		if errors.Is(err, os.ErrNotExist) { // replaced, and gone since
			pending = append(pending, edition{dataset: export.Source, month: f.Month})
			continue
		}
		if err != nil {
			return nil, err
		}
		s.held = append(s.held, content)
		r.files = append(r.files, &heldFile{content, f.Rows})
	}
	r.next.to = -1
	if len(pending) == 0 {
		return r, nil
	}
	if r.rest, err = r.filter.of(pending); err == nil {
		err = s.Conn.QueryRowContext(ctx, "SELECT coalesce(min(rowid), 0), coalesce(max(rowid), -1) FROM "+statements.Ident(export.Source.Name)+" WHERE "+r.rest).
			Scan(&r.next.from, &r.next.to)
	}
	return r, err
}

// openEither opens the first of the paths that is there.
func openEither(paths ...string) (content *os.File, err error) {
	for _, path := range paths {
		if content, err = os.Open(path); !errors.Is(err, os.ErrNotExist) {
			return content, err
		}
	}
	return nil, err
}

// Statement gives all the rows, in no order. It takes no parameters, and runs on the snapshot's connection.
func (r *Reading) Statement() string {
	var parts []string
	if len(r.files) > 0 {
		paths := make([]string, len(r.files))
		for i, f := range r.files {
			paths[i] = f.path()
		}
		parts = append(parts, r.ofFiles(paths, ""))
	}
	if r.rest != "" {
		parts = append(parts, r.export.of(r.rest))
	}
	if len(parts) == 0 {
		return r.export.of("false")
	}
	return union(parts)
}

// Divisible tells whether the rows can be had in parts: sums over all of the rows cannot.
func (r *Reading) Divisible() bool { return r.export.Name != "cost_daily" }

// Next gives a statement for about so many rows of what is read, those that follow on those of the call before; false: there are none left.
// The parts are, together, what Statement gives.
func (r *Reading) Next(rows int64) (statement string, ok bool) {
	var parts []string
	for rows > 0 && r.next.file < len(r.files) {
		f := r.files[r.next.file]
		end := min(r.next.row+rows, f.rows)
		if whole := end - end%parquetRowGroup; end < f.rows && whole > r.next.row {
			end = whole // a row group is unpacked as a whole, whatever is read of it
		}
		count := end - r.next.row
		parts = append(parts, r.ofFiles([]string{f.path()}, fmt.Sprintf(" AND file_row_number BETWEEN %d AND %d", r.next.row, r.next.row+count-1)))
		if rows -= count; end < f.rows {
			r.next.row = end
			return union(parts), true
		}
		r.next.file, r.next.row = r.next.file+1, 0
	}
	if rows > 0 && r.next.from <= r.next.to {
		last := min(r.next.from+rows-1, r.next.to)
		parts = append(parts, r.export.of(fmt.Sprintf("%s AND rowid BETWEEN %d AND %d", r.rest, r.next.from, last)))
		r.next.from = last + 1
	}
	return union(parts), len(parts) > 0
}

func union(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	for i, part := range parts {
		parts[i] = "(" + part + ")"
	}
	return strings.Join(parts, " UNION ALL ")
}

// ofFiles is the statement for the rows of files that are within the filter and the further condition.
func (r *Reading) ofFiles(paths []string, condition string) string {
	source := r.export
	if !r.own {
		source = exportOf(r.export.Source.Name)
	}
	columns := make([]string, len(source.Columns))
	for i, c := range source.Columns {
		columns[i] = statements.Ident(c.Name)
	}
	if r.filter == (Filter{}) {
		condition = "true" + condition
	} else {
		condition = r.filter.literal(r.export.Source) + condition
	}
	rows := fmt.Sprintf("SELECT %s FROM read_parquet(%s, hive_partitioning = false, file_row_number = true) WHERE %s",
		strings.Join(columns, ", "), statements.Texts(paths...), condition)
	if r.own {
		return rows
	}
	return r.export.selectFrom("(" + rows + ")")
}

// of is the condition of a table's rows that are within the filter, and of one of the editions.
func (f Filter) of(editions []edition) (string, error) {
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

// path is where the file can be read although it may have no name any more.
func (f *heldFile) path() string { return fmt.Sprintf("/dev/fd/%d", f.Fd()) }
