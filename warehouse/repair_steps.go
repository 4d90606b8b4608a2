package warehouse

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/journal"
)

// A repairStep repairs the findings of a kind.
type repairStep struct {
	action       string // what it does
	perTenant    bool   // it repairs all such findings of a tenant
	needsOpen    bool   // the databases must be open
	needsOffline bool   // no process may have the databases open
	do           func(ctx context.Context, r *repairer, f Finding) (done string, err error)
}

var repairSteps map[FindingKind]repairStep

func init() { // the steps use functions that use the map
	rebuild := repairStep{action: "rebuild the store from its readable rows and from the published files",
		perTenant: true, needsOpen: true, do: rebuildStore}
	publish := repairStep{action: "publish the partition again", needsOpen: true, do: markStale}
	repairSteps = map[FindingKind]repairStep{
		FoundLink:             {action: "move the entry aside", do: repairLink},
		FoundStray:            {action: "move the entry aside", do: moveAside},
		FoundMode:             {action: "set the mode", do: repairMode},
		FoundMissingFolder:    {action: "create the folder", do: repairFolder},
		FoundMark:             {action: "write the mark again", do: repairMark},
		FoundSigningKey:       {action: "create a new secret", do: repairSigningKey},
		FoundJournal:          {action: "remove the damaged lines", needsOffline: true, do: repairJournal},
		FoundControl:          {action: "build the control database again", needsOffline: true, do: rebuildControl},
		FoundControlWAL:       {action: "cut the log at its last sound transaction", needsOffline: true, do: cutControlWAL},
		FoundKeysDiffer:       {action: "make the keys of the control database and of the journal agree", do: mergeKeys},
		FoundInterrupted:      {action: "complete the blocks", needsOffline: true, do: mendInterrupted},
		FoundUnfinished:       {action: "complete the erasure", perTenant: true, needsOpen: true, do: finishErasures},
		FoundUnregistered:     {action: "register the tenant", needsOpen: true, do: registerTenant},
		FoundStoreMissing:     rebuild,
		FoundStoreDamaged:     rebuild,
		FoundStoreForeign:     rebuild,
		FoundStoreBehind:      rebuild,
		FoundDuplicates:       rebuild,
		FoundDeletedRows:      rebuild,
		FoundSequence:         rebuild,
		FoundWAL:              {action: "cut the log at its last sound transaction", do: cutStoreWAL},
		FoundPublishedMissing: publish,
		FoundPublishedDamaged: publish,
		FoundDifference:       publish,
		FoundQuarantine:       {action: "move the file aside, and keep its sound lines", do: repairQuarantine},
	}
}

// Repairable reports whether Repair has a step for the finding.
func (f Finding) Repairable() bool {
	_, ok := repairSteps[f.Kind]
	return ok
}

func (r *repairer) path(f Finding) string { return r.w.folder.join(f.File) }

func moveAside(_ context.Context, r *repairer, f Finding) (string, error) {
	return "moved to " + filepath.Join(r.kept, f.File), r.move(r.path(f))
}

// repairLink moves an entry of a wrong type aside. If it is a link to a file, and the name is not one of a published
// file, the content of that file takes its place: a store that was moved to another disk is not lost.
func repairLink(ctx context.Context, r *repairer, f Finding) (string, error) {
	path := r.path(f)
	part, _, _ := strings.Cut(f.File, "/")
	if f.File == warehouseDir || f.File == quarantineDir {
		return "", errors.New("move the folder that it names to its place, or mount the folder there")
	}
	target, err := os.Open(path) // follows the link
	if err != nil || part == lakeDir || part == filesDir {
		if err == nil {
			_ = target.Close() // it was not read
		}
		return moveAside(ctx, r, f)
	}
	defer target.Close()
	if info, err := target.Stat(); err != nil || !info.Mode().IsRegular() {
		return moveAside(ctx, r, f)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if err := r.move(path); err != nil {
		return "", err
	}
	copied := func(in io.Reader, to string) error {
		return r.w.folder.writeAtomic(to, func(temp string) error { return r.w.folder.copyFile(in, temp) })
	}
	log, err := os.Open(real + ".wal") // DuckDB writes it beside the target of a link
	if err == nil && filepath.Ext(path) == storeSuffix {
		err = copied(log, path+".wal")
		err = errors.Join(err, log.Close())
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return "copied the file that the link names", errors.Join(err, copied(target, path))
}

// repairMode sets the mode of a file or folder.
func repairMode(_ context.Context, r *repairer, f Finding) (string, error) {
	folder := r.w.folder
	name, err := folder.resolve(r.path(f))
	if err != nil {
		return "", err
	}
	info, err := folder.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "removed meanwhile", nil
	}
	if err != nil {
		return "", err
	}
	mode, _ := folder.modeOf(r.path(f), info.IsDir())
	return fmt.Sprintf("set to %04o", mode), folder.root.Chmod(name, mode|info.Mode()&fs.ModeSetgid)
}

// repairFolder creates a folder, unless it is the folder of the stores: that may be a file system that is not mounted.
func repairFolder(_ context.Context, r *repairer, f Finding) (string, error) {
	if f.File == warehouseDir {
		return "", fmt.Errorf("mount its file system; if the stores are lost, create the folder with "+
			"`mkdir -m 700 %s` and repair again", r.path(f))
	}
	return "created", r.w.folder.mkdir(r.path(f))
}

func repairMark(_ context.Context, r *repairer, f Finding) (string, error) {
	err := r.move(r.path(f))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	r.w.folder.mark.Published = 0 // unknown
	return "written, with the lake mode " + string(r.w.folder.mark.LakeMode), errors.Join(err, r.w.folder.writeMark())
}

func repairSigningKey(_ context.Context, r *repairer, f Finding) (string, error) {
	if err := r.move(r.path(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !r.offline {
		secret := r.w.signing
		return "written again from memory", r.w.folder.writeAtomic(r.path(f),
			func(temp string) error { return r.w.folder.writeFile(temp, secret) })
	}
	_, err := r.w.folder.loadSigningSecret()
	return "a new secret was created: cursors and signed URLs of before are invalid", err
}

// repairJournal writes the journal again without its damaged lines.
func repairJournal(_ context.Context, r *repairer, f Finding) (string, error) {
	path := r.path(f)
	text, err := r.w.folder.readFile(path)
	if err != nil {
		return "", err
	}
	if err := r.copyAside(path); err != nil {
		return "", err
	}
	sound, damaged := journal.Clean(text)
	return fmt.Sprintf("removed %d damaged lines; facts that the control database does not have are lost", damaged),
		r.w.folder.writeAtomic(path, func(temp string) error { return r.w.folder.writeFile(temp, sound) })
}

// rebuildControl moves the control database aside. Open makes a new one, and restores the keys from the journal.
func rebuildControl(_ context.Context, r *repairer, _ Finding) (string, error) {
	path := r.w.folder.join(controlFile)
	for _, part := range []string{path, path + ".wal"} {
		if err := r.move(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "moved aside; a new one is made from the journal and the stores: the request log, the last runs of sources " +
		"and facts that the journal lacks are lost", nil
}

func cutControlWAL(_ context.Context, r *repairer, _ Finding) (string, error) {
	done, _, err := r.cutWAL(r.w.folder.join(controlFile))
	return done, err
}

func cutStoreWAL(ctx context.Context, r *repairer, f Finding) (done string, err error) {
	cut := func() (err error) {
		var lost bool
		done, lost, err = r.cutWAL(r.w.tenantPath(f.Tenant.UUID))
		r.behind[f.Tenant.UUID] = r.behind[f.Tenant.UUID] || lost
		return err
	}
	if r.offline {
		err = cut()
	} else {
		err = r.w.withDetached(ctx, f.Tenant.UUID, cut)
	}
	return done, err
}

// cutWAL copies the log of a database aside and truncates it behind its last sound commit. If the log has no damage of
// its own, or no sound commit, it is moved aside. lost reports whether transactions may be lost. None is lost if the
// rest of the log has only zeros, which a power cut can leave.
func (r *repairer) cutWAL(path string) (done string, lost bool, err error) {
	wal, err := r.w.readWAL(path)
	if err != nil {
		return "", false, err
	}
	if wal.Fault == "" || wal.Commits == 0 {
		return fmt.Sprintf("moved the log aside: its %d bytes are lost, and sources have to bring the rows again", wal.Bytes),
			true, r.move(path + ".wal")
	}
	if err := r.copyAside(path + ".wal"); err != nil {
		return "", false, err
	}
	name, err := r.w.folder.resolve(path + ".wal")
	if err != nil {
		return "", false, err
	}
	file, err := r.w.folder.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", false, err
	}
	rest, err := io.ReadAll(io.NewSectionReader(file, wal.Good, wal.Bytes-wal.Good))
	done = fmt.Sprintf("kept %d transactions and removed zeros behind them", wal.Commits)
	if lost = len(bytes.Trim(rest, "\x00")) > 0; lost {
		done = fmt.Sprintf("kept %d transactions; the %d bytes behind them are lost, and sources have to bring the rows "+
			"again", wal.Commits, len(rest))
	}
	return done, lost, errors.Join(err, file.Truncate(wal.Good), file.Sync(), file.Close())
}

// mendInterrupted completes the blocks that an interrupted checkpoint has left half-written.
func mendInterrupted(_ context.Context, r *repairer, f Finding) (string, error) {
	return "completed; no row is lost", r.w.mendTornBlocks(r.path(f))
}

// mergeKeys makes the keys of the control database and of the journal agree. If the folder is not open yet, mergeKeys
// does nothing, because Open makes them agree later.
func mergeKeys(ctx context.Context, r *repairer, _ Finding) (done string, err error) {
	if !r.offline {
		err = r.w.UseJournal(ctx, r.w.journal)
	}
	return "they agree; a revocation that one of them had is in both", err
}

func finishErasures(ctx context.Context, r *repairer, _ Finding) (string, error) {
	return "completed, unless a finding of it remains", r.w.FinishErasures(ctx)
}

func registerTenant(ctx context.Context, r *repairer, f Finding) (string, error) {
	return "registered", r.w.RegisterTenant(ctx, f.Tenant.UUID)
}

// repairQuarantine moves a damaged file aside and writes its sound lines to a new one.
func repairQuarantine(ctx context.Context, r *repairer, f Finding) (string, error) {
	r.w.refused.replaying.Lock()
	defer r.w.refused.replaying.Unlock()
	var sound bytes.Buffer
	lines, damaged := 0, 0
	for line, err := range r.w.quarantineLines(ctx, filepath.Base(f.File)) {
		if err != nil {
			return "", err
		}
		if line.damaged {
			damaged++
		} else {
			lines++
			sound.Write(line.text)
		}
	}
	// The damaged file is moved first, because the file of its sound lines may get the same name.
	if err := r.move(r.path(f)); err != nil {
		return "", err
	}
	if sound.Len() > 0 {
		if err := r.w.writeRefused(sound.Bytes(), originOf(filepath.Base(f.File))); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("moved aside; %d sound lines are in the quarantine, and %d damaged ones only in the copy", lines,
		damaged), nil
}

// markStale marks the partition of a finding as unpublished. The partition is published at the end of the round.
func markStale(ctx context.Context, r *repairer, f Finding) (string, error) {
	r.publish[f.Tenant.UUID] = struct{}{}
	if f.Kind == FoundPublishedDamaged { // publishing replaces it
		if err := r.copyAside(r.path(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "published again", r.w.markStale(ctx, f.Tenant.UUID, f.partition)
}

// markStale marks partitions of a tenant as unpublished, so that the next publication writes them again.
func (w *Warehouse) markStale(ctx context.Context, tenant uuid.UUID, partitions ...partition) error {
	names := make([]string, len(partitions))
	for i, p := range partitions {
		names[i] = p.name()
	}
	keys, err := json.Marshal(names)
	if err != nil {
		return err
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()
	if err := w.folder.writeFile(w.unpublishedPath(tenant), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := w.folder.sync(w.folder.join(warehouseDir)); err != nil {
		return err
	}
	for _, p := range partitions { // else the days of a month would be compared by their rows in the store
		if _, err := store.db.ExecContext(ctx, statements.Get("lake/outdate_partition"), sql.Named("dataset", p.dataset.Name),
			sql.Named("month", p.month), sql.Named("day", p.day)); err != nil {
			return err
		}
	}
	// A crash may lose this transaction without harm: the next verification then finds the partitions again.
	_, err = store.db.ExecContext(ctx, strings.ReplaceAll(statements.Get("lake/mark_stale"), "$keys",
		statements.Text(string(keys))))
	return err
}
