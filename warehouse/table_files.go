package warehouse

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"
)

// A TableFile is a published file as a part of its table's history.
type TableFile struct {
	PublishedFile
	PublishedAt time.Time // time of the publication that added the file to the table
	ReplacedAt  time.Time // time of the publication that removed it; zero: the file is current
	Gone        bool      // the file was replaced, and its content has been removed
}

// TableKept is the time for which a snapshot of a table can be read after the next publication has replaced it.
const TableKept = keptReplaced

// TableFiles returns the files of a tenant's export, with those that were replaced in the last hour, in the order of
// their publication. Times of publications are unique within a tenant. It returns ErrUnpublished like PublishedFiles.
func (w *Warehouse) TableFiles(ctx context.Context, tenant uuid.UUID, export string) (files []TableFile, err error) {
	if err := w.conditions.of(tenant, PublicationFailing, ""); err != nil {
		return nil, fmt.Errorf("table %s of tenant %s: %w: %w", export, tenant, ErrUnpublished, err)
	}
	all, err := w.manifest(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("files of table %s: %w", export, err)
	}
	for _, f := range all {
		if f.Export != export {
			continue
		}
		if !f.ReplacedAt.IsZero() {
			if f.Gone, err = w.gone(tenant, f.Name); err != nil {
				return nil, err
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// A TableCommit identifies the last commit of a store. If two of them are equal, the store has not changed in between.
type TableCommit struct{ commit commitID }

// TableCommit returns the last commit of the tenant's store. A following call of TableFiles reads the state after this
// commit or a later one.
func (w *Warehouse) TableCommit(tenant uuid.UUID) TableCommit {
	return TableCommit{w.commits.of(tenant)}
}

// A TableTenant is a tenant with the last commit of its store.
type TableTenant struct {
	ID     uuid.UUID
	Commit TableCommit
	// Failing reports whether the tables of the tenant are known to be unavailable or to lack rows. TableFiles then
	// returns the error, or finds that the condition has ended.
	Failing bool
}

// A TenantError is the failure to read the tables of one tenant.
type TenantError struct {
	Tenant uuid.UUID
	Err    error
}

func (e *TenantError) Error() string { return fmt.Sprintf("tenant %s: %v", e.Tenant, e.Err) }

// Unwrap returns the cause.
func (e *TenantError) Unwrap() error { return e.Err }

// TableTenants returns all tenants with their last commits. A following call of TableFiles reads the state after the
// tenant's commit or a later one.
func (w *Warehouse) TableTenants(ctx context.Context) ([]TableTenant, error) {
	known, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	failing := w.conditions.withoutTables()
	tenants := make([]TableTenant, 0, len(known))
	for _, t := range known {
		if w.CheckDeleted(t.ID) == nil {
			tenants = append(tenants, TableTenant{t.ID, w.TableCommit(t.ID), failing[t.ID]})
		}
	}
	return tenants, nil
}

// gone reports whether neither folder of published files has a file of the name or, if evicted files can be fetched,
// its record.
func (w *Warehouse) gone(tenant uuid.UUID, name string) (bool, error) {
	for _, dir := range w.PublishedDirs(tenant) { // in the order in which files move
		if exists, err := w.folder.exists(filepath.Join(dir, name)); exists || err != nil {
			return false, err
		}
	}
	if w.lakeCache != nil {
		evicted, err := w.isEvicted(tenant, name)
		return !evicted, err
	}
	return true, nil
}
