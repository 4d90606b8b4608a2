// Package folder owns what is peculiar about a folder that others drop files into: which of them are new, and which are still
// being written.
//
// A file is known by the time of its last change as the file system keeps it (ctime), which no copying or renaming sets back.
// Whoever writes a file slowly should write it under another name, beginning with a dot, and rename it.
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
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// Options say which folder, and what its files hold.
type Options struct {
	Path    string
	Tenant  uuid.UUID // whose rows these are; zero: each row says so
	Dataset string    // empty: each file's name says so
}

// Source is a folder, with those below it.
type Source struct{ Options }

var _ ingest.Source = (*Source)(nil)

// New checks the options; what cannot be is ErrInvalid.
func New(o Options) (*Source, error) {
	if o.Path == "" {
		return nil, fmt.Errorf("%w: the path of the folder is not given", warehouse.ErrInvalid)
	}
	if o.Dataset != "" {
		if _, err := warehouse.DatasetNamed(o.Dataset); err != nil {
			return nil, err
		}
	}
	var err error
	if o.Path, err = filepath.Abs(o.Path); err != nil {
		return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
	}
	return &Source{o}, nil
}

// Name is the same for the same folder.
func (s *Source) Name() string { return "files " + s.Path }

// settled is how long a file must have been left alone: who is writing it has hopefully finished.
const settled = 2 * time.Second

// state is how far the folder is known: all files that had changed before Through, and of those of that very moment some.
type state struct {
	Through time.Time `json:"through"`
	Files   []string  `json:"files"`
}

// file is one that is there.
type file struct {
	path    string
	changed time.Time
}

// Pull gives every file that is new or has changed, in the order of their changes. A folder that is not there is ErrNotFound, a state that is
// none ErrInvalid.
func (s *Source) Pull(ctx context.Context, known json.RawMessage, take func(context.Context, ingest.Portion) error) error {
	var past state
	if known != nil {
		if err := json.Unmarshal(known, &past); err != nil {
			return fmt.Errorf("%w: the state of %s is not one: %w", warehouse.ErrInvalid, s.Name(), err)
		}
	}
	files, err := s.list(past, time.Now().Add(-settled))
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.changed.Equal(past.Through) {
			past = state{Through: f.changed}
		}
		past.Files = append(past.Files, f.path)
		if err := s.give(ctx, f.path, past, take); err != nil {
			return err
		}
	}
	return nil
}

// list finds the files that have changed since, and not after a moment, in the order of their changes.
func (s *Source) list(since state, until time.Time) (files []file, err error) {
	paths, err := ingest.Find([]string{s.Path})
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken away meanwhile
		}
		if err != nil {
			return nil, err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.Mode().IsRegular() {
			continue
		}
		changed := time.Unix(stat.Ctim.Unix()).UTC()
		if changed.Before(since.Through) || changed.After(until) || changed.Equal(since.Through) && slices.Contains(since.Files, path) {
			continue
		}
		files = append(files, file{path, changed})
	}
	slices.SortFunc(files, func(a, b file) int {
		if order := a.changed.Compare(b.changed); order != 0 {
			return order
		}
		return strings.Compare(a.path, b.path)
	})
	return files, nil
}

// give has one file taken.
func (s *Source) give(ctx context.Context, path string, reached state, take func(context.Context, ingest.Portion) error) error {
	value, err := json.Marshal(reached)
	if err != nil {
		return err
	}
	in := ingest.Input{Name: path, Path: path, Dataset: s.Dataset, Tenant: s.Tenant}
	opened, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // taken away meanwhile
	case err != nil:
		in.Path, in.Body = "", unreadable{err} // it is refused by name
	default:
		defer opened.Close()
		in.Body = opened
	}
	return take(ctx, ingest.Portion{File: &in, State: value})
}

// unreadable stands for a file that cannot be opened.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.err }
