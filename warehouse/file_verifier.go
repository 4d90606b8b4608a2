package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// fileVerifier compares published files with the manifest. Every open of a published file goes through open, so that no
// reader gets bytes that were not written by a publication of its tenant:
//
//   - The name must be that of a regular file. Links, folders and pipes are refused.
//   - The length is compared at every open.
//   - The SHA-256 is compared at the first open of an inode, and again if its size, modification time or change time
//     differ. [Warehouse.Scrub] compares it from time to time without any open.
//
// The digest comes from the manifest in the tenant's store, so the file of another tenant or of another partition is
// refused, too. Bytes that the disk or the memory alter after the comparison, without a write to the file, are found by
// the next scrub only.
type fileVerifier struct {
	hashing chan struct{}      // holds a value for each file that is being read
	flights singleflight.Group // one computation at a time for each inode

	mu      sync.Mutex
	digests map[inode]string // guarded by mu; at most maxDigests
}

// maxDigests is the maximum number of files whose digest is remembered. Each needs about 150 bytes.
const maxDigests = 1 << 16

// unsettled is the time after a change of an inode for which its digest is not remembered: a second change within the
// resolution of the clock of the file system would leave the same times.
const unsettled = 100 * time.Millisecond

// An inode identifies the content of a file as far as the kernel can tell.
type inode struct {
	dev, ino, size   uint64
	modified, change int64 // Unix nanoseconds
}

func inodeOf(info fs.FileInfo) inode {
	stat := info.Sys().(*syscall.Stat_t)
	return inode{
		//nolint:unconvert // Dev has another type on macOS
		dev: uint64(stat.Dev), ino: stat.Ino, size: uint64(info.Size()),
		modified: info.ModTime().UnixNano(), change: changeTime(stat).UnixNano(),
	}
}

func newFileVerifier() *fileVerifier {
	return &fileVerifier{hashing: make(chan struct{}, runtime.GOMAXPROCS(0)), digests: map[inode]string{}}
}

// open opens the file at path and verifies its length and digest. It returns an error that wraps fs.ErrNotExist if the
// file is missing, and otherwise a ConditionError of the kind FileDamaged if the file is not the one that was written.
// The caller closes content.
func (v *fileVerifier) open(folder *dataFolder, path string, bytes int64, sum string) (
	content *os.File, err error,
) {
	content, err = folder.openRegular(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, err
		}
		return nil, &ConditionError{Kind: FileDamaged, Err: err}
	}
	if err := v.verify(content, bytes, sum); err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

// verify compares the length and the digest of an open file. It returns a ConditionError of the kind FileDamaged if one
// of them differs.
func (v *fileVerifier) verify(content *os.File, bytes int64, sum string) error {
	info, err := content.Stat()
	if err != nil {
		return err
	}
	if info.Size() != bytes {
		return &ConditionError{Kind: FileDamaged,
			Err: fmt.Errorf("%s has %d bytes and not %d", content.Name(), info.Size(), bytes)}
	}
	digest, err := v.digest(content, info)
	switch {
	case err != nil:
		return &ConditionError{Kind: FileDamaged, Err: fmt.Errorf("read %s: %w", content.Name(), err)}
	case digest != sum:
		return &ConditionError{Kind: FileDamaged,
			Err: fmt.Errorf("%s has the SHA-256 %s and not %s", content.Name(), digest, sum)}
	}
	return nil
}

// digest returns the SHA-256 of an open file, which is remembered as long as the inode does not change. Concurrent
// callers share a computation.
func (v *fileVerifier) digest(content *os.File, info fs.FileInfo) (string, error) {
	key := inodeOf(info)
	v.mu.Lock()
	digest, known := v.digests[key]
	v.mu.Unlock()
	if known {
		return digest, nil
	}
	computed, err, _ := v.flights.Do(fmt.Sprint(key), func() (any, error) {
		v.hashing <- struct{}{}
		defer func() { <-v.hashing }()
		return v.compute(content, info, io.NewSectionReader(content, 0, info.Size()))
	})
	if err != nil {
		return "", err
	}
	return computed.(string), nil
}

// compute returns the SHA-256 of an open file, which it reads from in, and remembers it unless the file changes
// meanwhile.
func (v *fileVerifier) compute(content *os.File, info fs.FileInfo, in io.Reader) (string, error) {
	key, start, sum := inodeOf(info), time.Now(), sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return "", err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	after, err := content.Stat()
	if err != nil {
		return "", err
	}
	if age := start.Sub(time.Unix(0, key.change)); inodeOf(after) == key && (age > unsettled || age < -time.Minute) {
		v.remember(key, digest)
	}
	return digest, nil
}

// remember stores a digest. If maxDigests are stored already, it first removes an arbitrary one.
func (v *fileVerifier) remember(key inode, digest string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.digests) >= maxDigests {
		for other := range v.digests {
			delete(v.digests, other)
			break
		}
	}
	v.digests[key] = digest
}

// openRegular opens a regular file for reading. It opens neither a link nor a pipe without a writer, which would block.
func (f *dataFolder) openRegular(path string) (*os.File, error) {
	name, err := f.resolve(path)
	if err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = wrongType(path, info.Mode(), "regular file")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// openLocal opens a published file under the tenant's current or replaced files, whichever has it, and verifies it. It
// returns an error that wraps fs.ErrNotExist if neither has it, and a ConditionError if it is damaged.
func (w *Warehouse) openLocal(tenant uuid.UUID, file PublishedFile) (content *os.File, err error) {
	// The order matters: a publication may move the file from the first folder to the second between the two attempts.
	for _, dir := range w.PublishedDirs(tenant) {
		path := filepath.Join(dir, file.Name)
		content, err = w.fileVerifier.open(w.folder, path, file.Bytes, file.SHA256)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return content, err
}

// maxFetches is the number of times that a reader fetches a file that was evicted again before it could be opened.
const maxFetches = 3

// openVerified opens a published file of a tenant, and fetches it first if it is evicted. If a current file is missing
// or damaged, openVerified has it published again and returns a ConditionError. If a replaced file is missing or
// damaged, it returns an error that wraps fs.ErrNotExist: the content cannot be written again, because the rows have
// changed. The caller closes content.
func (w *Warehouse) openVerified(ctx context.Context, tenant uuid.UUID, file PublishedFile) (
	content *os.File, err error,
) {
	for try := 0; ; try++ {
		content, err = w.openLocal(tenant, file)
		if err == nil {
			w.lakeCache.touch(tenant, file.Name)
			return content, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == maxFetches {
			break
		}
		evicted, failed := w.isEvicted(tenant, file.Name)
		if failed != nil {
			return nil, failed
		}
		if !evicted {
			break
		}
		if err = w.fetch(ctx, tenant, file); errors.Is(err, errObject) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	failure := (*ConditionError)(nil)
	if !errors.As(err, &failure) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errObject) {
		return nil, err
	}
	store, release, failed := w.tenant(ctx, tenant)
	if failed != nil {
		return nil, failed
	}
	defer release()
	current, err := w.reportDamaged(ctx, store, file, err)
	if err == nil && !current {
		err = fs.ErrNotExist
	}
	return nil, err
}

// openPresent opens a published file like openVerified. If the file is evicted, it does not fetch it, and returns an
// error that wraps fs.ErrNotExist.
func (w *Warehouse) openPresent(ctx context.Context, tenant uuid.UUID, file PublishedFile) (*os.File, error) {
	content, err := w.openLocal(tenant, file)
	if errors.Is(err, fs.ErrNotExist) {
		if evicted, failed := w.isEvicted(tenant, file.Name); evicted || failed != nil {
			return nil, errors.Join(err, failed)
		}
	}
	if err != nil {
		return w.openVerified(ctx, tenant, file)
	}
	w.lakeCache.touch(tenant, file.Name)
	return content, nil
}

// reportDamaged records a damaged published file as a condition of the tenant. cause describes the damage. It marks the
// partition of the file as stale, so that the publisher writes it again, and returns cause as a ConditionError. If the
// file is not current, there is nothing to publish; reportDamaged returns false and no error.
func (w *Warehouse) reportDamaged(ctx context.Context, store *tenantStore, file PublishedFile, cause error) (
	current bool, err error,
) {
	ctx = context.WithoutCancel(ctx)
	// The cause is not wrapped: for the caller, a missing file is damage, while fs.ErrNotExist means a replaced file.
	failure := &ConditionError{Kind: FileDamaged, File: w.publishedSubject(store.id, file.Name), Err: fmt.Errorf(
		"published file %s of tenant %s is damaged and will be published again: %s", file.Name, store.id, cause.Error())}
	err = store.db.QueryRowContext(ctx, statements.Get("lake/is_current"), sql.Named("name", file.Name)).Scan(&current)
	if err != nil {
		return false, fmt.Errorf("look up the damaged file %s: %w", file.Name, err)
	}
	if !current {
		return false, nil
	}
	w.conditions.set(store.id, FileDamaged, failure.File, failure)
	if err := w.outdatePartition(ctx, store, file); err != nil { // the next reader or scrub tries again
		w.folder.log.Error("mark a damaged file as stale", "tenant", store.id, "file", file.Name, "error", err)
	}
	return true, failure
}

// publishedSubject returns the subject of the conditions of a published file.
func (w *Warehouse) publishedSubject(tenant uuid.UUID, name string) string {
	return filepath.Join(filesDir, tenant.String(), name)
}

// outdatePartition makes the publisher write the partition of the file again, and wakes it.
func (w *Warehouse) outdatePartition(ctx context.Context, store *tenantStore, file PublishedFile) error {
	store.writing.Lock()
	defer store.writing.Unlock()
	if err := w.markTenantsUnpublished(store.id); err != nil {
		return err
	}
	dataset := schema.MustExport(file.Export).Source
	_, err := store.db.ExecContext(ctx, statements.Get("lake/outdate_partition"),
		sql.Named("dataset", dataset.Name), sql.Named("month", file.Month), sql.Named("day", file.Day))
	if err != nil {
		return err
	}
	w.wakePublisher()
	return nil
}

// wakePublisher makes PublishSoon ready.
func (w *Warehouse) wakePublisher() {
	select {
	case w.publishSoon <- struct{}{}:
	default: // it is ready
	}
}

// PublishSoon returns a channel that is ready when the publisher should not wait: a file is damaged and must be
// published again, or a publication has failed for the first time.
func (w *Warehouse) PublishSoon() <-chan struct{} { return w.publishSoon }

// clearDamaged ends the conditions of damaged files that a publication has written again, perhaps with the same
// content and name, and of those that are not current any more.
func (w *Warehouse) clearDamaged(tenant uuid.UUID, written [][]PublishedFile, current []PublishedFile) {
	damaged := map[string]bool{}
	for _, file := range current {
		damaged[w.publishedSubject(tenant, file.Name)] = true
	}
	for _, file := range slices.Concat(written...) {
		delete(damaged, w.publishedSubject(tenant, file.Name))
	}
	for _, condition := range w.conditions.list(time.Now()) {
		if condition.Tenant == tenant && condition.Kind == FileDamaged && !damaged[condition.Subject] {
			w.conditions.set(tenant, FileDamaged, condition.Subject, nil)
		}
	}
}
