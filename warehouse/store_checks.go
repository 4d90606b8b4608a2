package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
)

// CheckStore opens the tenant's store, and returns the error if it cannot be opened.
func (w *Warehouse) CheckStore(ctx context.Context, id uuid.UUID) error {
	_, release, err := w.tenant(ctx, id)
	if err == nil {
		release()
	}
	return err
}

// openStores creates the folder of the stores if it is missing and no store was ever in it. It registers the tenants of
// all files, because earlier versions have created files of tenants that were not registered, and because
// control.duckdb may be restored from an older backup. It records which registered stores are missing, and checks the
// others, see checkStores.
func (w *Warehouse) openStores(ctx context.Context) error {
	if len(w.histories.byTenant) == 0 {
		if err := w.folder.mkdir(w.folder.join(warehouseDir)); err != nil {
			return err
		}
	}
	entries, err := w.storeDir()
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return err
	}
	registered := map[uuid.UUID]bool{}
	for _, t := range tenants {
		registered[t.ID] = true
	}
	present := map[uuid.UUID]bool{}
	var stores []uuid.UUID
	for _, entry := range entries {
		name, isStore := strings.CutSuffix(entry.Name(), storeSuffix)
		id, err := uuid.Parse(name)
		if err != nil || !isStore || w.CheckDeleted(id) != nil {
			continue
		}
		present[id], stores = true, append(stores, id)
		if registered[id] {
			continue
		}
		if err := w.RegisterTenant(ctx, id); err != nil {
			return err
		}
	}
	for _, t := range tenants {
		if present[t.ID] {
			continue
		}
		if _, err := w.storeExists(t.ID); errors.Is(err, ErrUnavailable) {
			w.conditions.setStore(t.ID, err)
		} else if err != nil {
			return err
		}
	}
	return w.checkStores(ctx, stores)
}

// checkStores reads the version and the identity of each store that has changed since this program detached it. It
// returns an ErrInvalid that names a store of a newer version: the whole folder is then of a newer program. Other
// faults become conditions of their tenants. A check takes about 3 ms; stores that a clean stop has left are not
// checked.
func (w *Warehouse) checkStores(ctx context.Context, stores []uuid.UUID) error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, id := range stores {
		info, err := w.folder.root.Lstat(storeFile(id))
		if err != nil {
			continue // removed meanwhile; the next open of the tenant fails
		}
		if w.commits.isDetached(id, info) {
			continue
		}
		group.Go(func() error {
			err := w.checkUnopened(ctx, id)
			switch {
			case errors.Is(err, errNewer):
				return fmt.Errorf("data folder %s: %w", w.dir, err)
			case err == nil:
				return nil
			}
			if err = w.storeError(id, err); errors.Is(err, ErrUnavailable) {
				w.conditions.setStore(id, err)
			}
			if errors.Is(err, ErrIO) {
				w.healing.noteFailedTenant(id, err)
			}
			return nil // memory and space may be there at the next open
		})
	}
	return group.Wait()
}

// checkUnopened attaches a store for reading and checks its version and its identity.
func (w *Warehouse) checkUnopened(ctx context.Context, id uuid.UUID) (err error) {
	if err := w.mendTornBlocks(w.tenantPath(id)); err != nil {
		return err
	}
	db, detach, err := w.attachReadOnly(ctx, "check "+id.String(), w.tenantPath(id))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach()) }()
	version := 0
	if err := db.QueryRowContext(ctx, statements.Get("identity/select_version")).Scan(&version); err != nil {
		return err
	}
	if known := len(statements.Migrations("tenant")); version > known {
		return fmt.Errorf("%w: %s has the schema version %d, and this voicory knows %d; use the newer voicory",
			errNewer, storeFile(id), version, known)
	}
	_, err = w.checkStore(ctx, id, db)
	return err
}

// storeDir returns the entries of the folder of the stores. It returns a ConditionError if the folder is missing.
func (w *Warehouse) storeDir() ([]fs.DirEntry, error) {
	entries, err := w.folder.readDir(w.folder.join(warehouseDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ConditionError{StoreMissing, fmt.Errorf("the folder %s is missing; mount its file system, or run "+
			"`voicory repair`", warehouseDir), warehouseDir}
	}
	return entries, err
}

// checkInPlace returns a ConditionError if the path of an attached store has another file, or none: the process would
// write rows to a file that no later process finds. The store can be used again when the file is back.
func (w *Warehouse) checkInPlace(store *tenantStore) error {
	info, err := w.folder.root.Lstat(storeFile(store.id))
	switch {
	case err == nil && os.SameFile(info, store.file):
		if store.lost.CompareAndSwap(true, false) {
			w.conditions.setStore(store.id, nil)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		err = w.refuse(StoreMissing, store.id, "the file was removed while it was in use")
	case err == nil:
		err = w.refuse(StoreForeign, store.id, "the file was replaced while it was in use")
	default:
		err = w.storeError(store.id, err)
	}
	store.lost.Store(true)
	w.conditions.setStore(store.id, err)
	return err
}

// noteOpened records the outcome of opening the tenant's store as its condition, and returns the error as a
// ConditionError. A lack of memory or space, and a failure of the disk, are conditions of the machine and say nothing
// about the store.
func (w *Warehouse) noteOpened(id uuid.UUID, err error) error {
	if errors.Is(err, ErrIO) {
		w.healing.noteFailedTenant(id, err)
		return err
	}
	if errors.Is(err, ErrNoMemory) || errors.Is(err, ErrNoSpace) {
		return err
	}
	if failure := (*ConditionError)(nil); err != nil && !errors.As(err, &failure) {
		err = &ConditionError{StoreUnreadable, err, storeFile(id)}
	}
	w.conditions.setStore(id, err)
	return err
}

// storeError returns an error of opening the tenant's store as a ConditionError, unless memory, space or the disk is
// its cause.
func (w *Warehouse) storeError(id uuid.UUID, err error) error {
	switch condition := (*ConditionError)(nil); {
	case err == nil, errors.As(err, &condition), errors.Is(err, ErrNoMemory), errors.Is(err, ErrNoSpace),
		errors.Is(err, ErrIO):
		return err
	case errors.Is(err, errNewer):
		return &ConditionError{StoreNewer, err, storeFile(id)}
	}
	return w.refuse(StoreUnreadable, id, "%w", err)
}
