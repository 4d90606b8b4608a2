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
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// PublishedFile is one file of an export. Its name stands for its content and never for another.
type PublishedFile struct {
	Export       string    `json:"-"`
	Month        string    `json:"month"` // YYYY-MM of created_at in UTC; "" for an export of one file
	Name         string    `json:"name"`  // calls-2026-04-<the first 16 digits of SHA256>.parquet
	Rows         int64     `json:"rows"`
	Bytes        int64     `json:"bytes"`
	SHA256       string    `json:"sha256"`         // 64 hexadecimal digits
	MinCreatedAt time.Time `json:"min_created_at"` // of its rows; for costs, of the calls that they are of
	MaxCreatedAt time.Time `json:"max_created_at"`
	AsOf         time.Time `json:"as_of"` // every commit before is in it
}

// Files have two names. The one in the lake stays the same when the content changes. The other one is a hard link in the folder
// published/<tenant>, outside of the lake, so that whoever reads all files of the lake sees no row twice; when the lake shows the file no
// more, it moves to published/replaced/<tenant>, and from there it is removed when its time is up.
const (
	replacedDir = "replaced"
	// keptReplaced is how long a replaced file can be read by its name.
	keptReplaced = time.Hour
	// maxReplaced bounds what replaced files of a tenant take: so many times as much as the files that are shown, and at least minReplaced.
	// Beyond it the oldest go before their time.
	maxReplaced = 4
	minReplaced = 1 << 30
)

func (w *Warehouse) filesPath(tenant uuid.UUID) string {
	return filepath.Join(w.dir, filesDir, tenant.String())
}

func (w *Warehouse) replacedPath(tenant uuid.UUID) string {
	return filepath.Join(w.dir, filesDir, replacedDir, tenant.String())
}

// PublishedFiles lists the files that the lake shows of a tenant, by export and month.
func (w *Warehouse) PublishedFiles(ctx context.Context, tenant uuid.UUID) ([]PublishedFile, error) {
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
	err := scan(&f.Export, &f.Month, &f.Name, &f.Rows, &f.Bytes, &f.SHA256, &f.MinCreatedAt, &f.MaxCreatedAt, &f.AsOf)
	for _, at := range []*time.Time{&f.MinCreatedAt, &f.MaxCreatedAt, &f.AsOf} {
		*at = at.UTC()
	}
	return err
}

// OpenPublished opens a file of a tenant's export by its name, one that was replaced less than an hour ago too; ErrNotFound where
// there is none. The caller closes content, which stays whole whatever is published meanwhile.
func (w *Warehouse) OpenPublished(ctx context.Context, tenant uuid.UUID, export, name string) (file PublishedFile, content *os.File, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return file, nil, err
	}
	defer release()
	err = file.scan(store.db.QueryRowContext(ctx, statements.Get("lake/select_file"), sql.Named("export", export), sql.Named("name", name)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return file, nil, fmt.Errorf("%w: no such file", ErrNotFound)
	}
	if err != nil {
		return file, nil, fmt.Errorf("published file: %w", err)
	}
	for _, dir := range []string{w.filesPath(tenant), w.replacedPath(tenant)} { // a file goes from the first to the second
		if content, err = w.folder.open(filepath.Join(dir, file.Name)); !errors.Is(err, os.ErrNotExist) {
			return file, content, err
		}
	}
	return file, nil, fmt.Errorf("%w: the file is gone", ErrNotFound)
}

// note writes down, in one transaction, what the lake shows of the editions from now on, and that they are published. Each has the files
// that were written of it, whose names are to stay; an edition without any was not published.
func (s *tenantStore) note(ctx context.Context, editions []edition, files [][]PublishedFile) error {
	type written struct {
		Export string `json:"export"`
		PublishedFile
	}
	all, published := []written{}, map[string]int64{}
	for i, e := range editions {
		for _, f := range files[i] {
			all = append(all, written{f.Export, f})
			published[e.name()] = e.seq
		}
	}
	if len(all) == 0 {
		return nil
	}
	texts := make([]string, 2)
	for i, value := range []any{all, published} {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("note published files: %w", err)
		}
		texts[i] = string(text)
	}
	s.writing.Lock() // a merge writes to the same list
	defer s.writing.Unlock()
	tx, err := begin(ctx, s.db)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		arg  sql.NamedArg
	}{{"lake/mark_replaced", sql.Named("files", texts[0])}, {"lake/insert_files", sql.Named("files", texts[0])}, {"lake/clear_unpublished", sql.Named("published", texts[1])}} {
		if _, err := tx.ExecContext(ctx, statements.Get(step.name), step.arg); err != nil {
			return errors.Join(fmt.Errorf("note published files: %w", err), tx.Rollback())
		}
	}
	return tx.Commit()
}

// retire moves away the tenant's files that the lake shows no more, and those that a crash has left without a note. The caller holds
// the store's publishing.
func (w *Warehouse) retire(ctx context.Context, store *tenantStore) error {
	files, err := publishedFiles(ctx, store.db)
	if err != nil {
		return err
	}
	shown, bytes := map[string]bool{}, int64(0)
	for _, f := range files {
		shown[f.Name] = true
		bytes += f.Bytes
	}
	entries, err := w.folder.readDir(w.filesPath(store.id))
	if err != nil {
		return err
	}
	now, moved := time.Now(), false
	for _, entry := range entries {
		if shown[entry.Name()] {
			continue
		}
		path := filepath.Join(w.filesPath(store.id), entry.Name())
		if err := w.folder.mkdir(w.replacedPath(store.id)); err != nil {
			return err
		}
		if err := w.folder.touch(path, now); err != nil { // its time begins
			return err
		}
		if err := w.folder.rename(path, filepath.Join(w.replacedPath(store.id), entry.Name())); err != nil {
			return err
		}
		moved = true
	}
	if moved {
		err = errors.Join(w.folder.sync(w.replacedPath(store.id)), w.folder.sync(w.filesPath(store.id)), w.folder.removeOldest(w.replacedPath(store.id), max(maxReplaced*bytes, minReplaced)))
	}
	if err != nil {
		return err
	}
	_, err = store.db.ExecContext(ctx, statements.Get("lake/prune_replaced"), sql.Named("before", now.Add(-2*keptReplaced)))
	return err
}

// removeOldest removes files of a folder, those first that were replaced first, until the others take no more than most bytes.
func (f *dataFolder) removeOldest(dir string, most int64) error {
	entries, err := f.readDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // its time was up
		}
		if err != nil {
			return err
		}
		infos = append(infos, info)
		most -= info.Size()
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if most >= 0 {
			break
		}
		if err := f.removeIfThere(filepath.Join(dir, info.Name())); err != nil {
			return err
		}
		most += info.Size()
	}
	return nil
}

// removeReplaced removes the replaced files whose time is up, and the databases that nobody uses, of all tenants.
func (w *Warehouse) removeReplaced() error {
	w.exportCache.mu.Lock()
	unused := w.exportCache.removeUnused(w.folder, time.Now())
	w.exportCache.mu.Unlock()
	if unused != nil {
		return unused
	}
	err := filepath.WalkDir(filepath.Join(w.dir, filesDir, replacedDir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err != nil || time.Since(info.ModTime()) < keptReplaced {
			return err
		}
		return w.folder.removeIfThere(path)
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil // gone already, or nothing was replaced yet
	}
	return err
}
