package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// KeptDatabase is a file of [Warehouse.WriteDatabase] that is kept for whoever asks next. Its sum stands for its content.
type CachedDatabase struct {
	Database
	SHA256 string // 64 hexadecimal digits
	Bytes  int64

	path     string
	lastUsed time.Time // last
}

// databases are the files that are kept: of each tenant the newest and the one before, until they were not used for keptReplaced. They
// lie in the folder for what only this process needs.
type duckdbExportCache struct {
	mu     sync.Mutex
	files  map[uuid.UUID][]*CachedDatabase // newest last
	builds map[uuid.UUID]*exportBuild
}

// building is a file that is being written for some who wait.
type exportBuild struct {
	waiting int           // guarded by databases.mu
	done    chan struct{} // closed when file and err are set
	cancel  func()
	file    *CachedDatabase
	err     error
}

const maxCachedDatabases = 2

// OpenDatabase opens the file of a tenant's exports, of the newest state, or the one with the sum where that is kept. It is written only
// where the newest state has none, and once for all who ask meanwhile; it is given up when all of these have left. admit is asked before
// that, and what it returns is called after. The caller closes content, which stays whole whatever is removed.
func (w *Warehouse) OpenDatabase(ctx context.Context, tenant uuid.UUID, sum string, admit func() (leave func(), err error)) (file CachedDatabase, content *os.File, err error) {
	seq, err := w.lastSeq(ctx, tenant)
	if err != nil {
		return file, nil, err
	}
	d := &w.exportCache
	for {
		d.mu.Lock()
		if kept := d.find(tenant, seq, sum); kept != nil {
			kept.lastUsed = time.Now()
			file = *kept
			content, err = w.folder.open(kept.path)
			d.mu.Unlock()
			return file, content, err
		}
		b, err := w.joinBuild(ctx, tenant, admit)
		d.mu.Unlock()
		if err != nil {
			return file, nil, err
		}
		if err := d.wait(ctx, tenant, b); err != nil {
			return file, nil, err
		}
		// What others have begun may be of a commit before seq: then once more.
	}
}

// commitOf is the number of the tenant's last commit.
func (w *Warehouse) lastSeq(ctx context.Context, tenant uuid.UUID) (seq int64, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return 0, err
	}
	defer release()
	return seq, store.db.QueryRowContext(ctx, "SELECT seq FROM clock").Scan(&seq)
}

// find is the kept file with the sum, else one that has the commit.
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

// join waits for the file that is being written, or has it begun. The caller holds mu.
func (w *Warehouse) joinBuild(ctx context.Context, tenant uuid.UUID, admit func() (leave func(), err error)) (*exportBuild, error) {
	d := &w.exportCache
	if b := d.builds[tenant]; b != nil {
		b.waiting++
		return b, nil
	}
	leave, err := admit()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // whoever began it may leave before the others
	b := &exportBuild{waiting: 1, done: make(chan struct{}), cancel: cancel}
	d.builds[tenant] = b
	go func() {
		defer close(b.done)
		defer cancel()
		defer leave()
		b.file, b.err = w.buildExport(ctx, tenant)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.builds[tenant] == b {
			delete(d.builds, tenant)
		}
		if b.err == nil {
			d.files[tenant] = append(d.files[tenant], b.file)
			b.err = d.removeUnused(w.folder, time.Now())
		}
	}()
	return b, nil
}

// wait waits until the file is there. The last who leaves has it given up, and waits for the end of that.
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
		delete(d.builds, tenant) // nobody is to join it any more
	}
	d.mu.Unlock()
	if last {
		b.cancel()
		<-b.done
	}
	return context.Cause(ctx)
}

// keepable writes a file, under a name of its own, and sums it up.
func (w *Warehouse) buildExport(ctx context.Context, tenant uuid.UUID) (_ *CachedDatabase, err error) {
	file := &CachedDatabase{path: filepath.Join(w.TempDir(), uuid.NewString()+".duckdb"), lastUsed: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.folder.removeIfThere(file.path))
		}
	}()
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

// removeUnused removes files that nobody has used for long, and those that are too many. The caller holds mu.
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
