package warehouse

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// repairName is the layout of the names of folders in repaired/.
const repairName = "2006-01-02T150405.000Z"

// maxRepaired is the number of repairs whose files are kept.
const maxRepaired = 10

// keep returns the path of the copy of a file, in folders that keep creates.
func (r *repairer) keep(path string) (string, error) {
	name, err := filepath.Rel(r.w.dir, path)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(r.w.dir, r.kept, name)
	if r.result.Kept == "" {
		if err := r.removeOldest(); err != nil {
			return "", err
		}
	}
	r.result.Kept = r.kept
	return kept, r.w.folder.mkdir(filepath.Dir(kept))
}

// removeOldest removes the files of the oldest repairs, so that there is room for those of this one.
func (r *repairer) removeOldest() error {
	entries, err := r.w.folder.readDir(r.w.folder.join(repairedDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { // copies of upgrades have a bound of their own
		_, err := time.Parse(repairName, e.Name())
		return err != nil
	})
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries[:max(0, len(entries)-maxRepaired+1)] {
		err = errors.Join(err, r.w.folder.root.RemoveAll(filepath.Join(repairedDir, entry.Name())))
	}
	return err
}

// move moves a file, a folder or a link to the folder of replaced files.
func (r *repairer) move(path string) error {
	kept, err := r.keep(path)
	if err != nil {
		return err
	}
	f := r.w.folder
	from, err := f.resolve(filepath.Dir(path))
	if err != nil {
		return err
	}
	to, err := f.resolve(kept)
	if err != nil {
		return err
	}
	if err := f.root.Rename(filepath.Join(from, filepath.Base(path)), to); err != nil {
		return err
	}
	return errors.Join(f.sync(filepath.Dir(kept)), f.sync(filepath.Dir(path)))
}

// copyAside copies a file to the folder of replaced files.
func (r *repairer) copyAside(path string) error {
	kept, err := r.keep(path)
	if err != nil {
		return err
	}
	in, err := r.w.folder.open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	return r.w.folder.writeAtomic(kept, func(temp string) error { return r.w.folder.copyFile(in, temp) })
}

// copyFile creates a file with the content of in.
func (f *dataFolder) copyFile(in io.Reader, path string) error {
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	out, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, privateFile)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
