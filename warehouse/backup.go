package warehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// BackupOptions select what a backup holds and where it is written.
type BackupOptions struct {
	Dest   string    `json:"dest"`      // absolute path of a folder of backups, or of an archive; see package backup
	Tenant uuid.UUID `json:"tenant_id"` // zero: the whole data folder
	Keep   int       `json:"keep"`      // backups of this scope to keep in the folder; 0: all
}

// A BackupReport describes a backup that was written.
type BackupReport struct {
	Name      string               `json:"name"`
	Dest      string               `json:"dest"`
	Tenants   int                  `json:"tenants"`
	Unchanged int                  `json:"unchanged"` // tenants whose store is the same as in an earlier backup
	Files     int                  `json:"files"`
	Bytes     int64                `json:"bytes"`   // of all files
	Removed   []string             `json:"removed"` // older backups
	Failed    map[uuid.UUID]string `json:"failed"`  // tenants that are not in the backup
	// Missing are published files that are missing or damaged, and therefore not in the backup.
	Missing map[string]string `json:"missing"`
}

// noteEvery is the time between two notes of the progress of a backup, which grow with the number of tenants.
const noteEvery = time.Second

// Backup writes a backup of the data folder, or of one tenant. The copy of each tenant is one state of its store.
// Writers of a tenant wait for the checkpoint of its store, but not for the copy. A tenant that cannot be copied is
// named in the report and does not stop the others.
//
// The control database is copied before the stores: the source states in it then never cover rows that the copied
// stores do not have.
func (w *Warehouse) Backup(ctx context.Context, o BackupOptions) (report BackupReport, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("backup to %s: %w", o.Dest, diskError(o.Dest, err))
		}
	}()
	if inside, err := filepath.Rel(w.dir, o.Dest); err == nil && filepath.IsLocal(inside) {
		return report, fmt.Errorf("%w: it is in the data folder; choose a path outside of %s", ErrInvalid, w.dir)
	}
	tenants, err := w.tenantsToCopy(ctx, o.Tenant)
	if err != nil {
		return report, err
	}
	out, err := backup.Create(o.Dest)
	if errors.Is(err, backup.ErrInUse) {
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	m := newManifest(o)
	if m.Files, err = w.copyControl(ctx, out, o.Tenant == uuid.Nil); err != nil {
		return report, err
	}
	report = BackupReport{Name: m.Name, Dest: o.Dest, Removed: []string{}, Failed: map[uuid.UUID]string{},
		Missing: map[string]string{}}
	noted := time.Now()
	for _, id := range tenants {
		copied, unchanged, err := w.copyTenant(ctx, out, id)
		if ctx.Err() != nil || errors.Is(diskError(o.Dest, err), ErrNoSpace) {
			return report, cmp.Or(ctx.Err(), err)
		}
		if err != nil {
			report.Failed[id] = err.Error()
			continue
		}
		m.Tenants = append(m.Tenants, copied)
		maps.Copy(report.Missing, copied.Missing)
		if unchanged {
			report.Unchanged++
			continue
		}
		if time.Since(noted) > noteEvery {
			if err := out.Note(m); err != nil {
				return report, err
			}
			noted = time.Now()
		}
	}
	if o.Tenant == uuid.Nil {
		files, err := w.copyQuarantine(ctx, out)
		if err != nil {
			return report, err
		}
		m.Files = append(m.Files, files...)
	}
	m.Failed, m.EndedAt = report.Failed, time.Now().UTC()
	report.Tenants, report.Files, report.Bytes = len(m.Tenants), len(m.AllFiles()), m.Bytes()
	removed, err := out.Commit(ctx, m, w.journal.All(), o.Keep)
	report.Removed = append(report.Removed, removed...)
	return report, err
}

// tenantsToCopy returns the given tenant, or all tenants with a store, in the order of their ids.
func (w *Warehouse) tenantsToCopy(ctx context.Context, only uuid.UUID) (tenants []uuid.UUID, err error) {
	all, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		exists, err := w.storeExists(t.ID)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		exists = exists || err != nil // copyTenant reports a store that is missing
		if exists && (only == uuid.Nil || only == t.ID) {
			tenants = append(tenants, t.ID)
		}
	}
	if only != uuid.Nil && len(tenants) == 0 {
		return nil, fmt.Errorf("%w: tenant %s has no data here", ErrNotFound, only)
	}
	slices.SortFunc(tenants, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return tenants, nil
}

func newManifest(o BackupOptions) backup.Manifest {
	started := time.Now().UTC()
	m := backup.Manifest{Format: 1, Name: backup.Name(started), StartedAt: started, Engine: duckdb.Version(),
		ControlSchema: len(statements.Migrations("control")), TenantSchema: len(statements.Migrations("tenant"))}
	if o.Tenant != uuid.Nil {
		m.Only = &o.Tenant
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		m.Program = info.Main.Version
	}
	return m
}

// copyControl copies the states of the sources of many tenants. If whole is true, it also copies the control database,
// the mark and the signing secret.
func (w *Warehouse) copyControl(ctx context.Context, out backup.Writer, whole bool) (files []backup.File, err error) {
	states, err := w.copySourceStates(ctx, out)
	if err != nil {
		return nil, fmt.Errorf("copy the states of sources: %w", err)
	}
	if files = []backup.File{states}; !whole {
		return files, nil
	}
	conn, err := w.control.Conn(ctx) // the only one, so that no other statement writes
	if err != nil {
		return nil, err
	}
	db := w.instance.DB("USE control")
	defer db.Close()
	pinned, err := w.pin(ctx, db, "control", w.folder.join(controlFile))
	err = errors.Join(err, conn.Close())
	if err == nil {
		var copied []backup.File
		copied, err = pinned.copy(ctx, out)
		err = errors.Join(err, pinned.release())
		files = append(files, copied...)
	}
	if err != nil {
		return nil, fmt.Errorf("copy the control database: %w", err)
	}
	for _, name := range []string{markFile, signingFile} {
		file, err := w.copyFile(ctx, out, w.folder.join(name), "", false)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// copyQuarantine copies the quarantine. Files that are removed meanwhile are left out.
func (w *Warehouse) copyQuarantine(ctx context.Context, out backup.Writer) (files []backup.File, err error) {
	infos, err := w.quarantined()
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		file, err := w.copyFile(ctx, out, filepath.Join(w.dir, quarantineDir, info.Name()), "", false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// copyFile copies a file that does not change while it is copied.
func (w *Warehouse) copyFile(
	ctx context.Context, out backup.Writer, path, sum string, immutable bool,
) (file backup.File, err error) {
	in, err := w.folder.open(path)
	if err != nil {
		return file, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return file, err
	}
	if !info.Mode().IsRegular() {
		return file, wrongType(path, info.Mode(), "regular file")
	}
	return out.Add(ctx, backup.Content{
		Path: w.nameOf(path), File: in, Size: info.Size(), SHA256: sum, Immutable: immutable,
	})
}

// nameOf returns the path of a file below the data folder, with slashes.
func (w *Warehouse) nameOf(path string) string {
	return filepath.ToSlash(strings.TrimPrefix(path, w.dir+string(filepath.Separator)))
}

// copyTenant copies the store of a tenant and its published files. unchanged means that an earlier backup has a copy of
// the same state, which is used again.
func (w *Warehouse) copyTenant(ctx context.Context, out backup.Writer, id uuid.UUID) (
	copied backup.Tenant, unchanged bool, err error,
) {
	if copied, unchanged = w.unchangedTenant(out, id); unchanged {
		return copied, true, nil
	}
	if exists, err := w.storeExists(id); err != nil || !exists {
		return copied, false, cmp.Or(err, fmt.Errorf("%w: tenant %s has no store", ErrNotFound, id))
	}
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return copied, false, err
	}
	defer release()
	pinned, err := w.pinTenant(ctx, store)
	if err != nil {
		return copied, false, fmt.Errorf("copy tenant %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, pinned.release()) }()
	if earlier, ok := out.Previous(id, pinned.state()); ok {
		earlier.CopiedAt = pinned.at
		return earlier, true, nil
	}
	copied = backup.Tenant{ID: id, History: pinned.history, State: pinned.state(), CopiedAt: pinned.at,
		Missing: map[string]string{}}
	if err := pinned.tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&copied.Seq); err != nil {
		return copied, false, err
	}
	files, err := publishedFiles(ctx, pinned.tx)
	if err != nil {
		return copied, false, err
	}
	if copied.Files, err = pinned.copy(ctx, out); err != nil {
		return copied, false, err
	}
	for _, f := range files {
		if err := w.copyPublished(ctx, out, f, &copied); err != nil {
			return copied, false, err
		}
	}
	return copied, false, nil
}

// copyPublished adds a published file, under its name in published/ and its name in the lake, to the copy of a tenant.
func (w *Warehouse) copyPublished(
	ctx context.Context, out backup.Writer, f PublishedFile, copied *backup.Tenant,
) error {
	name := w.nameOf(filepath.Join(w.filesPath(copied.ID), f.Name))
	file, err := backup.File{Path: name, Size: f.Bytes, SHA256: f.SHA256}, error(nil)
	if !out.Has(f.SHA256, f.Bytes) {
		// The order matters: a publication may move the file from the first folder to the second between the two attempts.
		for _, dir := range []string{w.filesPath(copied.ID), w.replacedPath(copied.ID)} {
			file, err = w.copyFile(ctx, out, filepath.Join(dir, f.Name), f.SHA256, true)
			if !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
	}
	var changed *backup.ChangedError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A restore publishes an evicted file again from the store.
		if evicted, failed := w.isEvicted(copied.ID, f.Name); !evicted {
			copied.Missing[name] = "it is missing"
			return failed
		}
		return nil
	case errors.As(err, &changed), errors.Is(err, ErrInvalid):
		copied.Missing[name] = err.Error()
		return nil
	case err != nil:
		return err
	}
	file.Path = name
	inLake := file
	inLake.Path = w.nameOf(f.partition().path(w, copied.ID, schema.MustExport(f.Export)))
	inLake.Link = name
	copied.Files = append(copied.Files, file, inLake)
	return nil
}

// unchangedTenant returns the earlier copy of a tenant that is not attached, if its file has not changed since.
func (w *Warehouse) unchangedTenant(out backup.Writer, id uuid.UUID) (backup.Tenant, bool) {
	path := w.tenantPath(id)
	before, err := fileState(path)
	if err != nil {
		return backup.Tenant{}, false
	}
	if exists, err := w.folder.exists(path + ".wal"); err != nil || exists {
		return backup.Tenant{}, false
	}
	earlier, ok := out.Latest(id)
	stat, _, _ := strings.Cut(earlier.State, "/")
	// A change within the same tick of the file system's clock as the copy would not change the times.
	quiet := before.changed.Before(earlier.CopiedAt.Add(-time.Second))
	after, err := fileState(path)
	return earlier, ok && quiet && err == nil && before.text == stat && after.text == stat
}

// storeState identifies a state of a file by its inode, size and times.
type storeState struct {
	text    string
	changed time.Time // time of the last change of the content
}

func fileState(path string) (s storeState, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return s, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	s.changed = info.ModTime()
	s.text = fmt.Sprintf("%d:%d:%d", stat.Ino, info.Size(), info.ModTime().UnixNano())
	return s, nil
}
