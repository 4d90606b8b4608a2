package warehouse

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/internal/filelock"
)

// dataFolder is the data folder of one warehouse, held open and locked. Every file operation of this package below
// the folder is one of its methods.
//
// # Layout
//
//	data/                              private   the root; 0710 or 0711 if the lake is for the group or for all users
//	  voicory.json                     private   the mark: format version and lake mode
//	  lock                             private   held by the process that owns the folder; contains its process id
//	  control.duckdb, *.wal            private   tenants, keys, request log
//	  journal.ndjson                   private   facts that outlive databases and restores, see package journal
//	  commits                          private   last commit of each store
//	  signing.key                      private   secret for cursors and signed URLs
//	  voicory.sock                     private   the operator's socket
//	  warehouse/<tenant>.duckdb, *.wal private   rows of a tenant
//	  warehouse/<tenant>.unpublished   private   note that the tenant has unpublished rows
//	  warehouse/<tenant>.erasing       private   note that an erasure is under way; .deleting of a tenant
//	  lake/…                           lake mode published Parquet
//	  published/<tenant>/…             private   folders; the files are hard links to the lake's, with their mode
//	  quarantine/*.ndjson              private   refused rows
//	  repaired/<time>/…                private   files that repairs have replaced
//	  tmp/                             private   files of the running process; emptied at start
//	  restore.json                     private   a restore that is not complete, see restorePlan
//	  before-restore/<restore>/…       private   files that restores have replaced
//
// Private is 0700 for folders and 0600 for files. The modes do not depend on the umask of the process: [Open] sets
// the umask to 0077, which DuckDB's own files follow, and the files of the lake get their mode before they get their
// name.
//
// # Ownership
//
// A folder is a data folder if it contains the mark. Open writes the mark into a new or empty folder before anything
// else. It adopts a folder of the layout that had no mark, and deletes nothing in it. Any other folder is refused.
//
// # Symbolic links
//
// The root may be a symbolic link, which is resolved once. Below it none is followed. Open refuses one in the place of
// a part of the layout, and each operation checks its path. The operations of this package go through os.Root, so a
// link that appears between check and use cannot lead outside of the folder. DuckDB opens files by path:
// [dataFolder.forDuckDB] checks a path right before, and a process that may write to the folder could still win that
// race. Only the owner can, and root.
type dataFolder struct {
	path string // absolute, without symbolic links
	root *os.Root
	mark folderMark
	log  *slog.Logger
	lock *os.File // nil until the folder is locked

	onFailedWrite func(path string, err error) // called with an ErrNoSpace or ErrIO; must not block; nil: none

	marked  bool     // there was a mark
	adopted bool     // there was no mark, and it is not written yet
	setLake LakeMode // lake mode to store in the mark once the folder is locked; empty for none
}

// Names in the data folder.
const (
	markFile      = "voicory.json"
	lockFile      = "lock"
	controlFile   = "control.duckdb"
	journalFile   = "journal.ndjson"
	commitsFile   = "commits"
	signingFile   = "signing.key"
	socketFile    = "voicory.sock"
	warehouseDir  = "warehouse"
	lakeDir       = "lake"
	filesDir      = "published"
	quarantineDir = "quarantine"
	tempDir       = "tmp"

	// folderFormat is the version of the layout.
	folderFormat = 1
	// lostAndFound is created by mkfs in the root of a file system, so a folder that contains nothing else is empty.
	lostAndFound = "lost+found"
)

var (
	folderDirs  = []string{warehouseDir, lakeDir, filesDir, quarantineDir, tempDir}
	folderFiles = []string{markFile, lockFile, controlFile, controlFile + ".wal", journalFile, commitsFile, signingFile,
		restoreFile}
)

// openFolder opens the data folder, and creates it if it is missing or empty and opts.MustExist is not set. The
// folder is not locked, and its parts are neither created nor checked.
func openFolder(opts Options) (_ *dataFolder, err error) {
	f := &dataFolder{path: opts.Dir, log: cmp.Or(opts.Log, slog.New(slog.DiscardHandler))}
	defer func() {
		if err != nil {
			err = errors.Join(f.refusal(err), f.close())
		}
	}()
	if opts.LakeMode != "" && lakeAccess[opts.LakeMode].dir == 0 {
		return nil, fmt.Errorf("%w: lake mode %q (private, group or world)", ErrInvalid, opts.LakeMode)
	}
	if f.path, err = filepath.Abs(f.path); err != nil {
		return nil, err
	}
	if strings.Contains(f.path, "?") {
		return nil, fmt.Errorf("%w: DuckDB takes a question mark in a path for options; choose another with --data",
			ErrInvalid)
	}
	if opts.MustExist {
		if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
			return nil, errNoFolder
		}
	} else if err := atomicfile.MkdirAll(f.path, privateDir); err != nil {
		return nil, err
	}
	if f.path, err = filepath.EvalSymlinks(f.path); err != nil {
		return nil, err
	}
	if f.root, err = os.OpenRoot(f.path); err != nil {
		return nil, err
	}
	if err := f.checkOwner(); err != nil {
		return nil, err
	}
	return f, f.recognize(opts)
}

// checkOwner returns ErrNotWritable if the folder belongs to another user.
func (f *dataFolder) checkOwner() error {
	info, err := f.root.Stat(".")
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to user %d and this is user %d; run voicory as its owner",
			ErrNotWritable, owner, os.Geteuid())
	}
	return nil
}

var errNoFolder = fmt.Errorf("%w: no data is there; `voicory ingest`, sync, demo, serve and keys create make a "+
	"data folder", ErrNotFound)

// refusal gives an error of opening the folder its kind and the folder's name.
func (f *dataFolder) refusal(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %s", ErrNoSpace, f.path)
	case errors.Is(err, ErrNotWritable), errors.Is(err, ErrInvalid), errors.Is(err, ErrNotFound), errors.Is(err, ErrInUse):
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w; choose another with --data", ErrNotWritable, err)
	}
	return fmt.Errorf("data folder %s: %w", f.path, err)
}

// checkParts refuses a folder in which a name of the layout has the wrong type.
func (f *dataFolder) checkParts() error {
	check := func(name, kind string, ok func(fs.FileMode) bool) error {
		info, err := f.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !ok(info.Mode()) {
			return wrongType(f.join(name), info.Mode(), kind)
		}
		return err
	}
	var errs []error
	for _, name := range folderDirs {
		errs = append(errs, check(name, "folder", fs.FileMode.IsDir))
	}
	for _, name := range folderFiles {
		errs = append(errs, check(name, "regular file", fs.FileMode.IsRegular))
	}
	errs = append(errs, check(socketFile, "socket", func(m fs.FileMode) bool { return m.Type() == fs.ModeSocket }))
	for _, err := range errs {
		if err != nil {
			return err // one line is enough
		}
	}
	return nil
}

// wrongType describes a path that is a symbolic link or another kind of file than it must be.
func wrongType(path string, mode fs.FileMode, kind string) error {
	if mode.Type() == fs.ModeSymlink {
		return fmt.Errorf("%w: %s is a symbolic link, which voicory does not follow; move the %s there, or use a bind mount",
			ErrInvalid, path, kind)
	}
	return fmt.Errorf("%w: %s is not a %s", ErrInvalid, path, kind)
}

// take locks the folder, creates its parts, sets the mode of everything in them and, unless the folder is being
// adopted, removes the unfinished files that a crash has left.
func (f *dataFolder) take() error {
	if err := f.acquireLock(); err != nil {
		return f.refusal(err)
	}
	var err error
	if f.setLake != "" && f.setLake != f.mark.LakeMode {
		f.mark.LakeMode = f.setLake
		err = f.writeMark()
	}
	if err == nil {
		err = f.resumeSwap()
	}
	changed := 0
	if err == nil {
		err = f.setMode(f.path, true, &changed)
	}
	for _, name := range folderDirs {
		// A missing folder of the stores may be a file system that is not mounted. Open decides about it, see openStores.
		exists := true
		if err == nil && name == warehouseDir && f.marked {
			exists, err = f.exists(f.join(name))
		} else if err == nil {
			err = f.mkdir(f.join(name))
		}
		if err == nil && exists {
			err = f.walk(name, &changed)
		}
	}
	for _, name := range folderFiles {
		if err == nil {
			err = f.setMode(f.join(name), false, &changed)
		}
	}
	if err != nil {
		return f.refusal(err)
	}
	if changed > 0 {
		f.log.Warn("file modes changed: private except for lake/; see --lake-mode",
			"data", f.path, "changed", changed, "lake_mode", string(f.mark.LakeMode))
	}
	if f.adopted {
		return nil
	}
	entries, err := f.readDir(f.path)
	for _, entry := range entries {
		if err == nil && atomicfile.IsTemp(entry.Name()) {
			err = f.root.RemoveAll(entry.Name()) // the staging folder of a restore is one, too
		}
	}
	if err == nil {
		entries, err = f.readDir(f.join(tempDir))
	}
	for _, entry := range entries {
		if err == nil {
			err = f.root.RemoveAll(filepath.Join(tempDir, entry.Name()))
		}
	}
	if err != nil {
		return f.refusal(err)
	}
	return nil
}

// acquireLock takes the lock for this process, or returns ErrInUse.
func (f *dataFolder) acquireLock() error {
	path := f.join(lockFile)
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	if f.lock, err = f.root.OpenFile(name, os.O_RDWR|os.O_CREATE, privateFile); err != nil {
		return err
	}
	if err := filelock.TryLock(f.lock); err != nil {
		owner := make([]byte, 32)
		n, _ := f.lock.ReadAt(owner, 0) // the process id is only shown
		return fmt.Errorf("%w: process %s has it open; wait for it, or share the folder by running `voicory serve`",
			ErrInUse, strings.TrimSpace(string(owner[:n])))
	}
	if err := f.lock.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintln(f.lock, os.Getpid())
	return err
}

// close releases the lock and the folder.
func (f *dataFolder) close() error {
	var errs []error
	if f.lock != nil {
		errs = append(errs, filelock.Close(f.lock))
	}
	if f.root != nil {
		errs = append(errs, f.root.Close())
	}
	return errors.Join(errs...)
}

// join returns the absolute path of a name below the folder.
func (f *dataFolder) join(name string) string { return filepath.Join(f.path, name) }

// resolve returns the name of an absolute path for use with root. It returns an error if the path is outside of the
// folder, or if a part of the path, including the last, is a symbolic link.
func (f *dataFolder) resolve(path string) (name string, err error) {
	name, err = filepath.Rel(f.path, path)
	if err != nil || !filepath.IsLocal(name) {
		return "", fmt.Errorf("%w: %s is not in the data folder", ErrInvalid, path)
	}
	for end := 0; end < len(name); end++ {
		if next := strings.IndexByte(name[end:], filepath.Separator); next >= 0 {
			end += next
		} else {
			end = len(name)
		}
		info, err := os.Lstat(f.join(name[:end]))
		if errors.Is(err, fs.ErrNotExist) {
			break // the parts below are missing too
		}
		if err != nil {
			return "", err
		}
		if info.Mode().Type() == fs.ModeSymlink {
			return "", wrongType(f.join(name[:end]), info.Mode(), "regular file or folder")
		}
	}
	return name, nil
}

// resolveEntry is like resolve, but the last part of the path may be a symbolic link, which is removed or replaced
// itself.
func (f *dataFolder) resolveEntry(path string) (name string, err error) {
	dir, err := f.resolve(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// forDuckDB checks a path that DuckDB is about to open: the file and its log must be regular files, if they exist,
// because DuckDB waits for ever for the other end of a pipe. No folder above may be a symbolic link.
func (f *dataFolder) forDuckDB(path string) error {
	for _, path := range []string{path, path + ".wal"} {
		name, err := f.resolve(path)
		if err != nil {
			return err
		}
		info, err := f.root.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && !info.Mode().IsRegular() {
			return wrongType(path, info.Mode(), "regular file")
		}
	}
	return nil
}
