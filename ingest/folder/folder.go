// Package folder reads the files of a folder that other programs add files to. It finds the new and changed files and
// leaves out those that are still being written.
//
// It never moves, changes or deletes a file. It starts no goroutines and holds no locks.
//
// A file is new or changed if its ctime is later than that of the last file read. Copying and renaming a file set its
// ctime to the current time. A program that writes a file slowly should write it under a name that begins with a dot
// and rename it when it is complete.
package folder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
}

// A Source reads the files of a folder and its subfolders.
type Source struct{ Options }

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
	return &Source{o}, nil
}

// Name returns the name under which the state is stored. It depends on the absolute path only.
func (s *Source) Name() string { return "files " + s.Path }

// minAge is the minimum time since the last change of a file before it is read. Younger files may still be being
// written.
const minAge = 2 * time.Second

// A folderState records the files that have been read: all files that changed before Through, and those in Files.
type folderState struct {
	Through time.Time `json:"through"` // ctime of the last file read
	Files   []string  `json:"files"`   // paths of the files read whose ctime is Through
}

// A changedFile is a file that is new or has changed.
type changedFile struct {
	path    string
	changed time.Time // ctime
}

// Pull calls take with each file that is new or has changed, in the order of ctime. It returns ErrNotFound if the
// folder does not exist, ErrInvalid if the state cannot be parsed, and the error of take.
func (s *Source) Pull(
	ctx context.Context, known json.RawMessage, take func(context.Context, ingest.Portion) error,
) error {
	var reached folderState
	if known != nil {
		if err := json.Unmarshal(known, &reached); err != nil {
			return fmt.Errorf("%w: parse the state of %s: %w", warehouse.ErrInvalid, s.Name(), err)
		}
	}
	files, err := s.changedFiles(reached, time.Now().Add(-minAge))
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.changed.Equal(reached.Through) {
			reached = folderState{Through: f.changed}
		}
		reached.Files = append(reached.Files, f.path)
		if err := s.takeFile(ctx, f.path, reached, take); err != nil {
			return err
		}
	}
	return nil
}

// changedFiles returns the files that are not in the state and changed no later than until, sorted by ctime and path.
func (s *Source) changedFiles(since folderState, until time.Time) (files []changedFile, err error) {
	paths, err := ingest.Find([]string{s.Path})
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since it was found
		}
		if err != nil {
			return nil, err
		}
		changed, ok := changeTime(info)
		if !ok || !info.Mode().IsRegular() || changed.Before(since.Through) || changed.After(until) ||
			changed.Equal(since.Through) && slices.Contains(since.Files, path) {
			continue
		}
		files = append(files, changedFile{path, changed})
	}
	slices.SortFunc(files, func(a, b changedFile) int {
		if order := a.changed.Compare(b.changed); order != 0 {
			return order
		}
		return strings.Compare(a.path, b.path)
	})
	return files, nil
}

// takeFile calls take with one file and the state after it. A file that cannot be opened becomes a file whose reader
// fails, so that it is refused by name and does not stop the pull.
func (s *Source) takeFile(
	ctx context.Context, path string, reached folderState, take func(context.Context, ingest.Portion) error,
) error {
	value, err := json.Marshal(reached)
	if err != nil {
		return err
	}
	in := ingest.Input{Name: path, Path: path, Dataset: s.Dataset, Tenant: s.Tenant}
	opened, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // deleted since it was found
	case err != nil:
		in.Path, in.Body = "", errorReader{err}
	default:
		defer opened.Close()
		in.Body = opened
	}
	return take(ctx, ingest.Portion{File: &in, State: value})
}

// An errorReader fails with err.
type errorReader struct{ err error }

func (u errorReader) Read([]byte) (int, error) { return 0, u.err }
