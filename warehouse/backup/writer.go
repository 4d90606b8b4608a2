package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/filelock"
	"github.com/voicory/warehouse/warehouse/journal"
)

// A Content is a file of the data folder to be copied.
type Content struct {
	Path   string   // below the data folder, with slashes
	File   *os.File // open for reading
	Size   int64    // bytes to copy, from the beginning
	SHA256 string   // expected digest; "": unknown
	// Immutable means that no program changes the file in place, so that a hard link is a copy of it.
	Immutable bool
}

// A ChangedError is a file whose content does not have the expected digest. The file is damaged, or was changed.
type ChangedError struct{ Path, Got, Want string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s is damaged: its SHA-256 is %s instead of %s", e.Path, e.Got, e.Want)
}

// A Writer writes one backup. Its methods are called by one goroutine. The caller closes it, after Commit or instead
// of it.
type Writer interface {
	// Has reports whether the backup folder holds the content, so that its file need not be opened.
	Has(sum string, size int64) bool
	// Add copies a file, syncs the copy, and reads it back. It returns a *ChangedError if the content does not have the
	// expected digest.
	Add(ctx context.Context, c Content) (File, error)
	// Previous returns the copy of a tenant that an earlier backup, or an interrupted one, made of the same state.
	Previous(tenant uuid.UUID, state string) (Tenant, bool)
	// Latest returns the newest copy of a tenant.
	Latest(tenant uuid.UUID) (Tenant, bool)
	// Note records the progress, so that the next backup continues if this one is interrupted.
	Note(m Manifest) error
	// Commit completes the backup with its manifest and the entries of the journal. It removes all but the newest keep
	// backups of the same scope, unless keep is 0, and returns the names of those.
	Commit(ctx context.Context, m Manifest, facts []journal.Entry, keep int) (removed []string, err error)
	Close() error
}

// Name returns the name of a backup that starts at a time.
func Name(at time.Time) string { return at.UTC().Format("2006-01-02T15-04-05.000Z") }

// Create begins a backup in a folder, which it creates, or in an archive if the path ends in .tar or .tar.zst. It
// returns ErrInvalid for a folder with other content, and ErrInUse if another process writes there.
func Create(path string) (Writer, error) {
	if isArchiveName(path) {
		return createArchive(path)
	}
	f, err := createFolder(path)
	if err != nil {
		return nil, err
	}
	lock, err := f.lock()
	if err != nil {
		return nil, err
	}
	w := &folderWriter{folder: f, lock: lock}
	if w.earlier, _, err = f.list(); err != nil {
		return nil, errors.Join(err, filelock.Close(lock))
	}
	if m, err := f.readManifest(filepath.Join(f.path, progressFile)); err == nil {
		w.earlier = append(w.earlier, m)
	}
	return w, nil
}

func isArchiveName(path string) bool {
	return strings.HasSuffix(path, ".tar") || strings.HasSuffix(path, ".tar.zst")
}

// folderWriter writes a backup into a folder.
type folderWriter struct {
	*folder
	lock    *os.File
	earlier []Manifest // of complete backups, oldest first, and of an interrupted one
}

func (w *folderWriter) Close() error { return filelock.Close(w.lock) }

// Has implements Writer. The content itself was read back when it was written.
func (w *folderWriter) Has(sum string, size int64) bool {
	if len(sum) != 2*sha256.Size {
		return false
	}
	info, err := os.Stat(w.object(sum))
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// Previous implements Writer.
func (w *folderWriter) Previous(tenant uuid.UUID, state string) (Tenant, bool) {
	return w.newest(tenant, func(t Tenant) bool { return state != "" && t.State == state })
}

// Latest implements Writer.
func (w *folderWriter) Latest(tenant uuid.UUID) (Tenant, bool) {
	return w.newest(tenant, func(Tenant) bool { return true })
}

// newest returns the newest copy of a tenant for which fits returns true, if all of its objects are there.
func (w *folderWriter) newest(tenant uuid.UUID, fits func(Tenant) bool) (Tenant, bool) {
	for i := len(w.earlier) - 1; i >= 0; i-- {
		t, ok := w.earlier[i].Tenant(tenant)
		if !ok || !fits(t) {
			continue
		}
		for _, file := range t.Files {
			ok = ok && w.Has(file.SHA256, file.Size)
		}
		if ok {
			return t, true
		}
	}
	return Tenant{}, false
}

// Add implements Writer.
func (w *folderWriter) Add(ctx context.Context, c Content) (File, error) {
	file := File{Path: c.Path, Size: c.Size, SHA256: c.SHA256}
	if w.Has(c.SHA256, c.Size) {
		return file, nil
	}
	temp := filepath.Join(w.path, objectsDir, "."+uuid.NewString()+tempEnd)
	defer os.Remove(temp) // renamed in case of success; others are removed by prune
	linked := c.Immutable && linkFile(c.File, temp) == nil
	copied := ""
	if !linked {
		var err error
		if copied, err = copyFile(ctx, c, temp); err != nil {
			return file, fmt.Errorf("copy %s: %w", c.Path, err)
		}
	}
	sum, err := readBack(ctx, temp, c.Size)
	if err != nil {
		return file, fmt.Errorf("read back the copy of %s: %w", c.Path, err)
	}
	if copied != "" && sum != copied {
		return file, fmt.Errorf("read back the copy of %s: its SHA-256 is %s instead of %s; the disk of the backup may be "+
			"damaged", c.Path, sum, copied)
	}
	if c.SHA256 != "" && sum != c.SHA256 {
		return file, &ChangedError{c.Path, sum, c.SHA256}
	}
	file.SHA256 = sum
	object := w.object(sum)
	if err := os.Mkdir(filepath.Dir(object), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return file, err
	}
	return file, os.Rename(temp, object)
}

// copyFile copies a content into a new file, syncs it, and returns the SHA-256 of the bytes that were written.
func copyFile(ctx context.Context, c Content, path string) (sum string, err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	digest := sha256.New()
	in := contextReader{ctx, io.NewSectionReader(c.File, 0, c.Size)}
	written, err := io.Copy(io.MultiWriter(out, digest), in)
	if err != nil {
		return "", err
	}
	if written != c.Size {
		return "", fmt.Errorf("it has %d bytes instead of %d", written, c.Size)
	}
	return hex.EncodeToString(digest.Sum(nil)), out.Sync()
}

// readBack returns the SHA-256 of a file of the given size. It asks the system to read it from the disk.
func readBack(ctx context.Context, path string, size int64) (sum string, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	dropCache(in)
	digest := sha256.New()
	read, err := io.Copy(digest, contextReader{ctx, in})
	if err != nil {
		return "", err
	}
	if read != size {
		return "", fmt.Errorf("it has %d bytes instead of %d", read, size)
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// Note implements Writer.
func (w *folderWriter) Note(m Manifest) error {
	text, err := m.encode()
	if err != nil {
		return err
	}
	// Without a sync: after a power cut the file may be lost or damaged, and its tenants are copied again.
	temp := filepath.Join(w.path, progressFile+tempEnd)
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(w.path, progressFile))
}

// Commit implements Writer. It syncs the folder of each object before it writes the manifest, also of objects that were
// there: a backup that was killed has not synced theirs.
func (w *folderWriter) Commit(
	_ context.Context, m Manifest, facts []journal.Entry, keep int,
) (removed []string, err error) {
	dirs := map[string]bool{filepath.Join(w.path, objectsDir): true}
	for _, file := range m.AllFiles() {
		if file.Link == "" {
			dirs[filepath.Dir(w.object(file.SHA256))] = true
		}
	}
	for dir := range dirs {
		if err := syncPath(dir); err != nil {
			return nil, err
		}
	}
	if err := appendJournal(filepath.Join(w.path, journalFile), facts); err != nil {
		return nil, err
	}
	text, err := m.encode()
	if err != nil {
		return nil, err
	}
	if err := w.write(filepath.Join(manifestsDir, m.Name+manifestEnd), text); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(w.path, progressFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return w.prune(keep, m.Only)
}

// appendJournal adds the entries that the journal at path does not have. It creates a missing journal.
func appendJournal(path string, entries []journal.Entry) error {
	j, err := journal.Open(func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) })
	if err != nil {
		return err
	}
	return errors.Join(j.Append(entries...), j.Close(), syncPath(filepath.Dir(path)))
}
