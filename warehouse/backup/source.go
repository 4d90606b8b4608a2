package backup

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Source is a place with backups to read: a folder, or an archive with one backup. The caller closes it.
type Source interface {
	// List returns the backups, oldest first, and an error for each manifest that is damaged.
	List() (backups []Manifest, damaged []error, err error)
	// Journal returns the entries of the journal beside the backups, and the numbers of its damaged lines.
	Journal() (entries []journal.Entry, damaged []int, err error)
	// Extract passes the content of each file that is not a link to the writer that create returns, in any order. It
	// returns a *DamagedError if a content is not as it was written.
	Extract(ctx context.Context, files []File, create func(File) (io.WriteCloser, error)) error
	Close() error
}

// Open opens a folder of backups or an archive for reading. It returns ErrNotFound if the path has no backup, and
// a *DamagedError if an archive cannot be read to its end.
func Open(ctx context.Context, path string) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: no backup at %s: %w", schema.ErrNotFound, path, err)
	}
	if !info.IsDir() {
		return openArchive(ctx, path)
	}
	known, err := isFolder(path)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("%w: %s is not a folder of backups: it has no %s", schema.ErrNotFound, path, markFile)
	}
	return &folder{path}, nil
}

// Select returns the backup with the given name, or the newest one that was started at or before the given time; at is
// a name, a time as RFC 3339, or a date. Without at it returns the newest backup. If tenant is not zero, only backups
// with that tenant count, and otherwise only backups of whole data folders. It returns ErrNotFound if no backup fits.
func Select(s Source, at string, tenant uuid.UUID) (m Manifest, err error) {
	backups, damaged, err := s.List()
	if err != nil {
		return m, err
	}
	var until time.Time
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if parsed, err := time.Parse(form, at); err == nil {
			until = parsed
			if form == time.DateOnly {
				until = until.AddDate(0, 0, 1).Add(-time.Nanosecond)
			}
		}
	}
	found := false
	for _, b := range backups {
		_, hasTenant := b.Tenant(tenant)
		if tenant == uuid.Nil && b.Only != nil || tenant != uuid.Nil && !hasTenant {
			continue
		}
		if at == "" || b.Name == at || !until.IsZero() && !b.StartedAt.After(until) {
			m, found = b, true
		}
	}
	switch {
	case found:
		return m, nil
	case len(damaged) > 0:
		return m, fmt.Errorf("%w: no backup fits, and manifests are damaged: %w", schema.ErrNotFound, damaged[0])
	case tenant != uuid.Nil:
		return m, fmt.Errorf("%w: no backup of tenant %s %s; `voicory backup list` shows the backups",
			schema.ErrNotFound, tenant, described(at))
	}
	return m, fmt.Errorf("%w: no backup of a whole data folder %s; `voicory backup list` shows the backups",
		schema.ErrNotFound, described(at))
}

func described(at string) string {
	if at == "" {
		return "is there"
	}
	return fmt.Sprintf("at %q", at)
}

// Verify reads all files of a backup and returns the errors of the damaged ones.
func Verify(ctx context.Context, s Source, m Manifest) (damaged []error, err error) {
	discard := func(File) (io.WriteCloser, error) { return discarded{io.Discard}, nil }
	if _, isArchive := s.(*archive); isArchive {
		return nil, s.Extract(ctx, m.AllFiles(), discard) // one pass: an archive is read to its first error
	}
	checked := map[string]bool{}
	for _, file := range m.AllFiles() {
		if checked[file.SHA256] {
			continue
		}
		checked[file.SHA256] = true
		if err := s.Extract(ctx, []File{file}, discard); err != nil {
			if ctx.Err() != nil {
				return damaged, ctx.Err()
			}
			damaged = append(damaged, err)
		}
	}
	return damaged, nil
}

type discarded struct{ io.Writer }

func (discarded) Close() error { return nil }
