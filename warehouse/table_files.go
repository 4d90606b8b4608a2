package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
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
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return nil, err
	}
	defer release()
	rows, err := store.db.QueryContext(ctx, statements.Get("lake/select_table_files"), sql.Named("export", export))
	if err != nil {
		return nil, fmt.Errorf("files of table %s: %w", export, err)
	}
	defer rows.Close()
	for rows.Next() {
		var f TableFile
		var replaced sql.NullTime
		err := f.scan(func(fields ...any) error { return rows.Scan(append(fields, &f.PublishedAt, &replaced)...) })
		if err != nil {
			return nil, fmt.Errorf("files of table %s: %w", export, err)
		}
		f.PublishedAt = f.PublishedAt.UTC()
		if replaced.Valid {
			f.ReplacedAt = replaced.Time.UTC()
			if f.Gone, err = w.gone(tenant, f.Name); err != nil {
				return nil, err
			}
		}
		files = append(files, f)
	}
	return files, rows.Err()
}

// gone reports whether neither folder of published files has a file of the name.
func (w *Warehouse) gone(tenant uuid.UUID, name string) (bool, error) {
	for _, dir := range w.PublishedDirs(tenant) { // in the order in which files move
		if exists, err := w.folder.exists(filepath.Join(dir, name)); exists || err != nil {
			return false, err
		}
	}
	return true, nil
}
