package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// repairedDir is the folder of files that Repair has replaced: repaired/<time>/<path>. Open neither reads nor checks
// it.
const repairedDir = "repaired"

// storeSuffixes are the suffixes of the names in warehouse/ that follow the id of a tenant. DuckDB moves the log aside
// during a checkpoint and a replay.
var storeSuffixes = []string{storeSuffix, storeSuffix + ".wal", storeSuffix + ".wal.checkpoint",
	storeSuffix + ".wal.recovery", unpublishedSuffix, erasingSuffix, deletingSuffix}

// checkFolder checks the names, types, modes and owners of everything in the data folder except the published files,
// which are checked tenant by tenant. It finds the tenants that have files.
func (v *verifier) checkFolder() error {
	if err := v.checkRoot(); err != nil {
		return err
	}
	if err := v.checkTop(warehouseDir, false, func(name string) (uuid.UUID, bool) {
		for _, suffix := range storeSuffixes {
			id, err := uuid.Parse(strings.TrimSuffix(name, suffix))
			if !strings.HasSuffix(name, suffix) || err != nil || name != id.String()+suffix {
				continue
			}
			if suffix == storeSuffix {
				v.stores[id] = true
			}
			return id, true
		}
		return uuid.Nil, false
	}); err != nil {
		return err
	}
	if err := v.checkTop(lakeDir, true, func(name string) (uuid.UUID, bool) {
		return canonicalID(strings.TrimPrefix(name, lakeTenant))
	}); err != nil {
		return err
	}
	if err := v.checkTop(filesDir, true, func(name string) (uuid.UUID, bool) {
		if name == replacedDir {
			return uuid.Nil, true
		}
		return canonicalID(name)
	}); err != nil {
		return err
	}
	return v.checkQuarantine()
}

// lakeTenant precedes the id of a tenant in the name of its folder in the lake.
const lakeTenant = "tenant_id="

func canonicalID(text string) (uuid.UUID, bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && id.String() == text
}

// checkRoot checks the root of the data folder and its files.
func (v *verifier) checkRoot() error {
	f := v.w.folder
	info, err := f.root.Stat(".")
	if err != nil {
		return err
	}
	v.owner = info.Sys().(*syscall.Stat_t).Uid
	v.checkAccess(f.path, uuid.Nil, info)
	entries, err := f.readDir(f.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, path := entry.Name(), f.join(entry.Name())
		switch {
		case atomicfile.IsTemp(name), name == lostAndFound:
		case name == socketFile:
			if entry.Type() != fs.ModeSocket {
				v.report(FoundLink, uuid.Nil, path, "it is not a socket")
			}
		case name == repairedDir, name == keptDir:
			v.report(FoundKept, uuid.Nil, path, "it holds files that repairs or restores have replaced")
		case strings.HasPrefix(name, controlFile+".wal."): // DuckDB moves the log aside during a checkpoint and a replay
			v.checkEntry(path, uuid.Nil, false, entry)
		case slices.Contains(folderDirs, name):
			v.checkEntry(path, uuid.Nil, true, entry)
		case slices.Contains(folderFiles, name):
			v.checkEntry(path, uuid.Nil, false, entry)
		default:
			v.report(FoundStray, uuid.Nil, path, "voicory has no file of this name")
		}
	}
	for _, name := range folderDirs {
		if exists, err := f.exists(f.join(name)); err == nil && !exists {
			v.report(FoundMissingFolder, uuid.Nil, f.join(name), "the folder is missing")
		}
	}
	v.checkMark()
	v.checkSigningKey()
	return v.checkJournal()
}

// checkMark checks the mark of the folder.
func (v *verifier) checkMark() {
	switch _, err := v.w.folder.readMark(); {
	case errors.Is(err, fs.ErrNotExist):
		v.report(FoundMark, uuid.Nil, v.w.folder.join(markFile), "the mark of the data folder is missing")
	case err != nil:
		v.report(FoundMark, uuid.Nil, v.w.folder.join(markFile), "the mark of the data folder cannot be read")
	}
}

// checkSigningKey checks the length of the secret.
func (v *verifier) checkSigningKey() {
	path := v.w.folder.join(signingFile)
	secret, err := v.w.folder.readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report(FoundSigningKey, uuid.Nil, path, "the secret is missing")
	case err != nil:
		v.report(FoundSigningKey, uuid.Nil, path, "the secret cannot be read: %v", err)
	case len(secret) != signingBytes:
		v.report(FoundSigningKey, uuid.Nil, path, "the secret has %d bytes instead of %d", len(secret), signingBytes)
	}
}

// checkJournal checks the checksums of the journal, and reads its entries.
func (v *verifier) checkJournal() error {
	path := v.w.folder.join(journalFile)
	file, err := v.w.folder.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is created with the first fact, or was lost: the control database has the keys
	}
	if err != nil {
		v.report(FoundJournal, uuid.Nil, path, "it cannot be opened: %v", err)
		return nil
	}
	defer file.Close()
	var damaged []int
	if v.facts, damaged, err = journal.Read(file); err != nil {
		v.report(FoundJournal, uuid.Nil, path, "it cannot be read: %v", err)
	} else if len(damaged) > 0 {
		v.report(FoundJournal, uuid.Nil, path, "the checksums of lines %s do not match", numbers(damaged))
	}
	return nil
}

// maxNumbers is the maximum number of lines that a finding lists.
const maxNumbers = 10

func numbers(lines []int) string {
	texts := make([]string, 0, maxNumbers+1)
	for i, line := range lines {
		if i == maxNumbers {
			texts = append(texts, fmt.Sprintf("and %d more", len(lines)-i))
			break
		}
		texts = append(texts, fmt.Sprint(line))
	}
	return strings.Join(texts, ", ")
}

// checkTop checks the entries of a folder that contains files or folders of tenants. tenantOf returns the tenant of a
// name, or false for a name that the folder must not have.
func (v *verifier) checkTop(dir string, dirs bool, tenantOf func(string) (uuid.UUID, bool)) error {
	entries, err := v.entries(v.w.folder.join(dir))
	for _, entry := range entries {
		path := filepath.Join(v.w.folder.join(dir), entry.Name())
		if atomicfile.IsTemp(entry.Name()) {
			continue
		}
		id, ok := tenantOf(entry.Name())
		if !ok {
			v.reportStray(uuid.Nil, path, entry)
			continue
		}
		if id != uuid.Nil {
			v.tenants[id] = true
		}
		v.checkEntry(path, id, dirs, entry)
	}
	return err
}

// entries returns the entries of a folder. It returns none if the folder is missing or is not a folder, which is a
// finding about the folder itself.
func (v *verifier) entries(dir string) ([]fs.DirEntry, error) {
	entries, err := v.w.folder.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInvalid) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// reportStray reports an entry that must not be where it is.
func (v *verifier) reportStray(tenant uuid.UUID, path string, entry fs.DirEntry) {
	switch {
	case entry.Type() == fs.ModeSymlink:
		v.report(FoundLink, tenant, path, "it is a symbolic link")
	case !entry.IsDir() && !entry.Type().IsRegular():
		v.report(FoundLink, tenant, path, "it is neither a file nor a folder")
	default:
		v.report(FoundStray, tenant, path, "voicory has no file of this name")
	}
}

// checkEntry checks the type, the mode and the owner of a file or folder. It reports whether the type is right.
func (v *verifier) checkEntry(path string, tenant uuid.UUID, isDir bool, entry fs.DirEntry) bool {
	switch {
	case entry.Type() == fs.ModeSymlink:
		v.report(FoundLink, tenant, path, "it is a symbolic link")
		return false
	case isDir != entry.IsDir() || !isDir && !entry.Type().IsRegular():
		v.report(FoundLink, tenant, path, "it is not a %s", map[bool]string{true: "folder", false: "regular file"}[isDir])
		return false
	}
	info, err := entry.Info()
	if err == nil { // else it was removed meanwhile
		v.checkAccess(path, tenant, info)
	}
	return err == nil
}

// checkAccess checks the mode and the owner of a file or folder.
func (v *verifier) checkAccess(path string, tenant uuid.UUID, info fs.FileInfo) {
	mode, _ := v.w.folder.modeOf(path, info.IsDir())
	if needed := mode & 0o700; !v.w.folder.hasMode(path, info) || info.Mode()&needed&0o500 != needed&0o500 {
		v.report(FoundMode, tenant, path, "its mode is %04o instead of %04o", info.Mode().Perm(), mode)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != v.owner {
		v.report(FoundOwner, tenant, path, "it belongs to user %d, and the data folder to user %d", owner, v.owner)
	}
}

// checkQuarantine checks that every line of the quarantine can be parsed, and that the files have the content that they
// were written with.
func (v *verifier) checkQuarantine() error {
	dir := v.w.folder.join(quarantineDir)
	entries, err := v.entries(dir)
	for _, entry := range entries {
		name, path := entry.Name(), filepath.Join(dir, entry.Name())
		if atomicfile.IsTemp(name) {
			continue
		}
		if !isQuarantineFile(name) {
			v.reportStray(uuid.Nil, path, entry)
			continue
		}
		if v.checkEntry(path, uuid.Nil, false, entry) && v.only == uuid.Nil {
			v.checkQuarantineFile(path, name)
		}
	}
	return err
}

func (v *verifier) checkQuarantineFile(path, name string) {
	var damaged []int
	lines := 0
	for line, err := range v.w.quarantineLines(context.Background(), name) {
		if err != nil {
			v.report(FoundQuarantine, uuid.Nil, path, "it cannot be read: %v", err)
			return
		}
		if lines++; line.damaged {
			damaged = append(damaged, lines)
		}
	}
	if lines == 0 {
		if exists, err := v.w.folder.exists(path); err == nil && !exists {
			return // replayed meanwhile
		}
	}
	if len(damaged) > 0 || lines == 0 {
		v.report(FoundQuarantine, uuid.Nil, path, "%d of %d lines are damaged (%s)", len(damaged), lines, numbers(damaged))
	} else if sum, err := v.w.fileDigest(path); err == nil && !strings.Contains(name, "."+sum+refusedSuffix) {
		v.report(FoundQuarantineEdited, uuid.Nil, path, "its content is not the one it was written with")
	}
}

// A publishedSet holds the published files of a tenant as the file system shows them.
type publishedSet struct {
	lake, names map[string]fs.FileInfo // by path; regular files in lake/ and in published/<tenant>
}

// listPublished checks the names, types, modes and owners of the published files of a tenant, and returns the files
// whose names are of the layout.
func (v *verifier) listPublished(tenant uuid.UUID) (publishedSet, error) {
	set := publishedSet{lake: map[string]fs.FileInfo{}, names: map[string]fs.FileInfo{}}
	lake := filepath.Join(v.w.folder.join(lakeDir), lakeTenant+tenant.String())
	err := v.list(tenant, lake, set.lake, func(path string, isDir bool) bool {
		parts := strings.Split(strings.TrimPrefix(path, lake+"/"), "/")
		export, err := schema.ExportNamed(parts[0])
		if err != nil {
			return false
		}
		parts = parts[1:]
		if export.Source.Monthly && len(parts) > 0 {
			month, ok := strings.CutPrefix(parts[0], "month=")
			if _, err := (partition{month: month}).filter(); !ok || err != nil || month == "" {
				return false
			}
			parts = parts[1:]
		}
		if isDir {
			return len(parts) == 0
		}
		p, ok := partitionOf(v.w.dir, path)
		return ok && len(parts) == 1 && parts[0] == p.fileName(export)
	})
	if err != nil {
		return set, err
	}
	isName := func(path string, isDir bool) bool {
		return !isDir && strings.HasSuffix(strings.TrimSuffix(path, recordSuffix), ".parquet")
	}
	if err := v.list(tenant, v.w.filesPath(tenant), set.names, isName); err != nil {
		return set, err
	}
	return set, v.list(tenant, v.w.replacedPath(tenant), map[string]fs.FileInfo{}, isName)
}

// list checks everything below a folder, and adds the regular files to files. known reports whether the layout has the
// path.
func (v *verifier) list(tenant uuid.UUID, dir string, files map[string]fs.FileInfo,
	known func(path string, isDir bool) bool,
) error {
	entries, err := v.entries(dir)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if atomicfile.IsTemp(entry.Name()) {
			continue
		}
		if !known(path, entry.IsDir()) {
			// A link under a name of the layout is reported as a link.
			v.reportStray(tenant, path, entry)
			continue
		}
		if !v.checkEntry(path, tenant, entry.IsDir(), entry) {
			continue
		}
		if entry.IsDir() {
			if err := v.list(tenant, path, files, known); err != nil {
				return err
			}
		} else if info, err := entry.Info(); err == nil {
			files[path] = info
		}
	}
	return err
}
