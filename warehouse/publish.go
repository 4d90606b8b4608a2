package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/warehouse/schema"
)

// Published holds the totals of a call of Publish.
type Published struct {
	Files int   `json:"files"` // files written, of all exports
	Rows  int64 `json:"rows"`  // rows written, of datasets only, not of derived exports
}

// A PublishError is the failure to publish a tenant. Its rows are stored, and the next call of Publish tries again.
type PublishError struct {
	Tenant uuid.UUID
	Err    error
}

func (e PublishError) Error() string { return fmt.Sprintf("publish tenant %s: %v", e.Tenant, e.Err) }

// Unwrap returns the cause.
func (e PublishError) Unwrap() error { return e.Err }

// PublishErrors are the failures of a call of Publish, at most one per tenant. The other tenants were published.
type PublishErrors []PublishError

func (e PublishErrors) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns the failures.
func (e PublishErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, failure := range e {
		all[i] = failure
	}
	return all
}

// Publish updates the lake. It rewrites every partition that commits have changed since it was published, and replaces
// each file atomically. An error of one tenant or partition does not stop the others; Publish returns the errors of
// tenants as PublishErrors. The next call publishes the partitions that an error or a crash has left. Publish also
// removes expired replaced files.
func (w *Warehouse) Publish(ctx context.Context) (total Published, err error) {
	tenants, err := w.unpublished()
	if err != nil {
		return total, fmt.Errorf("publish: %w", err)
	}
	published, errs := make([]Published, len(tenants)), make([]error, len(tenants))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, id := range tenants {
		group.Go(func() error {
			published[i], errs[i] = w.PublishTenant(ctx, id)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	if err := w.boundKept(); err != nil {
		w.folder.log.Warn("remove replaced files; the next publishing tries again", "error", err)
	}
	var failures PublishErrors
	for i, p := range published {
		total.add(p)
		if errs[i] != nil {
			failures = append(failures, PublishError{tenants[i], errs[i]})
		}
	}
	if len(failures) > 0 && ctx.Err() == nil {
		return total, failures
	}
	return total, ctx.Err()
}

// PublishTenant publishes one tenant. If it fails, the tenant has the condition PublicationFailing until a later call
// succeeds: its files may lack rows, so they must not be read as if they were complete. The first failure wakes the
// publisher, and Publish tries each tenant with the condition again, even if the failed publication has removed the
// marker of unpublished rows.
func (w *Warehouse) PublishTenant(ctx context.Context, id uuid.UUID) (published Published, err error) {
	start := time.Now()
	complete := false
	published, complete, err = w.publishTenant(ctx, id)
	if errors.Is(err, ErrDamaged) {
		err = w.conditions.noteDamaged(id.String(), err)
	}
	if err == nil || ctx.Err() == nil {
		if w.conditions.set(id, PublicationFailing, "", err) {
			w.wakePublisher()
		}
	}
	switch {
	case complete:
		w.conditions.unpublishedSince(id, time.Time{})
	case err == nil: // commits during the publication are not published
		w.conditions.unpublishedSince(id, start)
	}
	return published, err
}

// UpgradePublished writes again the files of all tenants that an earlier version published in an older format, one
// tenant at a time. It does so once in a data folder: when all tenants are upgraded, it records the format in the mark
// of the folder. Errors of tenants are returned as PublishErrors.
func (w *Warehouse) UpgradePublished(ctx context.Context) (total Published, err error) {
	w.upgrading.Lock()
	defer w.upgrading.Unlock()
	if w.folder.mark.Published >= publishedFormat {
		return total, nil
	}
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return total, fmt.Errorf("upgrade published files: %w", err)
	}
	var failures PublishErrors
	for _, t := range tenants {
		if exists, err := w.storeExists(t.ID); err == nil && !exists {
			continue
		}
		published, err := w.PublishTenant(ctx, t.ID)
		total.add(published)
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		if err != nil {
			failures = append(failures, PublishError{t.ID, err})
		}
	}
	if len(failures) > 0 {
		return total, failures
	}
	w.folder.mark.Published = publishedFormat
	return total, w.folder.writeMark()
}

func (p *Published) add(other Published) {
	p.Files += other.Files
	p.Rows += other.Rows
}

// count adds the files of a partition.
func (p *Published) count(files []PublishedFile) {
	for _, f := range files {
		if f.Rows > 0 {
			p.Files++
		}
		if !schema.MustExport(f.Export).Derived() {
			p.Rows += f.Rows
		}
	}
}

// unpublished returns the ids of the tenants that may have unpublished commits, and notes since when. These have a
// marker file beside their file, or no folder of published files because an earlier version wrote them, or their last
// publication failed. It may have failed after it removed the marker.
func (w *Warehouse) unpublished() (tenants []uuid.UUID, err error) {
	stores, err := w.storeDir()
	if err != nil {
		return nil, err
	}
	folders, err := w.folder.readDir(w.folder.join(filesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // if it is lost, every tenant is published again
		return nil, err
	}
	marked, published := map[string]bool{}, map[string]bool{}
	for _, entry := range stores {
		if name, marker := strings.CutSuffix(entry.Name(), unpublishedSuffix); marker {
			marked[name] = true
		}
	}
	for _, entry := range folders {
		published[entry.Name()] = true
	}
	for _, entry := range stores {
		name, isStore := strings.CutSuffix(entry.Name(), storeSuffix)
		id, err := uuid.Parse(name)
		if !isStore || err != nil || w.CheckDeleted(id) != nil {
			continue
		}
		if marked[name] || !published[name] || w.conditions.of(id, PublicationFailing, "") != nil {
			tenants = append(tenants, id)
			w.conditions.noteUnpublished(id)
		}
	}
	return tenants, nil
}

// publishTenant publishes the pending partitions of a tenant. If none is left, it removes the tenant's marker file and
// returns complete.
func (w *Warehouse) publishTenant(ctx context.Context, id uuid.UUID) (total Published, complete bool, err error) {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return total, false, err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()
	if err := w.folder.mkdir(w.filesPath(id)); err != nil {
		return total, false, err
	}
	if err := w.inspect(ctx, store); err != nil {
		return total, false, err
	}
	pending, err := pendingPartitions(ctx, store.db, publishedFormat)
	if err != nil {
		return total, false, err
	}
	p := publication{w: w, store: store}
	defer func() { err = errors.Join(err, p.removeTemps()) }()
	plan, err := p.plan(ctx, pending)
	if err != nil {
		return total, false, err
	}
	written, failed := p.write(ctx, plan)
	failed = errors.Join(failed, p.install(plan, written))
	files := plan.publishedOf(written)
	if err := store.updateManifest(ctx, plan.months, files); err != nil {
		return total, false, errors.Join(failed, err)
	}
	if len(pending) > 0 {
		w.publicationChanges.note(id)
	}
	for _, written := range files {
		total.count(written)
	}
	current, err := publishedFiles(ctx, store.db)
	if err != nil {
		return total, false, err
	}
	w.clearDamaged(id, files, current)
	if err := errors.Join(failed, w.archiveStale(ctx, store, current)); err != nil {
		return total, false, err
	}

	store.writing.Lock() // prevents a commit between the query and the removal
	defer store.writing.Unlock()
	pending, err = pendingPartitions(ctx, store.db, publishedFormat)
	if err != nil || len(pending) > 0 {
		return total, false, err
	}
	err = w.folder.removeDurable(w.unpublishedPath(id))
	return total, err == nil, err
}
