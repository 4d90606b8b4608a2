package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/ingest/filereader"
	"github.com/voicory/warehouse/warehouse"
)

// Input is one file of rows.
type Input struct {
	Name     string        // says format and dataset where these are empty; "-" is NDJSON
	Format   Format        // empty: the name says it
	Body     io.Reader     // its bytes, perhaps compressed with gzip or zstd
	Path     string        // where it lies on this machine, if it does: DuckDB then reads it there where it can
	Dataset  string        // empty: the name says it
	Tenant   uuid.UUID     // whose rows these are; zero: each row says so
	Progress func(n int64) // told the bytes of Body as they are used up; may be nil
	Bounds   Bounds        // of what may come from anyone
	Log      *slog.Logger  // for file readers that die; default: slog.Default
	InTurn   bool          // many of this kind may be loaded at a time: they take turns, and none has others wait for its Body
}

// Bounds are how much is taken of one input; zero: any amount. What was merged when one is reached stays.
type Bounds struct {
	Bytes   int64 // unpacked; beyond, ErrTooLarge
	Refused int64 // rows, which the quarantine keeps; beyond, the rest is not read
}

var errUnpacked = fmt.Errorf("%w: the rows unpacked", warehouse.ErrTooLarge)

// Summary says what became of the rows of one or more files.
type Summary struct {
	Files        int `json:"files"`
	FilesRefused int `json:"files_refused"` // could not be read, or not to their end
	warehouse.Counts
	Refusals []warehouse.Refusal `json:"refusals"`                 // the first; the quarantine holds all
	Unknown  []string            `json:"unknown_fields,omitempty"` // of rows, as dataset.field; they are not kept
}

// Add sums.
func (s *Summary) Add(other Summary) {
	s.Files += other.Files
	s.FilesRefused += other.FilesRefused
	s.Counts.Add(other.Counts)
	for _, refusal := range other.Refusals {
		if len(s.Refusals) < maxRefusals || other.FilesRefused > 0 {
			s.Refusals = append(s.Refusals, refusal)
		}
	}
	s.Unknown = append(s.Unknown, other.Unknown...)
	slices.Sort(s.Unknown)
	s.Unknown = slices.Compact(s.Unknown)
}

// maxRefusals bounds the refused rows that a summary shows; it shows all refused files.
const maxRefusals = 100

// merge merges a batch and sums up what became of it.
func (s *Summary) merge(ctx context.Context, staged *warehouse.Staged) error {
	batch := Summary{}
	for _, field := range staged.Unknown() {
		batch.Unknown = append(batch.Unknown, field.String())
	}
	var err error
	batch.Counts, batch.Refusals, err = staged.Merge(ctx)
	s.Add(batch)
	return err
}

// Load takes one file in, batch by batch and in its order; loading a file again changes nothing. A file that cannot be read is
// refused and counted, the last of the refusals, and is no error: errors are the warehouse's.
func Load(ctx context.Context, w *warehouse.Warehouse, in Input) (Summary, error) {
	in.Name = strings.ToValidUTF8(in.Name, "\uFFFD") // it is written into the quarantine
	summary := Summary{Files: 1, Refusals: []warehouse.Refusal{}}
	err := in.load(ctx, w, func(staged *warehouse.Staged, _ bool) error {
		if most := in.Bounds.Refused; most > 0 && summary.Refused+staged.Refused() > most {
			return errors.Join(&unreadableError{fmt.Errorf("more than %d rows were refused; the rest was not looked at", most)}, staged.Close())
		}
		return summary.merge(ctx, staged)
	})
	if ctx.Err() != nil {
		return summary, ctx.Err() // whatever a cancelled reader looked like
	}
	if errors.Is(err, warehouse.ErrTooLarge) {
		return summary, err
	}
	if unreadable := (*unreadableError)(nil); errors.As(err, &unreadable) {
		refused, err := Refused(warehouse.Refusal{File: in.Name, Dataset: in.Dataset, Reason: unreadable.Error()}, w.RefuseFile)
		refused.Files = 0 // it is counted already
		summary.Add(refused)
		return summary, err
	}
	return summary, err
}

// Refused is the summary of a file that cannot be read; keep puts it into quarantine.
func Refused(refusal warehouse.Refusal, keep func(warehouse.Refusal) error) (Summary, error) {
	refusal.File = strings.ToValidUTF8(refusal.File, "\uFFFD")
	return Summary{Files: 1, FilesRefused: 1, Refusals: []warehouse.Refusal{refusal}}, keep(refusal)
}

// unreadableError is the file's fault.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// load stages the batches of the file, and has each merged in turn.
func (in Input) load(ctx context.Context, w *warehouse.Warehouse, merge mergeFunc) error {
	if in.Format == "" {
		var err error
		if in.Format, err = recognise(in.Name); err != nil {
			return &unreadableError{err}
		}
	}
	dataset, err := in.dataset()
	if err != nil {
		return &unreadableError{err}
	}
	unpacked, packed, err := unpack(&progressReader{ctx, in.Body, in.Progress})
	if err != nil {
		return &unreadableError{err}
	}
	defer unpacked.Close()
	body := in.bounded(unpacked)
	stage := func(ctx context.Context, rows warehouse.Rows) (*warehouse.Staged, error) {
		return w.Stage(ctx, warehouse.Batch{Dataset: dataset, Tenant: in.Tenant, Origin: in.Name, Rows: rows, Throttled: in.InTurn})
	}
	switch in.Format {
	case NDJSON:
		return in.loadRows(ctx, newLineReader(body), "line", stage, merge)
	case JSON:
		return in.loadRows(ctx, newArrayReader(body), "row", stage, merge)
	case Parquet, Arrow:
		return in.loadTable(ctx, w, body, packed, dataset, stage, merge)
	}
	return in.loadFile(ctx, w, body, packed, stage, merge)
}

// loadFile merges a CSV file, which DuckDB reads itself, as one batch.
func (in Input) loadFile(ctx context.Context, w *warehouse.Warehouse, body io.Reader, packed bool, stage stageFunc, merge mergeFunc) error {
	path, remove, err := in.place(body, packed, w.TempDir(), in.Format)
	if err != nil {
		return err
	}
	defer remove()
	staged, err := stage(ctx, warehouse.CSVFile(path))
	if err == nil {
		err = merge(staged, true)
	}
	if errors.Is(err, warehouse.ErrUnreadable) && !errors.Is(err, warehouse.ErrNoSpace) {
		return &unreadableError{errors.New(strings.ReplaceAll(err.Error(), path, in.Name))}
	}
	return err
}

// loadTable merges a Parquet or Arrow file. A child process reads it, and its rows are then read like NDJSON.
func (in Input) loadTable(ctx context.Context, w *warehouse.Warehouse, body io.Reader, packed bool, dataset warehouse.Dataset, stage stageFunc, merge mergeFunc) error {
	file, err := in.spool(body, packed, w.TempDir())
	if err != nil {
		return err
	}
	defer file.Close()
	command, err := filereader.Command()
	if err != nil {
		return err
	}
	rows, err := filereader.Open(ctx, file, filereader.Options{Command: command, Format: string(in.Format), Dataset: dataset.Name, Log: cmp.Or(in.Log, slog.Default())})
	if err != nil {
		return err
	}
	defer rows.Close()
	return in.loadRows(ctx, newLineReader(in.bounded(rows)), "row", stage, merge)
}

// spool returns the file of the input, opened for reading only: the one at Path, or a copy that has no name and ends with this process.
func (in Input) spool(body io.Reader, packed bool, tempDir string) (*os.File, error) {
	if in.Path != "" && !packed {
		file, err := os.Open(in.Path)
		if err != nil {
			return nil, &unreadableError{err}
		}
		return file, nil
	}
	path, remove, err := in.place(body, true, tempDir, in.Format)
	if err != nil {
		return nil, err
	}
	defer remove()
	return os.Open(path)
}

// bounded returns a reader of rows, or of their file, that fails with ErrTooLarge beyond the input's bound.
func (in Input) bounded(rows io.Reader) io.Reader {
	if in.Bounds.Bytes == 0 {
		return rows
	}
	return &countedReader{rows, in.Bounds.Bytes}
}

// countedReader gives so many bytes and no more.
type countedReader struct {
	io.Reader
	left int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, errUnpacked
	}
	return n, err
}

// stageFunc stages a batch.
type stageFunc func(context.Context, warehouse.Rows) (*warehouse.Staged, error)

// mergeFunc merges a batch; last says that it is the last one, and that nothing was left unread.
type mergeFunc func(staged *warehouse.Staged, last bool) error

func (in Input) dataset() (warehouse.Dataset, error) {
	if in.Dataset != "" {
		return warehouse.DatasetNamed(in.Dataset)
	}
	return datasetOf(in.Name)
}

// loadRows cuts the rows of the input into batches.
func (in Input) loadRows(ctx context.Context, rows rowReader, unit string, stage stageFunc, merge mergeFunc) error {
	cutter := newCutter(rows, mallocator.NewMallocator())
	cutter.whole = in.InTurn
	err := loadBatches(ctx, cutter, stage, merge)
	if err == nil && cutter.failure() != nil {
		return &unreadableError{fmt.Errorf("cannot be read after %s %d: %w", unit, cutter.line, cutter.failure())}
	}
	return err
}

// batches are portions of rows, in their order.
type batches interface {
	more() bool
	rows() (_ warehouse.Rows, release func())
	failure() error // why there are no more before the end; nil where there are, or it is the end
}

// loadBatches stages and merges. While one batch is merged, which keeps one core busy, the next is staged.
func loadBatches(ctx context.Context, in batches, stage stageFunc, merge mergeFunc) error {
	group, ctx := errgroup.WithContext(ctx)
	type read struct {
		*warehouse.Staged
		last bool
	}
	ready := make(chan read)
	group.Go(func() error {
		defer close(ready)
		for in.more() {
			rows, release := in.rows()
			staged, err := stage(ctx, rows)
			release()
			if err != nil {
				return err
			}
			select {
			case ready <- read{staged, !in.more() && in.failure() == nil}:
			case <-ctx.Done():
				return errors.Join(ctx.Err(), staged.Close())
			}
		}
		return nil
	})
	group.Go(func() error {
		for batch := range ready {
			if err := merge(batch.Staged, batch.last); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// place puts a file that DuckDB reads itself where it can: a link to the file, or a copy of what has to be unpacked or
// came over a pipe. Its name is one that no pattern can hide in.
func (in Input) place(body io.Reader, packed bool, tempDir string, format Format) (path string, remove func(), err error) {
	path = filepath.Join(tempDir, uuid.NewString()+"."+string(format))
	remove = func() { os.Remove(path) } // the folder is emptied at the next start, too
	if in.Path != "" && !packed {
		absolute, err := filepath.Abs(in.Path)
		if err != nil {
			return "", nil, &unreadableError{err}
		}
		return path, remove, os.Symlink(absolute, path)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	source := &faultReader{Reader: body}
	if _, err := io.Copy(file, source); err != nil {
		remove()
		if source.err != nil && !errors.Is(err, context.Canceled) {
			err = &unreadableError{fmt.Errorf("cannot be read: %w", err)}
		}
		return "", nil, err
	}
	return path, remove, nil
}

// faultReader remembers that it was the reading that failed, not the writing.
type faultReader struct {
	io.Reader
	err error
}

func (r *faultReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// unpack takes gzip or zstd off, told by the first bytes.
func unpack(body io.Reader) (_ io.ReadCloser, packed bool, err error) {
	in := bufio.NewReaderSize(body, 1<<20)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("cannot be read: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, false, fmt.Errorf("cannot be read as gzip: %w", err)
		}
		return unpacked, true, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unpacked, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, false, fmt.Errorf("cannot be read as zstd: %w", err)
		}
		return unpacked.IOReadCloser(), true, nil
	}
	return io.NopCloser(in), false, nil
}

// progressReader tells what was read, and ends when the context does.
type progressReader struct {
	ctx  context.Context
	in   io.Reader
	told func(int64)
}

func (r *progressReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.in.Read(p)
	if r.told != nil && n > 0 {
		r.told(int64(n))
	}
	return n, err
}
