package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A PublishedFile is one file of an export, as listed in the manifest. Its name contains a digest of its content, so a
// name never refers to two contents.
type PublishedFile struct {
	Export       string    `json:"-"`
	Month        string    `json:"month"` // YYYY-MM of created_at in UTC; "" for an export of one file
	Day          string    `json:"day"`   // YYYY-MM-DD if the month has a file for each day, otherwise ""
	Name         string    `json:"name"`  // calls-2026-04-<the first 16 digits of SHA256>.parquet
	Rows         int64     `json:"rows"`
	Bytes        int64     `json:"bytes"`
	SHA256       string    `json:"sha256"`         // 64 hexadecimal digits
	MinCreatedAt time.Time `json:"min_created_at"` // bounds of created_at; for cost_daily, of the calls
	MaxCreatedAt time.Time `json:"max_created_at"`
	AsOf         time.Time `json:"as_of"` // all commits before this time are in the file

	sourceSeq int64 // greatest number in the change feed of the rows of a dataset's file; 0: unknown
}

// partition returns the partition that the file belongs to.
func (f PublishedFile) partition() partition {
	return partition{dataset: schema.MustExport(f.Export).Source, month: f.Month, day: f.Day}
}

// A published file has two names. The name in the lake stays the same when the content changes. The name with the
// digest is a hard link in the folder published/<tenant>, outside of the lake, so that a glob over the lake finds each
// row once. When a new file replaces it in the lake, the link moves to published/replaced/<tenant>, and is removed
// after keptReplaced.
const (
	replacedDir = "replaced"
	// keptReplaced is the time for which a replaced file can be opened by its name.
	keptReplaced = time.Hour
)

// maxKept bounds the bytes of all files of a data folder that are kept for readers only: replaced files and DuckDB
// exports, of all tenants. Above the bound, the oldest files are removed earlier. Tests change it.
var maxKept int64 = 1 << 30

func (w *Warehouse) filesPath(tenant uuid.UUID) string {
	return filepath.Join(w.dir, filesDir, tenant.String())
}

func (w *Warehouse) replacedPath(tenant uuid.UUID) string {
	return filepath.Join(w.dir, filesDir, replacedDir, tenant.String())
}

// PublishedFiles returns the tenant's current files in the lake, ordered by export and month. It returns ErrUnpublished
// if the last publishing of the tenant failed, because the files would lack rows for an unknown time.
func (w *Warehouse) PublishedFiles(ctx context.Context, tenant uuid.UUID) ([]PublishedFile, error) {
	if err := w.conditions.of(tenant, PublicationFailing, ""); err != nil {
		return nil, fmt.Errorf("published files of tenant %s: %w: %w", tenant, ErrUnpublished, err)
	}
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer release()
	return publishedFiles(ctx, store.db)
}

func publishedFiles(ctx context.Context, db querier) (files []PublishedFile, err error) {
	rows, err := db.QueryContext(ctx, statements.Get("lake/select_files"))
	if err != nil {
		return nil, fmt.Errorf("published files: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var f PublishedFile
		if err := f.scan(rows.Scan); err != nil {
			return nil, fmt.Errorf("published files: %w", err)
		}
		files = append(files, f)
	}
	return files, rows.Err()
}

func (f *PublishedFile) scan(scan func(...any) error) error {
	err := scan(&f.Export, &f.Month, &f.Day, &f.Name, &f.Rows, &f.Bytes, &f.SHA256, &f.MinCreatedAt, &f.MaxCreatedAt,
		&f.AsOf, &f.sourceSeq)
	for _, at := range []*time.Time{&f.MinCreatedAt, &f.MaxCreatedAt, &f.AsOf} {
		*at = at.UTC()
	}
	return err
}

// OpenPublished opens a file of a tenant's export by its name, and verifies it. The file may have been replaced up to
// an hour ago. If the file is in the bucket of the lake only, OpenPublished fetches it. It returns ErrNotFound if no
// such file was published, and ErrUnavailable for a damaged file, which will be published again, and if the bucket
// cannot be read. The caller closes content, which later publishing does not change.
func (w *Warehouse) OpenPublished(ctx context.Context, tenant uuid.UUID, export, name string) (
	file PublishedFile, content *os.File, err error,
) {
	if file, err = w.publishedFile(ctx, tenant, export, name); err != nil {
		return file, nil, err
	}
	if content, err = w.openVerified(ctx, tenant, file); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the file is gone", ErrNotFound)
	}
	return file, content, err
}

// publishedFile returns the entry of a file in the manifest.
func (w *Warehouse) publishedFile(ctx context.Context, tenant uuid.UUID, export, name string) (
	file PublishedFile, err error,
) {
	files, err := w.manifest(ctx, tenant)
	if err != nil {
		return file, fmt.Errorf("published file: %w", err)
	}
	for _, f := range slices.Backward(files) { // if the same content was published several times, the last entry counts
		if f.Name == name && f.Export == export {
			return f.PublishedFile, nil
		}
	}
	return file, fmt.Errorf("%w: no such file", ErrNotFound)
}

// manifest returns the entries of all exports, in the order of their publication, without Gone. The caller does not
// change them. They are read once after each commit of the store: engines request a file in hundreds of ranges, and the
// query would be most of the cost of each.
func (w *Warehouse) manifest(ctx context.Context, tenant uuid.UUID) (files []TableFile, err error) {
	commit := w.commits.of(tenant) // before the query, so that the entries are not older
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	files, known := store.manifest.find(commit)
	release() // a caller with a store must not wait for a slot: others with slots may wait until the store is idle
	if known {
		return files, nil
	}
	if store, release, err = w.reader(ctx, tenant); err != nil {
		return nil, err
	}
	defer release()
	rows, err := store.db.QueryContext(ctx, statements.Get("lake/select_manifest"))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var f TableFile
		var replaced sql.NullTime
		err := f.scan(func(fields ...any) error { return rows.Scan(append(fields, &f.PublishedAt, &replaced)...) })
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		f.PublishedAt = f.PublishedAt.UTC()
		if replaced.Valid {
			f.ReplacedAt = replaced.Time.UTC()
		}
		files = append(files, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	store.manifest.set(commit, files)
	return files, nil
}

// manifestCopy is the manifest in memory. It is valid until the next commit of the store, because transactions that
// change the manifest use inTransaction. The one exception removes entries of files that are gone, which cannot be
// opened. It proves nothing about the files themselves, which are verified at each open.
type manifestCopy struct {
	mu     sync.Mutex
	known  bool        // the fields below are set; guarded by mu
	commit commitID    // last commit of the store when the entries were read; guarded by mu
	files  []TableFile // guarded by mu; the elements are constant
}

// find returns the entries that were read after the commit, if no other commit has followed.
func (m *manifestCopy) find(commit commitID) (files []TableFile, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known || m.commit != commit {
		return nil, false
	}
	return m.files, true
}

func (m *manifestCopy) set(commit commitID, files []TableFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.commit, m.files = true, commit, files
}

// A VerifiedFile is a published file that was compared with the manifest. A process that opens it by its name must
// compare the identity of the inode.
type VerifiedFile struct {
	PublishedFile
	Device, Inode uint64
}

// VerifiedFiles returns the tenant's current files like PublishedFiles, after it has verified each of them. It fetches
// those that are in the bucket of the lake only. They are not evicted until the caller calls release.
func (w *Warehouse) VerifiedFiles(ctx context.Context, tenant uuid.UUID) (
	_ []VerifiedFile, release func(), err error,
) {
	files, err := w.PublishedFiles(ctx, tenant)
	if err != nil {
		return nil, nil, err
	}
	if release, err = w.lakeCache.pin(tenant, files); err != nil {
		return nil, nil, fmt.Errorf("published files of tenant %s: %w", tenant, err)
	}
	verified := make([]VerifiedFile, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(runtime.GOMAXPROCS(0), maxTenantFetches))
	for i, file := range files {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			content, err := w.openVerified(ctx, tenant, file)
			if err != nil {
				return err
			}
			defer content.Close()
			info, err := content.Stat()
			if err == nil {
				id := inodeOf(info)
				verified[i] = VerifiedFile{file, id.dev, id.ino}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		release()
		return nil, nil, err
	}
	return verified, release, nil
}

// updateManifest replaces the files of stale months in the manifest, and marks the months as published, in one
// transaction. files[i] are the files of months[i] that were written or removed; if it is nil, the month was not
// published and is skipped.
func (s *tenantStore) updateManifest(ctx context.Context, months []partition, files [][]PublishedFile) error {
	type written struct {
		Export    string `json:"export"`
		Format    int    `json:"format"`
		SourceSeq int64  `json:"source_seq"`
		PublishedFile
	}
	all, published := []written{}, map[string]int64{}
	for i, p := range months {
		if files[i] == nil {
			continue
		}
		published[p.name()] = p.seq
		for _, f := range files[i] {
			all = append(all, written{f.Export, publishedFormat, f.sourceSeq, f})
		}
	}
	if len(published) == 0 {
		return nil
	}
	texts := make([]string, 2)
	for i, value := range []any{all, published} {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("update manifest: %w", err)
		}
		texts[i] = string(text)
	}
	s.writing.Lock() // a merge writes to the list of unpublished partitions too
	defer s.writing.Unlock()
	return s.inTransaction(ctx, s.db, func(tx *sql.Tx) error {
		at, err := s.publicationTime(ctx, tx)
		if err != nil {
			return err
		}
		files := []any{sql.Named("files", texts[0]), sql.Named("at", at)}
		for _, step := range []struct {
			name string
			args []any
		}{
			{"lake/mark_replaced", files},
			{"lake/insert_files", files},
			{"lake/clear_unpublished", []any{sql.Named("published", texts[1])}},
		} {
			if _, err := tx.ExecContext(ctx, statements.Get(step.name), step.args...); err != nil {
				return fmt.Errorf("update manifest: %w", err)
			}
		}
		return nil
	})
}

// publicationTime returns the time of the publication that the transaction records.
//
// Times of a tenant's publications increase strictly, whatever the clock says, and whether or not its store was
// restored or rebuilt meanwhile. They are the identifiers, versions and times of the snapshots of its tables, which
// never go back. The manifest has the times of the store's own history. The time of the last publication of a replaced
// store is read before the replacement, see lastPublication, and the journal keeps it with the history that begins.
func (s *tenantStore) publicationTime(ctx context.Context, tx querier) (at time.Time, err error) {
	err = tx.QueryRowContext(ctx, statements.Get("lake/select_publication_time"),
		sql.Named("before", s.publishedBefore)).Scan(&at)
	if err != nil {
		err = fmt.Errorf("time of the publication: %w", err)
	}
	return at.UTC(), err
}

// lastPublication returns the time of the last publication of the attached store catalog, which was replaced. It
// returns the zero time if there was none, or if the part of the store with the times cannot be read.
func (w *Warehouse) lastPublication(ctx context.Context, catalog string) (time.Time, error) {
	var at sql.NullTime
	err := w.loader.QueryRowContext(ctx,
		"SELECT max(greatest(published_at, replaced_at)) FROM "+catalog+".main.published_files").Scan(&at)
	if err != nil && (isDamage(err) || duckdb.IsCatalog(err)) { // an old schema has no times
		return time.Time{}, nil
	}
	return at.Time.UTC(), err
}

// later returns the later one of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// archiveStale moves the tenant's files that are not current to the folder of replaced files: files that were
// replaced in the lake, and files that a crash has left. It removes the manifest's entries of files that have expired.
// The caller holds the publishing lock of the store.
func (w *Warehouse) archiveStale(ctx context.Context, store *tenantStore, files []PublishedFile) error {
	current := map[string]bool{}
	for _, f := range files {
		current[f.Name] = true
	}
	store.naming.Lock()
	defer store.naming.Unlock()
	entries, err := w.folder.readDir(w.filesPath(store.id))
	if err != nil {
		return err
	}
	now, moved := time.Now(), false
	for _, entry := range entries {
		if current[strings.TrimSuffix(entry.Name(), recordSuffix)] {
			continue
		}
		path := filepath.Join(w.filesPath(store.id), entry.Name())
		if !entry.Type().IsRegular() && !entry.IsDir() { // a link or pipe has no content to keep
			if err := w.folder.removeIfThere(path); err != nil {
				return err
			}
			continue
		}
		if err := w.folder.mkdir(w.replacedPath(store.id)); err != nil {
			return err
		}
		if err := w.folder.touch(path, now); err != nil { // keptReplaced begins now
			return err
		}
		if err := w.folder.rename(path, filepath.Join(w.replacedPath(store.id), entry.Name())); err != nil {
			return err
		}
		moved = true
	}
	if moved {
		err = errors.Join(w.folder.sync(w.replacedPath(store.id)), w.folder.sync(w.filesPath(store.id)))
	}
	if err != nil {
		return err
	}
	_, err = store.db.ExecContext(ctx, statements.Get("lake/prune_replaced"),
		sql.Named("before", now.Add(-2*keptReplaced)))
	return err
}

// removeOldest removes the oldest files of a folder, until the remaining files have at most maxBytes bytes.
func (f *dataFolder) removeOldest(dir string, maxBytes int64) error {
	entries, err := f.readDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // expired and removed meanwhile
		}
		if err != nil {
			return err
		}
		infos = append(infos, info)
		maxBytes -= info.Size()
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if maxBytes >= 0 {
			break
		}
		if err := f.removeIfThere(filepath.Join(dir, info.Name())); err != nil {
			return err
		}
		maxBytes += info.Size()
	}
	return nil
}

// A keptFile is a file that is kept for readers only.
type keptFile struct {
	path  string
	bytes int64
	used  time.Time // replaced, or used last
}

// boundKept removes the replaced files and the DuckDB exports that have expired, of all tenants, and then the oldest
// ones until the others have at most maxKept bytes. The newest file stays, whatever its size: a reader may be about to
// open it.
func (w *Warehouse) boundKept() error {
	now := time.Now()
	kept, err := w.replacedFiles()
	if err != nil {
		return err
	}
	d := &w.exportCache
	d.mu.Lock()
	defer d.mu.Unlock()
	unused := d.removeUnused(w.folder, now)
	for _, files := range d.files {
		for _, f := range files {
			kept = append(kept, keptFile{f.path, f.Bytes, f.lastUsed})
		}
	}
	slices.SortFunc(kept, func(a, b keptFile) int { return a.used.Compare(b.used) })
	total := int64(0)
	for _, f := range kept {
		total += f.bytes
	}
	removed, errs := map[string]bool{}, []error{unused}
	for i, f := range kept {
		expired := now.Sub(f.used) >= keptReplaced
		if !expired && (total <= maxKept || i == len(kept)-1) {
			break
		}
		errs = append(errs, w.folder.removeIfThere(f.path))
		removed[f.path] = true
		total -= f.bytes
	}
	d.forgetAll(removed)
	return errors.Join(errs...)
}

// replacedFiles returns the replaced files of all tenants.
func (w *Warehouse) replacedFiles() (files []keptFile, err error) {
	err = filepath.WalkDir(filepath.Join(w.dir, filesDir, replacedDir),
		func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return ignoreMissing(err)
			}
			info, err := entry.Info()
			if err != nil {
				return ignoreMissing(err)
			}
			files = append(files, keptFile{path, info.Size(), info.ModTime()})
			return nil
		})
	return files, err
}

// ignoreMissing returns nil for the error of a file that was removed meanwhile.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// PublishedDirs returns the two folders with a tenant's published files. A file moves from the first to the second
// when it is replaced.
func (w *Warehouse) PublishedDirs(tenant uuid.UUID) []string {
	return []string{w.filesPath(tenant), w.replacedPath(tenant)}
}
