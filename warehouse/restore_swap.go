package warehouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/atomicfile"
)

// # Swap of a restore
//
// A restore first writes all files of the backup into a staging folder within the data folder, and verifies them there.
// Nothing else has changed until then; the next start removes the staging folder of a restore that was killed.
//
// Then it writes the file restore.json, the plan. From this moment on the restore is completed, by the process that
// began it or by the next start: each path of the plan moves from the data folder to the folder of kept files, and from
// the staging folder to its place. A path that is no longer in the staging folder is done. The last step is to finish
// the restored tenants, which needs open databases; see finishRestore.

const (
	restoreFile = "restore.json"
	// keptDir is the folder of the files that restores have replaced. Each restore has a folder in it.
	keptDir = "before-restore"
)

// A restorePlan is the content of restore.json.
type restorePlan struct {
	Name     string           `json:"name"`      // of the restore, made of its time
	Source   string           `json:"source"`    // path of the backups
	Backup   string           `json:"backup"`    // name of the backup
	BackupAt time.Time        `json:"backup_at"` // start of the backup
	Moves    []restoreMove    `json:"moves"`     // empty when all are done
	Tenants  []restoredTenant `json:"tenants"`   // tenants to finish
	Whole    bool             `json:"whole"`     // the control database is restored, too
	// Lagging are the states of the sources of many tenants at the time of the backup, if the control database was not
	// restored: these sources have read rows that the restored tenants have lost.
	Lagging []laggingSource `json:"lagging,omitempty"`
}

// A restoreMove is a path of the data folder that a restore replaces.
type restoreMove struct {
	Path string `json:"path"`
	// New means that the staging folder holds a replacement. Otherwise the path is only moved away.
	New bool `json:"new"`
}

// A restoredTenant is a tenant whose store was replaced.
type restoredTenant struct {
	ID  uuid.UUID `json:"id"`
	Seq int64     `json:"seq"` // last commit of the backup
}

func (p restorePlan) staging() string { return ".restore." + p.Name + atomicfile.Mark }

func (p restorePlan) kept() string { return filepath.Join(keptDir, p.Name) }

// readPlan returns the plan of a restore that is not complete, or nil.
func (f *dataFolder) readPlan() (*restorePlan, error) {
	text, err := f.readFile(f.join(restoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var plan restorePlan
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, fmt.Errorf("%w: %s is damaged: %w; run `voicory restore` again after you have moved it away",
			ErrInvalid, restoreFile, err)
	}
	for _, move := range plan.Moves {
		if !filepath.IsLocal(move.Path) {
			return nil, fmt.Errorf("%w: %s names the path %q", ErrInvalid, restoreFile, move.Path)
		}
	}
	return &plan, nil
}

// writePlan writes the plan.
func (f *dataFolder) writePlan(plan restorePlan) error {
	text, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		return err
	}
	return f.writeFileAtomic(f.join(restoreFile), append(text, '\n'))
}

// swap makes the moves of a plan, and stores the plan again without moves, so that it can be called again after a
// crash. The databases that it moves must not be attached.
func (f *dataFolder) swap(plan *restorePlan) error {
	if len(plan.Moves) == 0 {
		return nil
	}
	dirs := map[string]bool{} // folders that are changed
	for _, move := range plan.Moves {
		if err := f.clearPath(plan, move, dirs); err != nil {
			return err
		}
		if err := f.placeStaged(plan, move, dirs); err != nil {
			return err
		}
	}
	for dir := range dirs {
		if exists, err := f.exists(dir); err == nil && exists {
			if err := f.sync(dir); err != nil {
				return err
			}
		}
	}
	plan.Moves = nil
	if err := f.writePlan(*plan); err != nil {
		return err
	}
	return f.root.RemoveAll(plan.staging())
}

func (f *dataFolder) moveTo(from, to string, dirs map[string]bool) error {
	if err := f.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	dirs[filepath.Dir(from)], dirs[filepath.Dir(to)] = true, true
	return f.rename(from, to)
}

// clearPath moves the present file or folder of a move to the folder of kept files, unless it was moved before.
func (f *dataFolder) clearPath(plan *restorePlan, move restoreMove, dirs map[string]bool) error {
	if move.New {
		// Without a staged replacement the move is done, and the present file is the new one.
		if waiting, err := f.exists(f.join(filepath.Join(plan.staging(), move.Path))); err != nil || !waiting {
			return err
		}
	}
	target, kept := f.join(move.Path), f.join(filepath.Join(plan.kept(), move.Path))
	if present, err := f.exists(target); err != nil || !present {
		return err
	}
	if done, err := f.exists(kept); err != nil || done {
		return err
	}
	return f.moveTo(target, kept, dirs)
}

// placeStaged moves the staged replacement of a move to its place, unless that is done.
func (f *dataFolder) placeStaged(plan *restorePlan, move restoreMove, dirs map[string]bool) error {
	if !move.New {
		return nil
	}
	target, staged := f.join(move.Path), f.join(filepath.Join(plan.staging(), move.Path))
	if waiting, err := f.exists(staged); err != nil || !waiting {
		return err
	}
	if err := f.moveTo(staged, target, dirs); err != nil {
		return err
	}
	return f.setModes(target)
}

// setModes gives a path and everything below it the modes of the layout.
func (f *dataFolder) setModes(path string) error {
	changed := 0 // is not logged: the modes of a restore are new
	return filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return f.setMode(path, entry.IsDir(), &changed)
	})
}

// resumeSwap completes the moves of a restore that was killed. The caller has locked the folder and opened no database.
func (f *dataFolder) resumeSwap() error {
	plan, err := f.readPlan()
	if err != nil || plan == nil {
		return err
	}
	if len(plan.Moves) > 0 {
		f.log.Warn("a restore was interrupted; it is completed now", "from", plan.Source, "backup", plan.Backup)
	}
	return f.swap(plan)
}

// movesOf returns the moves that replace the files of a tenant by the staged ones. names are the staged paths.
func movesOf(id uuid.UUID, names []string) (moves []restoreMove) {
	store := filepath.Join(warehouseDir, id.String()+storeSuffix)
	dirs := []string{filepath.Join(filesDir, id.String()), filepath.Join(lakeDir, "tenant_id="+id.String())}
	paths := append([]string{store, store + ".wal", store + ".wal.checkpoint", store + ".wal.recovery",
		filepath.Join(warehouseDir, id.String()+unpublishedSuffix),
		filepath.Join(filesDir, replacedDir, id.String())}, dirs...)
	for _, path := range paths {
		isNew := slices.ContainsFunc(names, func(name string) bool {
			in, err := filepath.Rel(path, name)
			return err == nil && filepath.IsLocal(in)
		})
		moves = append(moves, restoreMove{path, isNew})
	}
	return moves
}
