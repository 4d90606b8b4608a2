package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A CachedDatabase is a cached file of [Warehouse.WriteDatabase].
type CachedDatabase struct {
	Database
	SHA256 string // digest of the content, 64 hexadecimal digits
	Bytes  int64  // size of the file

	path     string
	lastUsed time.Time
}

// A duckdbExportCache holds the newest files of each tenant, at most maxCachedDatabases, until they have not been
// used for keptReplaced. The files are in the temporary folder.
type duckdbExportCache struct {
	mu     sync.Mutex                      // guards files and builds; held while a build is admitted
	files  map[uuid.UUID][]*CachedDatabase // by tenant, newest last
	builds map[uuid.UUID]*exportBuild      // by tenant
}

// An exportBuild is a file that is being written.
type exportBuild struct {
	waiting int           // number of callers that wait, guarded by duckdbExportCache.mu
	done    chan struct{} // closed when file and err are set
	cancel  func()
	file    *CachedDatabase
	err     error
}

const maxCachedDatabases = 2

// OpenDatabase returns the cached file with the SHA-256 sum, or else a file with the newest commit of the tenant. If
// neither exists, it builds one. Concurrent callers share a build, which is cancelled when the last of them gives up.
// admit is called before a build starts, and the function that it returns after the build has ended. The caller
// closes content. The content stays readable if the file is removed from the cache.
func (w *Warehouse) OpenDatabase(
	ctx context.Context, tenant uuid.UUID, sum string, admit func() (release func(), err error),
) (file CachedDatabase, content *os.File, err error) {
	seq, err := w.lastSeq(ctx, tenant)
	if err != nil {
		return file, nil, err
	}
	d := &w.exportCache
	for {
		file, content, b, err := w.findOrJoin(ctx, tenant, seq, sum, nil)
		if b == nil && content == nil && err == nil {
			// admit may wait, and the file of another caller may be there when it returns.
			var release func()
			if release, err = admit(); err == nil {
				file, content, b, err = w.findOrJoin(ctx, tenant, seq, sum, release)
			}
		}
		if content != nil {
			if err = w.fileVerifier.verify(content, file.Bytes, file.SHA256); err == nil {
				return file, content, nil
			}
			w.folder.log.Error("remove a damaged DuckDB export; it is built again", "tenant", tenant, "error", err)
			if err = errors.Join(content.Close(), d.remove(w.folder, tenant, file.path)); err == nil {
				continue
			}
		}
		if err != nil {
			return file, nil, err
		}
		if err := d.wait(ctx, tenant, b); err != nil {
			return file, nil, err
		}
		// The build may have started before the commit seq. Then find does not return its file, and a new build starts.
	}
}

// findOrJoin opens the cached file that a caller asks for, or joins the build under way. If there is neither, it starts
// a build if release is not nil. release is called when the build ends, or at once if none is started.
func (w *Warehouse) findOrJoin(
	ctx context.Context, tenant uuid.UUID, seq int64, sum string, release func(),
) (file CachedDatabase, content *os.File, b *exportBuild, err error) {
	d := &w.exportCache
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.find(tenant, seq, sum)
	if kept != nil {
		content, err = w.folder.openRegular(kept.path)
		if err != nil { // tmp/ was emptied, or the name has another kind of entry: the file can be built again
			if !errors.Is(err, fs.ErrNotExist) {
				w.folder.log.Error("give up a kept DuckDB export; it is built again", "tenant", tenant, "error", err)
			}
			d.forget(tenant, kept.path)
			kept, err = nil, w.folder.root.RemoveAll(w.nameOf(kept.path))
		}
	}
	if kept != nil {
		kept.lastUsed = time.Now()
		file = *kept
	} else if b = d.builds[tenant]; b != nil {
		b.waiting++
	} else if release != nil {
		return file, nil, w.startBuild(ctx, tenant, release), nil
	}
	if release != nil {
		release()
	}
	return file, content, b, err
}

// lastSeq returns the sequence number of the tenant's last commit.
func (w *Warehouse) lastSeq(ctx context.Context, tenant uuid.UUID) (seq int64, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return 0, err
	}
	defer release()
	return seq, store.db.QueryRowContext(ctx, "SELECT seq FROM clock").Scan(&seq)
}

// find returns the cached file with the sum, or else the newest file if it contains the commit seq, or nil. The
// caller holds mu.
func (d *duckdbExportCache) find(tenant uuid.UUID, seq int64, sum string) *CachedDatabase {
	files := d.files[tenant]
	if i := slices.IndexFunc(files, func(f *CachedDatabase) bool { return f.SHA256 == sum }); i >= 0 {
		return files[i]
	}
	if len(files) > 0 && files[len(files)-1].Seq >= seq {
		return files[len(files)-1]
	}
	return nil
}

// forget removes the entry of a file. The caller holds mu.
func (d *duckdbExportCache) forget(tenant uuid.UUID, path string) {
	d.files[tenant] = slices.DeleteFunc(d.files[tenant], func(f *CachedDatabase) bool { return f.path == path })
}

// remove removes a file from the cache.
func (d *duckdbExportCache) remove(folder *dataFolder, tenant uuid.UUID, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(tenant, path)
	return folder.removeIfThere(path)
}

// startBuild starts to write a file, and calls release when that ends. The caller holds mu.
func (w *Warehouse) startBuild(ctx context.Context, tenant uuid.UUID, release func()) *exportBuild {
	d := &w.exportCache
	// The build has a context of its own, because the caller that started it may give up before the others.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &exportBuild{waiting: 1, done: make(chan struct{}), cancel: cancel}
	d.builds[tenant] = b
	go func() {
		defer close(b.done)
		defer cancel()
		defer release()
		b.file, b.err = w.buildExport(ctx, tenant)
		d.end(tenant, b)
		if b.err == nil {
			b.err = w.boundKept()
		}
	}()
	return b
}

// end ends a build, and adds its file unless it failed.
func (d *duckdbExportCache) end(tenant uuid.UUID, b *exportBuild) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.builds[tenant] == b {
		delete(d.builds, tenant)
	}
	if b.err == nil {
		d.files[tenant] = append(d.files[tenant], b.file)
	}
}

// forgetAll removes the files with these paths from the cache. The caller holds mu.
func (d *duckdbExportCache) forgetAll(removed map[string]bool) {
	for tenant, files := range d.files {
		files = slices.DeleteFunc(files, func(f *CachedDatabase) bool { return removed[f.path] })
		if d.files[tenant] = files; len(files) == 0 {
			delete(d.files, tenant)
		}
	}
}

// wait waits until the build is done. If ctx is done before that, wait returns its cause. The last caller to give up
// cancels the build and waits until it has ended.
func (d *duckdbExportCache) wait(ctx context.Context, tenant uuid.UUID, b *exportBuild) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	b.waiting--
	last := b.waiting == 0
	if last && d.builds[tenant] == b {
		delete(d.builds, tenant) // a cancelled build must not be joined
	}
	d.mu.Unlock()
	if last {
		b.cancel()
		<-b.done
	}
	return context.Cause(ctx)
}

// buildExport writes a file under a new name in the temporary folder, and computes its digest.
func (w *Warehouse) buildExport(ctx context.Context, tenant uuid.UUID) (_ *CachedDatabase, err error) {
	file := &CachedDatabase{path: filepath.Join(w.TempDir(), uuid.NewString()+".duckdb"), lastUsed: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.folder.removeIfThere(file.path))
		}
	}()
	if err := w.folder.mkdir(w.TempDir()); err != nil {
		return nil, err
	}
	if err := w.folder.forDuckDB(file.path); err != nil {
		return nil, err
	}
	if file.Database, err = w.WriteDatabase(ctx, tenant, file.path); err != nil {
		return nil, err
	}
	in, err := w.folder.open(file.path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	sum := sha256.New()
	if file.Bytes, err = io.Copy(sum, in); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.path, err)
	}
	file.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return file, nil
}

// removeUnused removes files that were not used for keptReplaced, and all but the newest maxCachedDatabases of each
// tenant. The caller holds mu.
func (d *duckdbExportCache) removeUnused(folder *dataFolder, now time.Time) error {
	var errs []error
	for tenant, files := range d.files {
		var kept []*CachedDatabase
		for i, f := range files {
			if len(files)-i <= maxCachedDatabases && now.Sub(f.lastUsed) < keptReplaced {
				kept = append(kept, f)
			} else {
				errs = append(errs, folder.removeIfThere(f.path))
			}
		}
		if d.files[tenant] = kept; len(kept) == 0 {
			delete(d.files, tenant)
		}
	}
	return errors.Join(errs...)
}
