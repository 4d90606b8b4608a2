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
type KeptDatabase struct {
	Database
	SHA256 string // 64 hexadecimal digits
	Bytes  int64

	path string
	used time.Time // last
}

// databases are the files that are kept: of each tenant the newest and the one before, until they were not used for keptReplaced. They
// lie in the folder for what only this process needs.
type databases struct {
	mu       sync.Mutex
	kept     map[uuid.UUID][]*KeptDatabase // newest last
	building map[uuid.UUID]*building
}

// building is a file that is being written for some who wait.
type building struct {
	waiting int           // guarded by databases.mu
	done    chan struct{} // closed when file and err are set
	cancel  func()
	file    *KeptDatabase
	err     error
}

const keptDatabases = 2

// OpenDatabase opens the file of a tenant's exports, of the newest state, or the one with the sum where that is kept. It is written only
// where the newest state has none, and once for all who ask meanwhile; it is given up when all of these have left. admit is asked before
// that, and what it returns is called after. The caller closes content, which stays whole whatever is removed.
func (w *Warehouse) OpenDatabase(ctx context.Context, tenant uuid.UUID, sum string, admit func() (leave func(), err error)) (file KeptDatabase, content *os.File, err error) {
	seq, err := w.commitOf(ctx, tenant)
	if err != nil {
		return file, nil, err
	}
	d := &w.databases
	for {
		d.mu.Lock()
		if kept := d.find(tenant, seq, sum); kept != nil {
			kept.used = time.Now()
			file = *kept
			content, err = os.Open(kept.path)
			d.mu.Unlock()
			return file, content, err
		}
		b, err := w.join(ctx, tenant, admit)
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
func (w *Warehouse) commitOf(ctx context.Context, tenant uuid.UUID) (seq int64, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return 0, err
	}
	defer release()
	return seq, store.db.QueryRowContext(ctx, "SELECT seq FROM clock").Scan(&seq)
}

// find is the kept file with the sum, else one that has the commit.
func (d *databases) find(tenant uuid.UUID, seq int64, sum string) *KeptDatabase {
	files := d.kept[tenant]
	if i := slices.IndexFunc(files, func(f *KeptDatabase) bool { return f.SHA256 == sum }); i >= 0 {
		return files[i]
	}
	if len(files) > 0 && files[len(files)-1].Seq >= seq {
		return files[len(files)-1]
	}
	return nil
}

// join waits for the file that is being written, or has it begun. The caller holds mu.
func (w *Warehouse) join(ctx context.Context, tenant uuid.UUID, admit func() (leave func(), err error)) (*building, error) {
	d := &w.databases
	if b := d.building[tenant]; b != nil {
		b.waiting++
		return b, nil
	}
	leave, err := admit()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // whoever began it may leave before the others
	b := &building{waiting: 1, done: make(chan struct{}), cancel: cancel}
	d.building[tenant] = b
	go func() {
		defer close(b.done)
		defer cancel()
		defer leave()
		b.file, b.err = w.keepable(ctx, tenant)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.building[tenant] == b {
			delete(d.building, tenant)
		}
		if b.err == nil {
			d.kept[tenant] = append(d.kept[tenant], b.file)
			b.err = d.removeUnused(time.Now())
		}
	}()
	return b, nil
}

// wait waits until the file is there. The last who leaves has it given up, and waits for the end of that.
func (d *databases) wait(ctx context.Context, tenant uuid.UUID, b *building) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	b.waiting--
	last := b.waiting == 0
	if last && d.building[tenant] == b {
		delete(d.building, tenant) // nobody is to join it any more
	}
	d.mu.Unlock()
	if last {
		b.cancel()
		<-b.done
	}
	return context.Cause(ctx)
}

// keepable writes a file, under a name of its own, and sums it up.
func (w *Warehouse) keepable(ctx context.Context, tenant uuid.UUID) (_ *KeptDatabase, err error) {
	file := &KeptDatabase{path: filepath.Join(w.TempDir(), uuid.NewString()+".duckdb"), used: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeIfThere(file.path))
		}
	}()
	if file.Database, err = w.WriteDatabase(ctx, tenant, file.path); err != nil {
		return nil, err
	}
	in, err := os.Open(file.path)
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
func (d *databases) removeUnused(now time.Time) error {
	var errs []error
	for tenant, files := range d.kept {
		var kept []*KeptDatabase
		for i, f := range files {
			if len(files)-i <= keptDatabases && now.Sub(f.used) < keptReplaced {
				kept = append(kept, f)
			} else {
				errs = append(errs, removeIfThere(f.path))
			}
		}
		if d.kept[tenant] = kept; len(kept) == 0 {
			delete(d.kept, tenant)
		}
	}
	return errors.Join(errs...)
}
