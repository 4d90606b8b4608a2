package warehouse

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/voicory/warehouse/internal/atomicfile"
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
// The root may be a symbolic link, which is resolved once. Below it there are none, except within tmp/: Open refuses
// a folder that contains one, and each operation checks the path again. The operations of this package go through
// os.Root, so a link that appears between check and use cannot lead outside of the folder. DuckDB opens files by
// path: [dataFolder.forDuckDB] checks a path right before, and a process that may write to the folder could still win
// that race. Only the owner can, and root.
type dataFolder struct {
	path string // absolute, without symbolic links
	root *os.Root
	mark folderMark
	log  *slog.Logger
	lock *os.File // nil until the folder is locked

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

// folderMark is the content of the mark file.
type folderMark struct {
	Format   int      `json:"format"`
	LakeMode LakeMode `json:"lake_mode"`
	// Published is the format of all published files, see publishedFormat; 0: files may have an older format.
	Published int `json:"published_format,omitempty"`
}

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
	} else if err := createFolder(f.path); err != nil {
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

// createFolder creates the root of a data folder, and the folders above it, with the owner's access only.
func createFolder(path string) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
		}
		return nil
	}
	parent := filepath.Dir(path)
	if err := createFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

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

// recognize reads the mark. It writes one into an empty folder, sets adopted for a folder of the layout without a
// mark, and refuses any other folder. Nothing else is created, changed or deleted.
func (f *dataFolder) recognize(opts Options) error {
	if err := f.checkParts(); err != nil {
		return err
	}
	mark, err := f.readMark()
	if err == nil {
		f.mark = mark
		if f.mark.Format > folderFormat {
			return fmt.Errorf("%w: it was written by a newer version (format %d, this binary knows %d); upgrade voicory",
				ErrInvalid, f.mark.Format, folderFormat)
		}
		f.setLake, f.marked = opts.LakeMode, true
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := f.readDir(f.path)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == lostAndFound || atomicfile.IsTemp(e.Name())
	})
	switch {
	case len(entries) > 0:
		if f.adopted = f.hasEarlierLayout(); !f.adopted {
			return fmt.Errorf("%w: it is not a data folder of voicory and not empty (it contains %q); name another with --data",
				ErrInvalid, entries[0].Name())
		}
		f.mark = folderMark{Format: folderFormat, LakeMode: cmp.Or(opts.LakeMode, f.presentLakeMode())}
		return nil
	case opts.MustExist:
		return errNoFolder
	}
	f.mark = folderMark{folderFormat, cmp.Or(opts.LakeMode, LakePrivate), publishedFormat}
	return f.writeMark()
}

// readMark reads the mark. It returns ErrInvalid if the mark is damaged.
func (f *dataFolder) readMark() (mark folderMark, err error) {
	text, err := f.readFile(f.join(markFile))
	if err != nil {
		return mark, err
	}
	if err := json.Unmarshal(text, &mark); err != nil || mark.Format < 1 || lakeAccess[mark.LakeMode].dir == 0 {
		return mark, fmt.Errorf("%w: %s is damaged; run `voicory repair`", ErrInvalid, markFile)
	}
	return mark, nil
}

// writeMark writes the mark. Processes that do it at the same time write the same.
func (f *dataFolder) writeMark() error {
	text, err := json.Marshal(f.mark)
	if err != nil {
		return err
	}
	return f.writeFileAtomic(f.join(markFile), append(text, '\n'))
}

// hasEarlierLayout reports whether the folder was written by a version that wrote no mark: everything that such a
// version created before its first answer is there, and control.duckdb is a DuckDB file.
func (f *dataFolder) hasEarlierLayout() bool {
	for _, dir := range []string{warehouseDir, lakeDir, quarantineDir, tempDir} {
		if info, err := f.root.Lstat(dir); err != nil || !info.IsDir() {
			return false
		}
	}
	if info, err := f.root.Lstat(lockFile); err != nil || !info.Mode().IsRegular() {
		return false
	}
	file, err := f.open(f.join(controlFile))
	if err != nil {
		return false
	}
	defer file.Close()
	magic := make([]byte, 12) // 8 bytes of checksum before it
	_, err = file.ReadAt(magic, 0)
	return err == nil && string(magic[8:]) == "DUCK"
}

// presentLakeMode returns the widest lake mode that lake/ has the permissions of, so that adoption takes access from
// no reader.
func (f *dataFolder) presentLakeMode() LakeMode {
	info, err := f.root.Lstat(lakeDir)
	switch {
	case err == nil && info.Mode().Perm()&0o005 == 0o005:
		return LakeWorld
	case err == nil && info.Mode().Perm()&0o050 == 0o050:
		return LakeGroup
	}
	return LakePrivate
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
// adopted, removes what a crash has left unfinished.
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

// adopt writes the mark into a folder that had none, once its control database was opened.
func (f *dataFolder) adopt() error {
	if !f.adopted {
		return nil
	}
	if err := f.writeMark(); err != nil {
		return err
	}
	f.adopted = false
	f.log.Warn("data folder of an earlier version adopted", "data", f.path, "lake_mode", string(f.mark.LakeMode))
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
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
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
		// A child process that is being started shares the descriptor, so closing it here might not unlock the folder yet.
		errs = append(errs, syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close())
	}
	if f.root != nil {
		errs = append(errs, f.root.Close())
	}
	return errors.Join(errs...)
}

// walk visits a folder of the layout: it refuses symbolic links and special files, sets modes and removes unfinished
// files. The content of tmp/ is not visited, because it is removed. The check costs one system call per file. The
// method that changes a file checks it again.
func (f *dataFolder) walk(name string, changed *int) error {
	return filepath.WalkDir(f.join(name), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir() && !entry.Type().IsRegular():
			return wrongType(path, entry.Type(), "regular file or folder")
		case atomicfile.IsTemp(entry.Name()) && !entry.IsDir() && !f.adopted:
			return f.remove(path)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !f.hasMode(path, info) {
			if err := f.setMode(path, entry.IsDir(), changed); err != nil {
				return err
			}
		}
		if name == tempDir {
			return fs.SkipDir
		}
		return nil
	})
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
	case isDir:
		return privateDir, false
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

// resolveEntry is like resolve, but the last part of the path may be a symbolic link, which is removed or replaced itself.
func (f *dataFolder) resolveEntry(path string) (name string, err error) {
	dir, err := f.resolve(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// forDuckDB checks a path that DuckDB is about to open: neither the file nor its log nor a folder above may be a
// symbolic link.
func (f *dataFolder) forDuckDB(path string) error {
	_, err := f.resolve(path)
	if err == nil {
		_, err = f.resolve(path + ".wal")
	}
	return err
}
