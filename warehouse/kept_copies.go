package warehouse

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// keptDirs hold the files that restores and repairs have replaced. Their paths are those of the data folder, below the
// name of the restore or repair.
var keptDirs = []string{keptDir, repairedDir}

// removeKept removes kept copies that may hold erased data: the files of the tenant, the copies of the control
// database, and the files of all tenants together whose content matches reports. The erasure takes precedence over
// these copies.
func (w *Warehouse) removeKept(ctx context.Context, tenant uuid.UUID, matches func(text string) bool) error {
	for _, dir := range keptDirs {
		err := filepath.WalkDir(w.folder.join(dir), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
				return ctx.Err()
			}
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(w.dir, path) // both are absolute
			_, name, _ = strings.Cut(strings.TrimPrefix(name, dir+"/"), "/")
			remove := strings.Contains(name, tenant.String()) || strings.HasPrefix(name, controlFile)
			if !remove && !ofOneTenant(name) && entry.Type().IsRegular() {
				if remove, err = w.contains(path, matches); err != nil {
					return err
				}
			}
			if !remove {
				return nil
			}
			return errors.Join(w.folder.removeIfThere(path), w.folder.sync(filepath.Dir(path)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// contains reports whether matches returns true for a part of a file. Parts overlap by overlap bytes.
func (w *Warehouse) contains(path string, matches func(text string) bool) (bool, error) {
	const overlap = 1024
	file, err := w.folder.open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	buffer, kept := make([]byte, overlap+markerChunk), 0
	for {
		n, err := io.ReadFull(file, buffer[kept:])
		chunk := buffer[:kept+n]
		if matches(string(chunk)) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buffer, chunk[len(chunk)-overlap:])
	}
}
