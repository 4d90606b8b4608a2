package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
)

// runBundle writes all exports of one snapshot to a self-contained folder, completely or not at all. admin.Export
// returns only the DuckDB database. runBundle writes the other files from that database, so that all of them have the
// same rows, also if a server has the data folder open.
func (c *exportCommand) runBundle(ctx context.Context, m *Main, f *flags) error {
	tenant, err := parseUUID(c.Tenant)
	switch {
	case err != nil:
		return err
	case c.Output == "":
		return fmt.Errorf("%w: name a folder with -o", warehouse.ErrInvalid)
	case c.Format != "" || c.filterFlags != (filterFlags{}) || len(c.Columns) > 0 || c.BOM || c.EscapeFormulas:
		return fmt.Errorf("%w: `export all` writes all rows and columns in fixed formats; it accepts only --tenant and -o",
			warehouse.ErrInvalid)
	}
	bar := newExportProgress(m, admin.Database)
	defer bar.finish()
	var folder exports.Bundle
	err = f.withAdmin(ctx, func(conn *admin.Conn) error {
		return m.writeFolderAtomic(c.Output, func(dir string) error {
			total, err := fetchDatabase(ctx, conn, tenant, filepath.Join(dir, exports.DatabaseFile), bar)
			if err != nil {
				return err
			}
			folder, err = exports.WriteBundle(ctx, dir, total.AsOf, f.MemoryLimit, bar.add)
			if err == nil && folder.Files[0].Rows != total.Rows {
				err = fmt.Errorf("%d rows were written and %d read", total.Rows, folder.Files[0].Rows)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	bar.finish()
	return m.printResult(f, folder, func(w io.Writer) {
		fmt.Fprintf(w, "wrote %d rows in %d files to %s, as of %s; %s describes them\n",
			folder.Files[0].Rows, len(folder.Files), c.Output, folder.AsOf.Format(time.RFC3339), exports.ReadmeFile)
	})
}

// fetchDatabase writes the DuckDB database of the tenant to a new file.
func fetchDatabase(
	ctx context.Context, conn *admin.Conn, tenant uuid.UUID, path string, bar *progress,
) (total admin.Exported, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return total, err
	}
	spec := admin.ExportSpec{Tenant: tenant, Dataset: admin.Database}
	total, err = admin.Export.Write(ctx, conn, spec, &countingWriter{out: file, progress: bar.add})
	return total, errors.Join(err, file.Close())
}

// writeFolderAtomic calls write with a new folder that becomes path, see [atomicfile.Replace]. If path exists and is
// not an empty folder, it returns warehouse.ErrInvalid. The modes follow the user's umask.
func (m *Main) writeFolderAtomic(path string, write func(dir string) error) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s is not empty; name a new folder", warehouse.ErrInvalid, path)
	}
	return replace(path, func(root *os.Root, temp string) error {
		if err := root.Mkdir(temp, 0o700); err != nil {
			return err
		}
		dir := filepath.Join(root.Name(), temp)
		if err := write(dir); err != nil {
			return err
		}
		return m.setModes(dir)
	})
}

// setModes sets the modes of a folder and of all files and folders in it according to the user's umask.
func (m *Main) setModes(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.Chmod(path, 0o777&^m.Umask)
		case entry.Type().IsRegular():
			return os.Chmod(path, 0o666&^m.Umask)
		}
		return nil
	})
}
