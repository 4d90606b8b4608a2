package warehouse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// inspect compares the names, types and lengths of the tenant's current files with the manifest. The names in the lake
// must be links to the inodes of published/. It reads no file. A file that is missing or wrong is marked to be
// published again. An evicted file needs no name.
func (w *Warehouse) inspect(ctx context.Context, store *tenantStore) error {
	return w.eachFile(ctx, store, func(file PublishedFile) (cause, err error) {
		return w.inspectFile(store.id, file), nil
	})
}

// eachFile calls check for each current file of the tenant, and reports the file as damaged if check returns a cause.
func (w *Warehouse) eachFile(
	ctx context.Context, store *tenantStore, check func(PublishedFile) (cause, err error),
) error {
	files, err := publishedFiles(ctx, store.db)
	if err != nil {
		return err
	}
	for _, file := range files {
		cause, err := check(file)
		if err == nil && cause != nil {
			_, err = w.reportDamaged(ctx, store, file, cause)
		}
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
	}
	return nil
}

// inspectFile compares the type and the length of a current file, and its inode with that of the name in the lake. It
// returns the difference, if there is one.
func (w *Warehouse) inspectFile(tenant uuid.UUID, file PublishedFile) error {
	export := schema.MustExport(file.Export)
	path := filepath.Join(w.filesPath(tenant), file.Name)
	lake := file.partition().path(w, tenant, export)
	infos := make([]fs.FileInfo, 2)
	for i, path := range []string{path, lake} {
		name, err := w.folder.resolve(path)
		if err != nil {
			return err
		}
		infos[i], err = w.folder.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			if evicted, _ := w.isEvicted(tenant, file.Name); evicted && i == 0 {
				return nil
			} else if evicted {
				infos[i], err = infos[0], nil
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !infos[0].Mode().IsRegular():
		return wrongType(path, infos[0].Mode(), "regular file")
	case infos[0].Size() != file.Bytes:
		return fmt.Errorf("%s has %d bytes and not %d", path, infos[0].Size(), file.Bytes)
	case !os.SameFile(infos[0], infos[1]):
		return fmt.Errorf("%s and %s are not links to one file", path, lake)
	}
	return nil
}

// InspectTenant attaches the tenant and inspects its published files, so that everything that can be seen without
// reading whole files becomes a condition of the tenant.
func (w *Warehouse) InspectTenant(ctx context.Context, tenant uuid.UUID) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.publishing.Lock() // a publication changes the names before the manifest
	defer store.publishing.Unlock()
	return w.inspect(ctx, store)
}

// ScrubTenant reads all current files of the tenant from the disk and compares them with the manifest, and the blocks
// of its store with their checksums. It reads at most bytesPerSecond, on average. Damage becomes a condition of the
// tenant, and a damaged file is published again.
func (w *Warehouse) ScrubTenant(ctx context.Context, tenant uuid.UUID, bytesPerSecond int64) error {
	if err := w.InspectTenant(ctx, tenant); err != nil {
		return err
	}
	pace := &pacer{rate: bytesPerSecond}
	if _, err := w.checkBlocks(ctx, tenant, pace); err != nil {
		return err
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	return w.eachFile(ctx, store, func(file PublishedFile) (cause, err error) {
		path := filepath.Join(w.filesPath(tenant), file.Name)
		content, err := w.folder.openRegular(path)
		if err != nil {
			return nil, nil // replaced since the inspection, which has reported other causes
		}
		defer content.Close()
		info, err := content.Stat()
		if err != nil {
			return err, nil
		}
		dropCache(content) // so that the bytes come from the disk
		all := io.NewSectionReader(content, 0, info.Size())
		digest, err := w.fileVerifier.compute(content, info, pacedReader{ctx, all, pace})
		dropCache(content)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("read %s: %w", path, err), nil
		case digest != file.SHA256:
			return fmt.Errorf("%s has the SHA-256 %s and not %s", path, digest, file.SHA256), nil
		}
		return nil, nil
	})
}

// scrubRate is the rate at which Scrub reads files, in bytes per second. It is a twentieth of the time of a core.
const scrubRate = 32 << 20

// Scrub scrubs the control database and inspects the files of all tenants at once. Then it scrubs the control database
// and each tenant once in every period, until ctx is done.
// The times of the tenants are spread over the period by their ids and by the clock, so they need no record and a
// restart does not begin again: a tenant is missed in a period only if the process does not run at its time. A period
// of 0 ends after the inspection. A tenant that cannot be opened has a condition, and the others are scrubbed.
func (w *Warehouse) Scrub(ctx context.Context, every time.Duration) {
	scrubControl := func() {
		if _, err := w.checkBlocks(ctx, uuid.Nil, &pacer{rate: scrubRate}); err != nil && ctx.Err() == nil {
			w.folder.log.Error("scrub the control database", "error", err)
		}
	}
	scrubControl() // every key depends on it
	w.forTenants(ctx, "inspect published files", func(control.Tenant) bool { return true }, w.InspectTenant)
	if every <= 0 {
		return
	}
	for last := time.Now(); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(every, time.Minute)): // new tenants are found meanwhile
		}
		now := time.Now()
		due := func(tenant control.Tenant) bool { return !scrubAfter(tenant.ID, every, last).After(now) }
		w.forTenants(ctx, "scrub published files", due, func(ctx context.Context, id uuid.UUID) error {
			return w.ScrubTenant(ctx, id, scrubRate)
		})
		if !scrubAfter(uuid.Nil, every, last).After(now) {
			scrubControl()
		}
		last = now
	}
}

// scrubAfter returns the first time after last at which the tenant is to be scrubbed.
func scrubAfter(tenant uuid.UUID, every time.Duration, last time.Time) time.Time {
	phase := time.Duration(binary.BigEndian.Uint64(tenant[8:])>>1) ^ time.Duration(binary.BigEndian.Uint64(tenant[:8])>>1)
	since := time.Duration(last.UnixNano())
	return last.Add(every - (since%every-phase%every+every)%every)
}

// forTenants calls do for each selected tenant that has a store. Errors are logged, except those that are conditions.
func (w *Warehouse) forTenants(
	ctx context.Context, what string, selected func(control.Tenant) bool, do func(context.Context, uuid.UUID) error,
) {
	tenants, err := w.Tenants(ctx)
	for _, tenant := range tenants {
		if ctx.Err() != nil {
			return
		}
		exists := false
		if err == nil && selected(tenant) {
			exists, err = w.storeExists(tenant.ID)
		}
		if err == nil && exists {
			err = do(ctx, tenant.ID)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
			w.folder.log.Error(what, "tenant", tenant.ID, "error", err)
		}
		err = nil
	}
	if err != nil && ctx.Err() == nil {
		w.folder.log.Error(what, "error", err)
	}
}
