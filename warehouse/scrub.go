package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// inspect compares the names, types and lengths of the tenant's current files with the manifest, and the names in the
// lake with those in published/, which are links to the same inodes. It reads no file. A file that is missing or wrong
// is marked to be published again.
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
	lake := partition{dataset: export.Source, month: file.Month}.path(w, tenant, export)
	infos := make([]fs.FileInfo, 2)
	for i, path := range []string{path, lake} {
		name, err := w.folder.resolve(path)
		if err != nil {
			return err
		}
		if infos[i], err = w.folder.root.Lstat(name); err != nil {
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

// ScrubTenant reads all current files of the tenant from the disk and compares them with the manifest. It reads at most
// bytesPerSecond, on average. A damaged file becomes a condition of the tenant and is published again.
func (w *Warehouse) ScrubTenant(ctx context.Context, tenant uuid.UUID, bytesPerSecond int64) (bytes int64, err error) {
	if err := w.InspectTenant(ctx, tenant); err != nil {
		return 0, err
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return 0, err
	}
	defer release()
	pace := &pacer{rate: bytesPerSecond}
	err = w.eachFile(ctx, store, func(file PublishedFile) (cause, err error) {
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
	return pace.bytes, err
}
