package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/internal/filelock"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Names in a folder of backups.
const (
	markFile     = "voicory-backup.json"
	journalFile  = "journal.ndjson"
	manifestsDir = "backups"
	objectsDir   = "objects"
	lockFile     = "lock"
	progressFile = ".progress.unfinished" // manifest of the backup that is being written
	manifestEnd  = ".json"
	tempEnd      = ".unfinished"
)

// ErrInUse means that another process writes to the folder of backups.
var ErrInUse = errors.New("folder of backups is in use")

// folder is a folder of backups.
type folder struct{ path string }

// isFolder reports whether the folder has the mark. It returns an error for a folder with other content.
func isFolder(path string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(path, markFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var mark struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &mark); err != nil || mark.Format < 1 {
		return false, fmt.Errorf("%w: %s is damaged; write {\"format\": %d} into it",
			schema.ErrInvalid, filepath.Join(path, markFile), format)
	}
	if mark.Format > format {
		return false, fmt.Errorf("%w: the backups in %s were written by a newer version (format %d, this binary knows %d); "+
			"upgrade voicory", schema.ErrInvalid, path, mark.Format, format)
	}
	return true, nil
}

// createFolder opens a folder of backups. If the folder is empty or missing, it creates the folder, its mark and its
// subfolders.
func createFolder(path string) (*folder, error) {
	known, err := isFolder(path)
	if err != nil {
		return nil, err
	}
	f := &folder{path}
	if !known {
		if err := atomicfile.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return e.Name() == "lost+found" || atomicfile.IsTemp(e.Name())
		})
		if len(entries) > 0 {
			return nil, fmt.Errorf("%w: %s is not a folder of backups and not empty (it contains %q); name another one, or "+
				"a file whose name ends in .tar.zst", schema.ErrInvalid, path, entries[0].Name())
		}
		if err := f.write(markFile, fmt.Appendf(nil, "{\"format\":%d}\n", format)); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{objectsDir, manifestsDir} {
		if err := os.Mkdir(filepath.Join(path, dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return f, syncPath(path)
}

// lock takes the lock of the folder. The caller releases it by [filelock.Close] of the returned file.
func (f *folder) lock() (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(f.path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.TryLock(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("%w: %s; wait for the other backup to end", ErrInUse, f.path)
	}
	return file, nil
}

// object returns the path of the content with the digest.
func (f *folder) object(sum string) string {
	return filepath.Join(f.path, objectsDir, sum[:2], sum)
}

// write replaces a file of the folder.
func (f *folder) write(name string, text []byte) error {
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return err
	}
	return errors.Join(atomicfile.WriteFile(root, name, text, 0o600), root.Close())
}

// syncPath flushes a file or a folder to the disk.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// list returns the manifests, oldest first, and an error for each damaged one.
func (f *folder) list() (backups []Manifest, damaged []error, err error) {
	entries, err := os.ReadDir(filepath.Join(f.path, manifestsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, entry := range entries {
		name, isManifest := strings.CutSuffix(entry.Name(), manifestEnd)
		if !isManifest || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(f.path, manifestsDir, entry.Name())
		m, err := f.readManifest(path)
		if err == nil && m.Name != name {
			err = &DamagedError{Name: path, Reason: "it is the manifest of backup " + m.Name}
		}
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		backups = append(backups, m)
	}
	slices.SortFunc(backups, func(a, b Manifest) int { return a.StartedAt.Compare(b.StartedAt) })
	return backups, damaged, nil
}

func (f *folder) readManifest(path string) (Manifest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	m, err := decodeManifest(text)
	if errors.Is(err, schema.ErrInvalid) {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return m, &DamagedError{Name: path, Reason: err.Error()}
	}
	return m, nil
}

// List implements Source.
func (f *folder) List() ([]Manifest, []error, error) { return f.list() }

// Journal implements Source.
func (f *folder) Journal() ([]journal.Entry, []int, error) {
	file, err := os.Open(filepath.Join(f.path, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	return journal.Read(file)
}

// Extract implements Source.
func (f *folder) Extract(ctx context.Context, files []File, create func(File) (io.WriteCloser, error)) error {
	for _, file := range files {
		if file.Link != "" {
			continue
		}
		if err := f.extract(ctx, file, create); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) extract(ctx context.Context, file File, create func(File) (io.WriteCloser, error)) error {
	path := f.object(file.SHA256)
	damaged := func(reason string) error { return &DamagedError{Name: path, Path: file.Path, Reason: reason} }
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("it is missing")
	}
	if err != nil {
		return err
	}
	defer in.Close()
	return extractFrom(ctx, in, file, create, damaged)
}

// extractFrom copies the content of a file of a backup to the writer that create returns, and compares size and digest.
func extractFrom(ctx context.Context, in io.Reader, file File, create func(File) (io.WriteCloser, error),
	damaged func(reason string) error,
) (err error) {
	out, err := create(file)
	if err != nil {
		return err
	}
	sum, read := sha256.New(), &failingReader{Reader: in}
	size, err := io.Copy(io.MultiWriter(out, sum), contextReader{ctx, read})
	if err = errors.Join(err, out.Close()); err != nil {
		if read.err != nil {
			return damaged(read.err.Error())
		}
		return fmt.Errorf("restore %s: %w", file.Path, err)
	}
	if size != file.Size {
		return damaged(fmt.Sprintf("it has %d bytes instead of %d", size, file.Size))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != file.SHA256 {
		return damaged("its SHA-256 is " + got + " instead of " + file.SHA256)
	}
	return nil
}

// failingReader records the error of a read.
type failingReader struct {
	io.Reader
	err error
}

func (r *failingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// contextReader fails when its context has ended.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// Close implements Source.
func (f *folder) Close() error { return nil }

// prune removes the oldest backups of the scope until keep are left, and the objects that no backup needs. With keep =
// 0 it removes no backup. It removes no object if a manifest is damaged. The caller holds the lock.
func (f *folder) prune(keep int, scope *uuid.UUID) (removed []string, err error) {
	all, damaged, err := f.list()
	if err != nil {
		return nil, err
	}
	same := slices.DeleteFunc(slices.Clone(all), func(m Manifest) bool {
		return (m.Only == nil) != (scope == nil) || scope != nil && *m.Only != *scope
	})
	for keep > 0 && len(same) > keep {
		name := same[0].Name
		if err := os.Remove(filepath.Join(f.path, manifestsDir, name+manifestEnd)); err != nil {
			return removed, err
		}
		removed, same = append(removed, name), same[1:]
	}
	if err := syncPath(filepath.Join(f.path, manifestsDir)); err != nil || len(damaged) > 0 {
		return removed, err
	}
	needed := map[string]bool{}
	for _, m := range all {
		for _, file := range m.AllFiles() {
			needed[file.SHA256] = needed[file.SHA256] || !slices.Contains(removed, m.Name)
		}
	}
	return removed, filepath.WalkDir(filepath.Join(f.path, objectsDir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || needed[e.Name()] {
			return err
		}
		return os.Remove(path)
	})
}
