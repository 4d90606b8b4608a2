package exports

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The files of a bundle beside the Parquet.
const (
	DatabaseFile = "warehouse.duckdb"
	ReadmeFile   = "README.md"
)

// A File is one data file of a bundle.
type File struct {
	Path   string `json:"path"`             // relative to the bundle, with slashes
	Export string `json:"export,omitempty"` // empty for the database
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// A Bundle describes a folder with all exports of a tenant: a DuckDB database, the same rows as Parquet, and a README
// that describes every file and column.
type Bundle struct {
	AsOf  time.Time        `json:"as_of"`
	Rows  map[string]int64 `json:"rows"`  // by export
	Files []File           `json:"files"` // the database first, then Parquet by export and month
}

// WriteBundle adds Parquet files and a README to a folder that contains only the database written by
// [warehouse.Warehouse.WriteDatabase]. Its state is that of asOf. Each export has one Parquet file for each month
// with rows. WriteBundle calls progress with the size in bytes of each file it has written. It returns after all files
// are synced to disk; the caller syncs the folder that contains dir. The memory limit is DuckDB's.
func WriteBundle(
	ctx context.Context, dir string, asOf time.Time, memory string, progress func(bytes int64),
) (bundle Bundle, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", dir, errors.Join(context.Cause(ctx), err))
		}
	}()
	conn, closeAll, err := openDatabase(ctx, dir, memory)
	if err != nil {
		return bundle, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	bundle = Bundle{AsOf: asOf, Rows: map[string]int64{}, Files: []File{{Path: DatabaseFile}}}
	if bundle.Files[0].Bytes, err = fileSize(filepath.Join(dir, DatabaseFile)); err != nil {
		return bundle, err
	}
	for _, export := range schema.Exports {
		files, err := writeExport(ctx, conn, dir, export, asOf, progress)
		if err != nil {
			return bundle, fmt.Errorf("%s: %w", export.Name, err)
		}
		for _, f := range files {
			bundle.Rows[export.Name] += f.Rows
		}
		bundle.Files[0].Rows += bundle.Rows[export.Name]
		bundle.Files = append(bundle.Files, files...)
	}
	if err := os.WriteFile(filepath.Join(dir, ReadmeFile), bundle.readme(), 0o644); err != nil {
		return bundle, err
	}
	return bundle, errors.Join(closeAll(), syncTree(dir))
}

// openDatabase opens the bundle's database read-only. DuckDB spills to a folder inside the bundle, which closeAll
// removes.
func openDatabase(ctx context.Context, dir, memory string) (_ *sql.Conn, closeAll func() error, err error) {
	spill := filepath.Join(dir, ".spill")
	settings := []string{
		"SET TimeZone = 'UTC'",
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET memory_limit = " + statements.Text(memory),
		"SET temp_directory = " + statements.Text(spill),
	}
	path := filepath.Join(dir, DatabaseFile) + "?access_mode=READ_ONLY"
	connector, err := duckdb.NewConnector(path, func(execer driver.ExecerContext) error {
		for _, set := range settings {
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

// writeExport writes the Parquet files of an export. It returns an error if they do not have as many rows as the table.
func writeExport(
	ctx context.Context, conn *sql.Conn, dir string, export schema.Export, asOf time.Time, progress func(int64),
) (files []File, err error) {
	var rows, written int64
	table := statements.Ident(export.Name)
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil || rows == 0 {
		return nil, err
	}
	months := []string{""}
	if export.Source.Monthly {
		if months, err = listMonths(ctx, conn, export); err != nil {
			return nil, err
		}
	}
	for _, month := range months {
		path, statement := export.Name+"/"+export.Name+".parquet", "FROM "+table
		if month != "" {
			path = export.Name + "/month=" + month + "/" + export.Name + ".parquet"
			statement += fmt.Sprintf(" WHERE %[1]s >= '%[2]s-01' AND %[1]s < DATE '%[2]s-01' + INTERVAL 1 MONTH",
				export.TimeColumn(), month)
		}
		file := File{Path: path, Export: export.Name}
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		result, err := conn.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (%s, USE_TMP_FILE false)",
			statement, statements.Text(path), parquetOptions(export, asOf)))
		if err != nil {
			return nil, err
		}
		if file.Rows, err = result.RowsAffected(); err != nil {
			return nil, err
		}
		if file.Bytes, err = fileSize(path); err != nil {
			return nil, err
		}
		progress(file.Bytes)
		written += file.Rows
		files = append(files, file)
	}
	if written != rows {
		return nil, fmt.Errorf("wrote %d rows to Parquet, want the %d rows of the table", written, rows)
	}
	return files, nil
}

// listMonths returns the months in which the export has rows, as YYYY-MM, in order.
func listMonths(ctx context.Context, conn *sql.Conn, export schema.Export) (months []string, err error) {
	rows, err := conn.QueryContext(ctx,
		fmt.Sprintf("SELECT DISTINCT strftime(%s, '%%Y-%%m') AS month FROM %s ORDER BY month",
			export.TimeColumn(), statements.Ident(export.Name)))
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

// fileSize returns the size of a file in bytes.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// syncTree syncs dir and all files and folders in it to disk.
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
