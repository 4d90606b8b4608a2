package warehouse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
)

// Published says what Publish wrote.
type Published struct {
	Files int   `json:"files"` // of all exports
	Rows  int64 `json:"rows"`  // of the datasets, not counting what is made of them
}

// Publish brings the lake up to date: every file that a commit has touched since it was last written is written anew,
// whole, and takes its name in one step. A tenant or file that cannot be published keeps no other from it. What a crash
// interrupts is published by the next call. Replaced files whose time is up are removed.
func (w *Warehouse) Publish(ctx context.Context) (total Published, err error) {
	tenants, err := w.unpublished()
	if err != nil {
		return total, fmt.Errorf("publish: %w", err)
	}
	published, failed := make([]Published, len(tenants)), make([]error, len(tenants))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range tenants {
		group.Go(func() error {
			id, err := uuid.Parse(name)
			if err != nil {
				failed[i] = fmt.Errorf("publish: %s names no tenant: %w", name, err)
			} else if published[i], err = w.publishTenant(ctx, id); err != nil {
				failed[i] = fmt.Errorf("publish tenant %s: %w", id, w.diagnose(err))
			}
			return nil
		})
	}
	_ = group.Wait() // each has its error in failed
	for _, p := range published {
		total.add(p)
	}
	return total, errors.Join(append(failed, w.removeReplaced())...)
}

func (p *Published) add(other Published) {
	p.Files += other.Files
	p.Rows += other.Rows
}

// count adds the files of an edition, of which the first is the dataset's.
func (p *Published) count(files []PublishedFile) {
	for i, f := range files {
		if f.Rows > 0 {
			p.Files++
		}
		if i == 0 {
			p.Rows += f.Rows
		}
	}
}

// unpublished names the tenants that a note says to be looked at, and those that have no folder for their published files yet:
// they are of a version that made none.
func (w *Warehouse) unpublished() (names []string, err error) {
	entries, err := w.folder.readDir(w.folder.join(warehouseDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if name, noted := strings.CutSuffix(entry.Name(), unpublishedSuffix); noted && !slices.Contains(names, name) {
			names = append(names, name)
		}
		name, file := strings.CutSuffix(entry.Name(), ".duckdb")
		if id, err := uuid.Parse(name); file && err == nil && !slices.Contains(names, name) {
			published, err := w.folder.exists(w.filesPath(id))
			if err != nil {
				return nil, err
			}
			if !published {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// edition is what has to be written anew of a dataset and a month, because of commits up to seq: the dataset's file, and
// those of the exports that are made of it.
type edition struct {
	dataset Dataset
	month   string // YYYY-MM in UTC; "" for a dataset of one file
	seq     int64
	asOf    time.Time // every commit before is in it
}

// name is what the edition is listed under: calls/2026-04, customers/.
func (e edition) name() string { return e.dataset.Name + "/" + e.month }

func (w *Warehouse) publishTenant(ctx context.Context, id uuid.UUID) (total Published, err error) {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return total, err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()
	if err := w.folder.mkdir(w.filesPath(id)); err != nil {
		return total, err
	}
	editions, err := pendingEditions(ctx, store.db)
	if err != nil {
		return total, err
	}
	// A month fits few row groups, so that one alone does not keep every core busy.
	var group errgroup.Group
	files, failed := make([][]PublishedFile, len(editions)), make([]error, len(editions))
	for i, e := range editions {
		group.Go(func() error {
			files[i], failed[i] = w.publishInTurn(ctx, store, e)
			return nil
		})
	}
	_ = group.Wait() // each has its error in failed
	err = w.folder.sync(w.filesPath(id))
	if err == nil {
		err = store.note(ctx, editions, files)
	}
	if err != nil {
		return total, errors.Join(append(failed, err)...)
	}
	for _, of := range files {
		total.count(of)
	}
	if err := errors.Join(append(failed, w.retire(ctx, store))...); err != nil {
		return total, err
	}

	store.writing.Lock() // no commit may come between the look and the removal
	defer store.writing.Unlock()
	editions, err = pendingEditions(ctx, store.db)
	if err != nil || len(editions) > 0 {
		return total, err
	}
	return total, w.folder.removeDurable(w.unpublishedPath(id))
}

// publishInTurn publishes an edition while no more than there are cores are; one for which memory does not suffice, alone and with
// fewer rows at a time.
func (w *Warehouse) publishInTurn(ctx context.Context, store *tenantStore, e edition) (files []PublishedFile, err error) {
	all := int64(runtime.GOMAXPROCS(0))
	for _, try := range []struct {
		places   int64
		rowGroup int
	}{{1, parquetRowGroup}, {all, parquetSmallRowGroup}} {
		if err := w.publishing.Acquire(ctx, try.places); err != nil {
			return nil, err
		}
		files, err = w.publishEdition(ctx, store, e, try.rowGroup)
		w.publishing.Release(try.places)
		if !isOutOfMemory(err) {
			break
		}
	}
	return files, err
}

func pendingEditions(ctx context.Context, db querier) ([]edition, error) {
	rows, err := db.QueryContext(ctx, statements.Get("lake/select_unpublished"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var editions []edition
	for rows.Next() {
		var e edition
		var name string
		if err := rows.Scan(&name, &e.month, &e.seq, &e.asOf); err != nil {
			return nil, err
		}
		if e.dataset, err = DatasetNamed(name); err != nil {
			return nil, err
		}
		editions = append(editions, e)
	}
	return editions, rows.Err()
}
