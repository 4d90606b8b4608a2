package warehouse

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/journal"
)

// RestoreOptions select a backup.
type RestoreOptions struct {
	Source string    `json:"source"`    // absolute path of a folder of backups, or of an archive
	At     string    `json:"at"`        // name of a backup, or a time; see backup.Select
	Tenant uuid.UUID `json:"tenant_id"` // zero: the whole data folder
}

// A RestoreReport describes a restore.
type RestoreReport struct {
	Backup   string      `json:"backup"`
	BackupAt time.Time   `json:"backup_at"`
	Tenants  []uuid.UUID `json:"tenants"` // tenants that were restored
	Deleted  []uuid.UUID `json:"deleted"` // tenants of the backup that were deleted since, and are not restored
	// Unrestored are tenants of the data folder that the backup does not have. The restore does not change them.
	Unrestored []uuid.UUID `json:"unrestored"`
	Kept       string      `json:"kept"` // folder with the replaced files; "": no file was replaced
}

// RestoreFolder restores the backup of a whole data folder into a folder that no process has open, which is created if
// it is missing. Files that are replaced are kept. It returns the open warehouse, whose stale partitions are not
// published yet.
func RestoreFolder(ctx context.Context, opts Options, o RestoreOptions) (
	w *Warehouse, report RestoreReport, err error,
) {
	source, m, err := o.open(ctx)
	if err != nil {
		return nil, report, err
	}
	defer func() { _ = source.Close() }() // it was only read
	opts.MustExist = false
	if opts.LakeMode == "" {
		if opts.LakeMode, err = lakeModeOf(ctx, source, m, opts.Dir); err != nil {
			return nil, report, err
		}
	}
	if report, err = restoreFolder(ctx, opts, o, source, m); err != nil {
		return nil, report, fmt.Errorf("restore %s: %w", o.Source, err)
	}
	w, err = Open(ctx, opts)
	return w, report, err
}

func restoreFolder(ctx context.Context, opts Options, o RestoreOptions, source backup.Source, m backup.Manifest) (
	report RestoreReport, err error,
) {
	setUmask()
	folder, err := openFolder(opts)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, folder.close()) }()
	if err := folder.take(); err != nil {
		return report, err
	}
	facts, err := folder.openJournal()
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, facts.Close()) }()
	r := restore{folder: folder, journal: facts, source: source, options: o, manifest: m}
	plan, err := r.prepare(ctx)
	if err == nil {
		err = r.commit(plan)
	}
	if err == nil {
		err = folder.swap(plan)
	}
	return r.report, err
}

// RestoreTenant restores one tenant from a backup. Requests of the tenant wait meanwhile; other tenants are not
// affected. It returns ErrBusy if exports or queries of the tenant do not end in time.
func (w *Warehouse) RestoreTenant(ctx context.Context, o RestoreOptions) (report RestoreReport, err error) {
	source, m, err := o.open(ctx)
	if err != nil {
		return report, err
	}
	defer func() { _ = source.Close() }() // it was only read
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore tenant %s from %s: %w", o.Tenant, o.Source, err)
		}
	}()
	w.restoring.Lock()
	defer w.restoring.Unlock()
	r := restore{folder: w.folder, journal: w.journal, source: source, options: o, manifest: m}
	plan, err := r.prepare(ctx)
	if err != nil {
		return r.report, err
	}
	if err := w.RegisterTenant(ctx, o.Tenant); err != nil {
		return r.report, err
	}
	ctx, release := w.tenants.reserve(ctx, o.Tenant)
	defer release()
	err = w.withDetached(ctx, o.Tenant, func() error {
		if err := r.commit(plan); err != nil {
			return err
		}
		return w.folder.swap(plan)
	})
	if err != nil {
		return r.report, err
	}
	return r.report, w.finishRestore(context.WithoutCancel(ctx), plan)
}

// open opens the backups and selects one. It returns ErrInvalid if a newer program has written the backup.
func (o RestoreOptions) open(ctx context.Context) (_ backup.Source, m backup.Manifest, err error) {
	source, err := backup.Open(ctx, o.Source)
	if err != nil {
		return nil, m, err
	}
	m, err = backup.Select(source, o.At, o.Tenant)
	for kind, version := range map[string]int{"control": m.ControlSchema, "tenant": m.TenantSchema} {
		if known := len(statements.Migrations(kind)); err == nil && version > known {
			err = fmt.Errorf("%w: backup %s was written by a newer version (%s schema %d, this binary knows %d); "+
				"upgrade voicory", ErrInvalid, m.Name, kind, version, known)
		}
	}
	if err != nil {
		return nil, m, errors.Join(err, source.Close())
	}
	return source, m, nil
}

// lakeModeOf returns the lake mode of the backup if dir is not a data folder yet, and otherwise "".
func lakeModeOf(ctx context.Context, source backup.Source, m backup.Manifest, dir string) (LakeMode, error) {
	if _, err := os.Lstat(filepath.Join(dir, markFile)); err == nil {
		return "", nil
	}
	for _, file := range m.Files {
		if file.Path != markFile {
			continue
		}
		var text bytes.Buffer
		create := func(backup.File) (io.WriteCloser, error) { return nopCloser{&text}, nil }
		if err := source.Extract(ctx, []backup.File{file}, create); err != nil {
			return "", err
		}
		var mark folderMark
		if err := json.Unmarshal(text.Bytes(), &mark); err != nil {
			return "", fmt.Errorf("%w: %s of backup %s: %w", ErrInvalid, markFile, m.Name, err)
		}
		return mark.LakeMode, nil
	}
	return "", nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// A restore is a restore that is being prepared.
type restore struct {
	folder   *dataFolder
	journal  *journal.Journal
	source   backup.Source
	options  RestoreOptions
	manifest backup.Manifest
	report   RestoreReport
}

// prepare writes the files of the backup into the staging folder and verifies them. It changes nothing else.
func (r *restore) prepare(ctx context.Context) (plan *restorePlan, err error) {
	plan = &restorePlan{Name: backup.Name(time.Now()), Source: r.options.Source, Backup: r.manifest.Name,
		BackupAt: r.manifest.StartedAt, Whole: r.options.Tenant == uuid.Nil}
	r.report = RestoreReport{Backup: plan.Backup, BackupAt: plan.BackupAt, Tenants: []uuid.UUID{},
		Deleted: []uuid.UUID{}, Unrestored: []uuid.UUID{}}
	staging := plan.staging()
	defer func() {
		if err != nil {
			err = errors.Join(diskError(r.folder.path, err), r.folder.root.RemoveAll(staging))
		}
	}()
	files, err := r.selectFiles(plan)
	if err != nil {
		return nil, err
	}
	all := files
	if plan.Whole { // a damaged backup is refused, even if the damaged file is not needed
		all = r.manifest.AllFiles()
	}
	needed := map[string]bool{}
	for _, f := range files {
		needed[f.Path] = true
	}
	create := func(f backup.File) (io.WriteCloser, error) {
		if !needed[f.Path] {
			return nopCloser{io.Discard}, nil
		}
		return r.folder.createStaged(plan, f.Path)
	}
	if err := r.source.Extract(ctx, all, create); err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.Link == "" {
			continue
		}
		if err := r.folder.linkStaged(plan, f.Link, f.Path); err != nil {
			return nil, err
		}
	}
	for _, t := range plan.Tenants { // the publisher compares the lake with the store
		marker, err := r.folder.createStaged(plan, filepath.Join(warehouseDir, t.ID.String()+unpublishedSuffix))
		if err = errors.Join(err, marker.Close()); err != nil {
			return nil, err
		}
	}
	if r.options.Tenant != uuid.Nil {
		if plan.Lagging, err = r.readStates(plan); err != nil {
			return nil, err
		}
	}
	return plan, r.folder.syncTree(r.folder.join(plan.staging()))
}

// selectFiles returns the files of the backup to restore, and adds the tenants and the moves to the plan.
func (r *restore) selectFiles(plan *restorePlan) (files []backup.File, err error) {
	deleted, err := r.deletedTenants()
	if err != nil {
		return nil, err
	}
	if r.options.Tenant == uuid.Nil {
		if files, err = r.controlFiles(plan); err != nil {
			return nil, err
		}
	} else {
		for _, f := range r.manifest.Files {
			if f.Path == sourceStatesFile {
				files = append(files, f)
			}
		}
	}
	for _, t := range r.manifest.Tenants {
		switch {
		case r.options.Tenant != uuid.Nil && t.ID != r.options.Tenant:
			continue
		case deleted[t.ID] && r.options.Tenant != uuid.Nil:
			return nil, fmt.Errorf("%w: tenant %s was deleted after the backup, and a deleted tenant stays deleted",
				ErrInvalid, t.ID)
		case deleted[t.ID]:
			r.report.Deleted = append(r.report.Deleted, t.ID)
			continue
		}
		names := []string{filepath.Join(warehouseDir, t.ID.String()+unpublishedSuffix)}
		for _, f := range t.Files {
			names = append(names, f.Path)
		}
		moves := movesOf(t.ID, names)
		for _, f := range t.Files {
			if !within(moves, f.Path) {
				return nil, fmt.Errorf("%w: backup %s has the file %s, which is not one of tenant %s",
					ErrInvalid, r.manifest.Name, f.Path, t.ID)
			}
		}
		files = append(files, t.Files...)
		plan.Moves = append(plan.Moves, moves...)
		plan.Tenants = append(plan.Tenants, restoredTenant{t.ID, t.Seq})
		r.report.Tenants = append(r.report.Tenants, t.ID)
	}
	for _, move := range plan.Moves {
		exists, err := r.folder.exists(r.folder.join(move.Path))
		if err != nil {
			return nil, err
		}
		if exists {
			r.report.Kept = filepath.Join(r.folder.path, plan.kept())
		}
	}
	return files, r.listUnrestored(deleted)
}

// within reports whether the path is one of the moves, or below one.
func within(moves []restoreMove, path string) bool {
	for _, move := range moves {
		if in, err := filepath.Rel(move.Path, path); err == nil && filepath.IsLocal(in) {
			return true
		}
	}
	return false
}

// controlFiles returns the files of no tenant. The signing secret and the quarantine of the data folder stay: only
// missing files are restored.
func (r *restore) controlFiles(plan *restorePlan) (files []backup.File, err error) {
	for _, f := range r.manifest.Files {
		inControl := f.Path == controlFile || f.Path == controlFile+".wal"
		switch {
		case inControl:
		case f.Path == signingFile, filepath.Dir(f.Path) == quarantineDir:
			exists, err := r.folder.exists(r.folder.join(f.Path))
			if err != nil {
				return nil, err
			}
			if exists {
				continue
			}
		default:
			continue
		}
		files = append(files, f)
		if !inControl {
			plan.Moves = append(plan.Moves, restoreMove{f.Path, true})
		}
	}
	for _, name := range []string{controlFile, controlFile + ".wal", controlFile + ".wal.checkpoint",
		controlFile + ".wal.recovery"} {
		isNew := false
		for _, f := range files {
			isNew = isNew || f.Path == name
		}
		plan.Moves = append(plan.Moves, restoreMove{name, isNew})
	}
	return files, nil
}

// listUnrestored reports the tenants of the data folder that the restore of a whole folder leaves as they are.
func (r *restore) listUnrestored(deleted map[uuid.UUID]bool) error {
	if r.options.Tenant != uuid.Nil {
		return nil
	}
	entries, err := r.folder.readDir(r.folder.join(warehouseDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, isStore := strings.CutSuffix(entry.Name(), storeSuffix)
		id, err := uuid.Parse(name)
		if err != nil || !isStore || deleted[id] {
			continue
		}
		if _, ok := r.manifest.Tenant(id); !ok {
			r.report.Unrestored = append(r.report.Unrestored, id)
		}
	}
	return nil
}

// deletedTenants returns the tenants that the journals of the data folder and of the backups list as deleted.
func (r *restore) deletedTenants() (map[uuid.UUID]bool, error) {
	entries, _, err := r.source.Journal()
	if err != nil {
		return nil, err
	}
	deleted := map[uuid.UUID]bool{}
	for _, entry := range append(r.journal.All(), entries...) {
		if entry.Kind != journal.TenantDeleted {
			continue
		}
		var d deletion
		if err := entry.Decode(&d); err != nil {
			return nil, err
		}
		deleted[d.Tenant] = true
	}
	return deleted, nil
}

// commit makes the restore final: it adds the journal beside the backups to the journal of the data folder, and writes
// the plan. The next start completes it if this process does not.
func (r *restore) commit(plan *restorePlan) error {
	entries, damaged, err := r.source.Journal()
	if err != nil {
		return err
	}
	if len(damaged) > 0 {
		r.folder.log.Error("the journal beside the backups is damaged; the entries of these lines are lost",
			"source", r.options.Source, "lines", damaged)
	}
	known := map[string]bool{} // histories are facts of this data folder, if it has them
	for _, entry := range r.journal.Entries(journal.History) {
		known[entryTenant(entry)] = true
	}
	var added []journal.Entry
	for _, entry := range entries {
		if restores(entry, r.options.Tenant) && (entry.Kind != journal.History || !known[entryTenant(entry)]) {
			added = append(added, entry)
		}
	}
	if err := r.journal.Append(added...); err != nil {
		return err
	}
	return r.folder.writePlan(*plan)
}

// restores reports whether the restore of a tenant, or of all tenants if it is zero, applies an entry. Entries that
// forbid something are applied for all tenants. The restore of one tenant registers no other tenant, and no key of one.
func restores(entry journal.Entry, tenant uuid.UUID) bool {
	switch entry.Kind {
	case journal.KeyRevoked, journal.TenantDeleted, journal.Erased:
		return true
	default:
		return tenant == uuid.Nil || entryTenant(entry) == tenant.String()
	}
}

// entryTenant returns the id of the tenant that an entry names, or "".
func entryTenant(entry journal.Entry) string {
	var data struct {
		Tenant string `json:"tenant"`
		KeyOf  string `json:"tenant_id"` // of a key
	}
	_ = entry.Decode(&data) // an entry without a tenant is one of no tenant
	return cmp.Or(data.Tenant, data.KeyOf)
}

// A stagedFile is a file in the staging folder. Close syncs it.
type stagedFile struct{ *os.File }

func (f stagedFile) Close() error {
	if f.File == nil {
		return nil
	}
	return errors.Join(f.Sync(), f.File.Close())
}

// createStaged creates a file in the staging folder of a plan.
func (f *dataFolder) createStaged(plan *restorePlan, path string) (stagedFile, error) {
	staged := f.join(filepath.Join(plan.staging(), path))
	if err := f.mkdir(filepath.Dir(staged)); err != nil {
		return stagedFile{}, err
	}
	name, err := f.resolve(staged)
	if err != nil {
		return stagedFile{}, err
	}
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, privateFile)
	return stagedFile{file}, err
}

// linkStaged creates a hard link to a file in the staging folder.
func (f *dataFolder) linkStaged(plan *restorePlan, path, link string) error {
	staged := f.join(filepath.Join(plan.staging(), link))
	if err := f.mkdir(filepath.Dir(staged)); err != nil {
		return err
	}
	to, err := f.resolve(staged)
	if err != nil {
		return err
	}
	return f.root.Link(filepath.Join(plan.staging(), filepath.Clean(path)), to)
}

// syncTree syncs a folder and the folders below it.
func (f *dataFolder) syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return f.sync(path)
	})
}
