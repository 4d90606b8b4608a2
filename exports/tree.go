package exports

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// The files of a folder beside the Parquet.
const (
	DatabaseFile = "warehouse.duckdb"
	ReadmeFile   = "README.md"
)

// File is one file of a folder that an export was written to.
type File struct {
	Path   string `json:"path"` // below the folder, with slashes
	Export string `json:"export,omitempty"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// Folder says what is in a folder that stands alone: the database with all exports, the same as Parquet, and what all of it means.
type Folder struct {
	AsOf  time.Time        `json:"as_of"`
	Rows  map[string]int64 `json:"rows"`  // of each export
	Files []File           `json:"files"` // the database first, then Parquet by export and month
}

// Complete makes a folder that has nothing but the database of [warehouse.Warehouse.WriteDatabase] one that stands alone. The Parquet is
// laid out as in the lake; a month without rows has no file. told is called with the bytes of each file. All is durable then, but for the
// folder's own name.
func Complete(ctx context.Context, dir string, asOf time.Time, memory string, told func(int64)) (folder Folder, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", dir, errors.Join(context.Cause(ctx), err))
		}
	}()
	conn, closeAll, err := openDatabase(ctx, dir, memory)
	if err != nil {
		return folder, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	folder = Folder{AsOf: asOf, Rows: map[string]int64{}, Files: []File{{Path: DatabaseFile}}}
	if folder.Files[0].Bytes, err = sized(filepath.Join(dir, DatabaseFile)); err != nil {
		return folder, err
	}
	for _, export := range warehouse.Exports {
		files, err := writeExport(ctx, conn, dir, export, asOf, told)
		if err != nil {
			return folder, fmt.Errorf("%s: %w", export.Name, err)
		}
		for _, f := range files {
			folder.Rows[export.Name] += f.Rows
		}
		folder.Files[0].Rows += folder.Rows[export.Name]
		folder.Files = append(folder.Files, files...)
	}
	if err := os.WriteFile(filepath.Join(dir, ReadmeFile), folder.readme(), 0o644); err != nil {
		return folder, err
	}
	return folder, errors.Join(closeAll(), syncTree(dir))
}

// openDatabase opens the folder's database to read it, with what it spills in the folder until it is closed.
func openDatabase(ctx context.Context, dir, memory string) (_ *sql.Conn, closeAll func() error, err error) {
	spill := filepath.Join(dir, ".spill")
	connector, err := duckdb.NewConnector(filepath.Join(dir, DatabaseFile)+"?access_mode=READ_ONLY", func(execer driver.ExecerContext) error {
		for _, set := range []string{"SET TimeZone = 'UTC'", "SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false",
			"SET memory_limit = " + statements.Text(memory), "SET temp_directory = " + statements.Text(spill)} {
			if _, err := execer.ExecContext(context.WithoutCancel(ctx), set, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	closed := false
	return conn, func() error {
		if closed {
			return nil
		}
		closed = true
		return errors.Join(conn.Close(), db.Close(), os.RemoveAll(spill))
	}, nil
}

// writeExport writes the files of an export, and compares what is in them with the table.
func writeExport(ctx context.Context, conn *sql.Conn, dir string, export warehouse.Export, asOf time.Time, told func(int64)) (files []File, err error) {
	var rows, written int64
	table := statements.Ident(export.Name)
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil || rows == 0 {
		return nil, err
	}
	months := []string{""}
	if export.Source.Monthly {
		if months, err = monthsOf(ctx, conn, export); err != nil {
			return nil, err
		}
	}
	for _, month := range months {
		path, statement := export.Name+"/"+export.Name+".parquet", "FROM "+table
		if month != "" {
			path = export.Name + "/month=" + month + "/" + export.Name + ".parquet"
			statement += fmt.Sprintf(" WHERE %[1]s >= '%[2]s-01' AND %[1]s < DATE '%[2]s-01' + INTERVAL 1 MONTH", dayOf(export), month)
		}
		file := File{Path: path, Export: export.Name}
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		result, err := conn.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, KV_METADATA %s, USE_TMP_FILE false)",
			statement, statements.Text(path), rowGroup, statements.Struct(export.Metadata(asOf))))
		if err != nil {
			return nil, err
		}
		if file.Rows, err = result.RowsAffected(); err != nil {
			return nil, err
		}
		if file.Bytes, err = sized(path); err != nil {
			return nil, err
		}
		told(file.Bytes)
		written += file.Rows
		files = append(files, file)
	}
	if written != rows {
		return nil, fmt.Errorf("the files have %d rows and the table %d", written, rows)
	}
	return files, nil
}

// dayOf is the column that says the month of a row, UTC.
func dayOf(export warehouse.Export) string {
	if slices.ContainsFunc(export.Columns, func(c warehouse.Column) bool { return c.Name == "created_at" }) {
		return "created_at"
	}
	return "day"
}

// monthsOf are the months, as YYYY-MM, that the export has rows of.
func monthsOf(ctx context.Context, conn *sql.Conn, export warehouse.Export) (months []string, err error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf("SELECT DISTINCT strftime(%s, '%%Y-%%m') AS month FROM %s ORDER BY month", dayOf(export), statements.Ident(export.Name)))
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

func sized(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// syncTree makes all files and folders below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
