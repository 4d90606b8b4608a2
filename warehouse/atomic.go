package warehouse

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/internal/atomicfile"
)

// writeAtomic calls write to create a file at a temporary path beside path, and replaces path by it, see
// [atomicfile.Replace]. It creates missing folders. The next start removes files that a crash has left.
func (f *dataFolder) writeAtomic(path string, write func(temp string) error) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	if err := f.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	name, err := f.resolveEntry(path)
	if err != nil {
		return err
	}
	return atomicfile.Replace(f.root, name, func(temp string) error {
		temp, changed := f.join(temp), 0
		if err := write(temp); err != nil {
			for _, suffix := range walSuffixes { // of a database that was not closed
				err = errors.Join(err, f.removeIfThere(temp+suffix))
			}
			return err
		}
		return f.setMode(temp, false, &changed)
	})
}

// noteWrite returns the error of a write to path with its kind, see diskError, and reports it to onFailedWrite.
func (f *dataFolder) noteWrite(path string, err error) error {
	err = diskError(f.path, err)
	if f.onFailedWrite != nil && (errors.Is(err, ErrNoSpace) || errors.Is(err, ErrIO)) {
		f.onFailedWrite(path, err)
	}
	return err
}

// writeFileAtomic replaces a file by one with the text.
func (f *dataFolder) writeFileAtomic(path string, text []byte) error {
	return f.writeAtomic(path, func(temp string) error { return f.writeFile(temp, text) })
}

// link creates a hard link with the given name to the file at path. It replaces a file of that name atomically. The
// caller syncs the folder.
func (f *dataFolder) link(path, name string) (err error) {
	defer func() { err = f.noteWrite(name, err) }()
	from, err := f.resolve(path)
	if err != nil {
		return err
	}
	to, err := f.resolveEntry(name)
	if err != nil {
		return err
	}
	if err := f.root.Link(from, to); !errors.Is(err, fs.ErrExist) {
		return err
	}
	temp := atomicfile.TempName(to)
	if err := f.root.Link(from, temp); err != nil {
		return err
	}
	return f.root.Rename(temp, to)
}

// removeDurable removes a file and syncs its folder. A missing file may have been removed by a process that crashed
// before the sync, so the folder, which must exist, is synced anyway.
func (f *dataFolder) removeDurable(path string) error {
	if err := f.removeIfThere(path); err != nil {
		return err
	}
	return f.sync(filepath.Dir(path))
}

// removeIfThere removes a file if it exists.
func (f *dataFolder) removeIfThere(path string) error {
	if err := f.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mkdir creates a folder and the folders above it, with their modes. It syncs each parent after the new entry.
func (f *dataFolder) mkdir(path string) error { return f.makeDirs(path, f.sync) }

// makeDirs creates a folder and the folders above it, with their modes. It calls created with the parent of each folder
// that it has created.
func (f *dataFolder) makeDirs(path string, created func(parent string) error) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	if info, err := f.root.Lstat(name); err == nil {
		if !info.IsDir() {
			return wrongType(path, info.Mode(), "folder")
		}
		return nil
	}
	parent := filepath.Dir(path)
	if err := f.makeDirs(parent, created); err != nil {
		return err
	}
	if err := f.root.Mkdir(name, privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	changed := 0
	return errors.Join(f.setMode(path, true, &changed), created(parent))
}

// open opens a file or folder for reading.
func (f *dataFolder) open(path string) (*os.File, error) {
	name, err := f.resolve(path)
	if err != nil {
		return nil, err
	}
	return f.root.Open(name)
}

// readFile reads a whole file.
func (f *dataFolder) readFile(path string) ([]byte, error) {
	file, err := f.open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// readDir returns the entries of a folder, in no particular order.
func (f *dataFolder) readDir(path string) ([]fs.DirEntry, error) {
	dir, err := f.open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.ReadDir(-1)
}

// writeFile creates a file with the text. It must not exist.
func (f *dataFolder) writeFile(path string, text []byte) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, privateFile)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// exists reports whether a file or folder exists at path. It returns an error if a part of path is a symbolic link.
func (f *dataFolder) exists(path string) (bool, error) {
	name, err := f.resolve(path)
	if err != nil {
		return false, err
	}
	_, err = f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// size returns the size of a file in bytes, and 0 if the file is missing.
func (f *dataFolder) size(path string) (int64, error) {
	name, err := f.resolve(path)
	if err != nil {
		return 0, err
	}
	info, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// remove removes a file or an empty folder. If path is a symbolic link, it removes the link.
func (f *dataFolder) remove(path string) error {
	name, err := f.resolveEntry(path)
	if err != nil {
		return err
	}
	return f.root.Remove(name)
}

// rename renames a file. It replaces a file that has the new name.
func (f *dataFolder) rename(from, to string) (err error) {
	defer func() { err = f.noteWrite(to, err) }()
	old, err := f.resolve(from)
	if err != nil {
		return err
	}
	name, err := f.resolveEntry(to)
	if err != nil {
		return err
	}
	return f.root.Rename(old, name)
}

// touch sets the modification time of a file.
func (f *dataFolder) touch(path string, at time.Time) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	return f.root.Chtimes(name, at, at)
}

// sync flushes a file or a folder to the disk.
func (f *dataFolder) sync(path string) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	return atomicfile.Sync(f.root, name)
}

// writeAgain writes the first bytes of a file again, at most limit, and flushes it to the disk. It does nothing if the
// file is missing. After a sync has failed, the kernel has the bytes in memory and reports the next sync as successful,
// although they may not be on the disk. The file keeps its time of modification. No other part of this process may have
// it open.
func (f *dataFolder) writeAgain(path string, limit int64) (err error) {
	defer func() { err = f.noteWrite(path, err) }()
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	chunk := make([]byte, min(limit, 1<<20))
	for at := int64(0); at < limit; {
		n, err := file.ReadAt(chunk[:min(limit-at, int64(len(chunk)))], at)
		if n == 0 && errors.Is(err, io.EOF) {
			break
		}
		if n == 0 {
			return err
		}
		if _, err := file.WriteAt(chunk[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	if err := f.root.Chtimes(name, time.Time{}, info.ModTime()); err != nil {
		return err
	}
	return file.Sync()
}

// maxSyncs is the number of files that syncAll flushes at a time. The journal of a file system flushes concurrent
// requests together.
const maxSyncs = 16

// syncAll flushes files and folders to the disk.
func (f *dataFolder) syncAll(paths iter.Seq[string]) error {
	var group errgroup.Group
	group.SetLimit(maxSyncs)
	for path := range paths {
		group.Go(func() error { return f.sync(path) })
	}
	return group.Wait()
}
