package warehouse

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/voicory/warehouse/internal/atomicfile"
)

// LakeMode selects the users of the machine that may read lake/. It is stored with the data folder.
type LakeMode string

// Lake modes.
const (
	LakePrivate LakeMode = "private" // the owner only
	LakeGroup   LakeMode = "group"   // also the group of the files
	LakeWorld   LakeMode = "world"   // all users
)

// lakeAccess lists the permissions of each lake mode.
var lakeAccess = map[LakeMode]struct{ root, dir, file fs.FileMode }{
	LakePrivate: {0o700, 0o700, 0o600},
	LakeGroup:   {0o710, 0o750, 0o640},
	LakeWorld:   {0o711, 0o755, 0o644},
}

// Permissions of everything that is not in the lake.
const (
	privateDir   fs.FileMode = 0o700
	privateFile  fs.FileMode = 0o600
	privateUmask             = 0o077
)

// walk visits a folder of the layout, sets modes and removes unfinished files. It skips symbolic links, special files
// and paths that cannot be read. Each of them belongs to one tenant, whose store or publisher refuses it, and must not
// keep the other tenants from being served. Only the folder of the layout itself must be usable. The content of tmp/ is
// not visited, because it is removed. The check costs one system call per file. The method that changes a file checks
// it again.
func (f *dataFolder) walk(name string, changed *int) error {
	return filepath.WalkDir(f.join(name), func(path string, entry fs.DirEntry, err error) error {
		isTop := path == f.join(name)
		if err == nil {
			err = f.visit(path, entry, changed)
		}
		switch {
		case err != nil && isTop:
			return err
		case err != nil:
			f.log.Error("skip a damaged part of the data folder; only its tenant is affected", "path", path, "error", err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
		case name == tempDir:
			return fs.SkipDir
		}
		return nil
	})
}

// visit checks and corrects one path of the layout, see walk.
func (f *dataFolder) visit(path string, entry fs.DirEntry, changed *int) error {
	switch {
	case !entry.IsDir() && !entry.Type().IsRegular():
		return wrongType(path, entry.Type(), "regular file or folder")
	case atomicfile.IsTemp(entry.Name()) && !entry.IsDir() && !f.adopted:
		return f.remove(path)
	}
	info, err := entry.Info()
	if err != nil || f.hasMode(path, info) {
		return err
	}
	return f.setMode(path, entry.IsDir(), changed)
}

// modeOf returns the permissions that a path of the folder must have, and whether it must have all of them. Private
// files may have fewer.
func (f *dataFolder) modeOf(path string, isDir bool) (mode fs.FileMode, exact bool) {
	access := lakeAccess[f.mark.LakeMode]
	part, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, f.path), "/"), "/")
	switch {
	case part == "" && isDir:
		return access.root, true
	case part == lakeDir && isDir:
		return access.dir, true
	case part == lakeDir, part == filesDir && !isDir:
		return access.file, true
	case isDir: // without all of them, this program could not use the folder
		return privateDir, true
	}
	return privateFile, false
}

// setMode gives an existing path its permissions and counts it if they were others. A set-group-id bit on folders
// stays: operators use it to give the lake's files a group.
func (f *dataFolder) setMode(path string, isDir bool, changed *int) error {
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	info, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if f.hasMode(path, info) {
		return nil
	}
	mode, exact := f.modeOf(path, isDir)
	if !exact {
		mode &= info.Mode().Perm()
	}
	*changed++
	return f.root.Chmod(name, mode|info.Mode()&fs.ModeSetgid)
}

// hasMode reports whether the permissions of a path are right.
func (f *dataFolder) hasMode(path string, info fs.FileInfo) bool {
	mode, exact := f.modeOf(path, info.IsDir())
	return info.Mode().Perm() == mode || !exact && info.Mode().Perm()&^mode == 0
}
