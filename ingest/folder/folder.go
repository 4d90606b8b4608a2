// Package folder reads the files of a folder that other programs add files to. It finds the new and changed files and
// leaves out those that are still being written.
//
// It never moves, changes or deletes a file. It starts no goroutines and holds no locks.
//
// A file is identified by its path, inode, size and ctime. The source remembers a hash of these for each file that it
// has read, together with the rows of the file. It forgets files that no longer exist when there are many. So each
// file in the folder is read once, whatever the order of the times of files: after a move, a rename, a link to an older
// file, a change of the clock, or the restore of a backup. A file is read again if any of the four changes. A program
// that writes a file slowly should write it under a name that begins with a dot and rename it when it is complete.
package folder

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Options configure a Source.
type Options struct {
	Path    string    // folder
	Tenant  uuid.UUID // tenant that owns all rows; zero: each row contains its tenant
	Dataset string    // dataset of all files; empty: derived from each file's name
	Files   FileSet
	Log     *slog.Logger // receives notes about entries that are not read
}

// A FileSet is the set of files that a source has read, as hashes. It is stored outside of the source, and gets a hash
// together with the rows of its file.
type FileSet interface {
	SourceFiles(ctx context.Context, tenant uuid.UUID, source string) (map[uint64]bool, error)
	ForgetSourceFiles(ctx context.Context, tenant uuid.UUID, source string, files []uint64) error
}

// A Source reads the files of a folder and its subfolders.
type Source struct {
	Options
	young map[uint64]time.Time    // hashes of files that were too young to be read, and when they were first seen
	noted map[ingest.Skipped]bool // skipped entries that were logged
}

var _ ingest.Source = (*Source)(nil)

// New returns a Source. It returns ErrInvalid if an option is missing or invalid.
func New(o Options) (*Source, error) {
	if o.Path == "" {
		return nil, fmt.Errorf("%w: no path of a folder given", warehouse.ErrInvalid)
	}
	if o.Dataset != "" {
		if _, err := schema.DatasetNamed(o.Dataset); err != nil {
			return nil, err
		}
	}
	var err error
	if o.Path, err = filepath.Abs(o.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
	}
	return &Source{Options: o}, nil
}

// Name returns the name under which the state is stored. It contains all options that affect the rows.
func (s *Source) Name() string {
	name := "files " + s.Path
	if s.Dataset != "" {
		name += " as " + s.Dataset
	}
	if s.Tenant != uuid.Nil {
		name += " of " + s.Tenant.String()
	}
	return name
}

// minAge is the minimum time since the last change of a file before it is read. Younger files may still be being
// written.
const minAge = 2 * time.Second

// maxGone is the maximum number of files that are remembered after they have left the folder. Such files may be on a
// volume that is not mounted, or in a folder that cannot be read at the moment. Above this number, all of them are
// forgotten.
const maxGone = 100_000

// A candidate is a file of the folder.
type candidate struct {
	path string
	hash uint64 // of path, inode, size and ctime
	info fs.FileInfo
}

// Pull calls take with groups of the files that were not read yet. It reads the files of a dataset in the order of the
// last change of their contents (mtime). It returns ErrNotFound if the folder does not exist, and the error of take. It
// ignores the value of the state.
func (s *Source) Pull(
	ctx context.Context, _ json.RawMessage, take func(context.Context, ingest.Portion) error,
) error {
	known, err := s.Files.SourceFiles(ctx, s.Tenant, s.Name())
	if err != nil {
		return err
	}
	files, err := s.scan(time.Now(), known)
	if err != nil {
		return err
	}
	if len(known) > maxGone { // scan has removed the hashes of the files of the folder
		gone := slices.Collect(maps.Keys(known))
		if err := s.Files.ForgetSourceFiles(ctx, s.Tenant, s.Name(), gone); err != nil {
			return err
		}
	}
	inputs := make([]ingest.Input, len(files))
	for i, f := range files {
		inputs[i] = ingest.Input{Name: f.path, Path: f.path, Dataset: s.Dataset, Tenant: s.Tenant, Hash: f.hash,
			Size: f.info.Size(), Log: s.Log, Open: func() (io.ReadCloser, error) {
				return os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not block if it has become a FIFO
			}}
	}
	for _, group := range ingest.Groups(inputs) {
		if err := take(ctx, ingest.Portion{Files: group}); err != nil {
			return err
		}
	}
	return nil
}

// scan returns the files that are to be read now, sorted by mtime and path. It removes the hashes of all files of the
// folder from known.
func (s *Source) scan(now time.Time, known map[uint64]bool) (files []candidate, err error) {
	found, skipped, err := ingest.Find([]string{s.Path})
	if err != nil {
		return nil, err
	}
	young := map[uint64]time.Time{}
	for _, f := range found {
		if f.Info == nil {
			skipped = append(skipped, ingest.Skipped{Path: f.Path, Reason: "access is denied"})
			continue
		}
		hash, changed := identity(f.Path, f.Info)
		if known[hash] {
			delete(known, hash)
			continue
		}
		// A ctime in the future does not show the age of a file: the clock was set back, or the file system has a clock of
		// its own. Such a file is read if it has not changed between two scans that are minAge apart.
		if age := now.Sub(changed); age < minAge {
			seen, ok := s.young[hash]
			if !ok {
				seen = now
			}
			if now.Sub(seen) < minAge {
				young[hash] = seen
				continue
			}
		}
		files = append(files, candidate{f.Path, hash, f.Info})
	}
	s.young = young
	s.note(skipped)
	slices.SortFunc(files, func(a, b candidate) int {
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), strings.Compare(a.path, b.path))
	})
	return files, nil
}

// identity returns the hash of the path, inode, size and ctime of a file, and its ctime.
func identity(path string, info fs.FileInfo) (hash uint64, changed time.Time) {
	stat := info.Sys().(*syscall.Stat_t)
	changed = changeTime(stat)
	digest := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %s", stat.Ino, stat.Size, changed.UnixNano(), path))
	return binary.LittleEndian.Uint64(digest[:]), changed
}

// note logs the entries of a scan that are not read, unless the previous scan has logged them.
func (s *Source) note(skipped []ingest.Skipped) {
	noted := map[ingest.Skipped]bool{}
	for _, entry := range skipped {
		noted[entry] = true
		if !s.noted[entry] {
			s.Log.Warn("entry of the folder is not read", "path", entry.Path, "reason", entry.Reason)
		}
	}
	s.noted = noted
}
