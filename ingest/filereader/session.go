package filereader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// A Session reads small files one after another. They are copied into one scratch file, which one child reads again and
// again, because starting a child takes more CPU time than reading a small file. If a child fails after it has read
// other files, a new child reads the file again. A file is refused only if a child fails that has read no other file.
//
// The files of a session must come from one client, because a child that is under the control of one file can change
// the rows of the later ones. A Session is not safe for concurrent use.
type Session struct {
	o       Options
	dir     string
	scratch *os.File // for writing
	file    *os.File // the same file, for reading; inherited by children
	child   *child   // nil: none
}

// NewSession returns a session that creates its scratch file in a directory when it is needed. The caller must close
// it.
func NewSession(dir string, o Options) *Session { return &Session{o: o, dir: dir} }

// Scratch returns the scratch file, emptied. The caller must have closed the rows of the previous file.
func (s *Session) Scratch() (*os.File, error) {
	if s.scratch == nil {
		if err := s.create(); err != nil {
			return nil, err
		}
	}
	if err := s.scratch.Truncate(0); err != nil {
		return nil, fmt.Errorf("empty the copy of a file: %w", err)
	}
	_, err := s.scratch.Seek(0, 0)
	return s.scratch, err
}

// create creates the scratch file, which disappears when it is closed.
func (s *Session) create() (err error) {
	path := filepath.Join(s.dir, uuid.NewString())
	if s.scratch, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("create a copy of a file: %w", err)
	}
	s.file, err = os.Open(path)
	return errors.Join(err, os.Remove(path))
}

// Read returns the rows of the file that was written to the scratch file. The caller must close them before it calls
// Scratch again. The child is killed when ctx ends, which must be the same context for all files.
func (s *Session) Read(ctx context.Context, format string) (*Rows, error) {
	if s.child != nil && s.child.format != format {
		s.endChild()
	}
	r := &Rows{ctx: ctx, session: s}
	if s.child != nil {
		s.child.used = true
	}
	return r, r.begin(format)
}

// ReadFile returns the rows of a large file without a copy, in a child of its own. The file must be open for reading
// only until the rows are closed. ReadFile waits if maxChildren children are running.
func (s *Session) ReadFile(ctx context.Context, file *os.File, format string) (_ *Rows, err error) {
	s.endChild()
	if s.child, err = start(ctx, file, format, s.o); err != nil {
		return nil, err
	}
	s.child.direct = true
	r := &Rows{ctx: ctx, session: s, file: file}
	return r, r.begin(format)
}

// mend replaces the tail of the file as the verdict of the child says, and makes a new child read it.
func (r *Rows) mend(v verdict) error {
	s := r.session
	if r.file != nil {
		scratch, err := s.Scratch()
		if err != nil {
			return err
		}
		if _, err := io.Copy(scratch, io.NewSectionReader(r.file, 0, v.From)); err != nil {
			return fmt.Errorf("copy a file: %w", err)
		}
	}
	if err := s.scratch.Truncate(v.From); err != nil {
		return fmt.Errorf("mend the copy of a file: %w", err)
	}
	if _, err := s.scratch.WriteAt(v.Tail, v.From); err != nil {
		return fmt.Errorf("mend the copy of a file: %w", err)
	}
	r.mended = true
	return r.readAgain()
}

// begin makes the child of the session, or a new one, read the scratch file.
func (r *Rows) begin(format string) (err error) {
	s := r.session
	if s.child == nil {
		if s.child, err = start(r.ctx, s.file, format, s.o); err != nil {
			return err
		}
	}
	r.child = s.child
	r.wait = waitFactor * s.child.cpu
	if err = s.child.send(s.o.Dataset); err != nil {
		s.endChild()
	}
	return err
}

// readAgain makes a new child read the scratch file from its beginning. The bytes that Read has returned are skipped.
func (r *Rows) readAgain() error {
	format := r.child.format
	r.session.endChild()
	r.skip = r.read
	return r.begin(format)
}

// endChild ends the child.
func (s *Session) endChild() {
	if s.child != nil {
		s.child.close()
		s.child = nil
	}
}

// Close ends the child and removes the scratch file.
func (s *Session) Close() {
	s.endChild()
	for _, file := range []*os.File{s.scratch, s.file} {
		if file != nil {
			file.Close()
		}
	}
}
