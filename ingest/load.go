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
	"sync/atomic"

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

// Bounds limit the work on one input of unknown origin. Zero is unlimited. Rows that were merged before a bound was reached stay.
type Bounds struct {
	Bytes   int64 // unpacked, of the input and of the rows read from a table; above, and above MaxExpansion, a warehouse.TooLargeError
	Refused int64 // rows, which the quarantine keeps; above, the rest is not read
}

// MaxExpansion bounds what a bounded input unpacks to: this many times its bytes, or minExpansion bytes if that is more. So a small input
// cannot cause the work of a large one. Rows of JSON shrink to a tenth or a hundredth.
const (
	MaxExpansion = 200
	minExpansion = 128 << 20
)

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
	source := &progressReader{ctx: ctx, in: in.Body, progress: in.Progress}
	unpacked, packed, err := in.unpack(source)
	if err != nil {
		return &unreadableError{err}
	}
	defer unpacked.Close()
	bounded := func(r io.Reader) io.Reader { return &boundedReader{in: r, source: source, most: in.Bounds.Bytes} }
	body := bounded(unpacked)
	stage := func(ctx context.Context, rows warehouse.Rows) (*warehouse.Staged, error) {
		staged, err := w.Stage(ctx, warehouse.Batch{Dataset: dataset, Tenant: in.Tenant, Origin: in.Name, Rows: rows, Throttled: in.InTurn})
		if errors.Is(err, warehouse.ErrUnreadable) && !errors.Is(err, warehouse.ErrNoSpace) {
			err = &unreadableError{err}
		}
		return staged, err
	}
	switch in.Format {
	case NDJSON:
		return in.loadRows(ctx, newLineReader(body), "line", stage, merge)
	case JSON:
		return in.loadRows(ctx, newArrayReader(body), "row", stage, merge)
	case CSV:
		return in.loadRows(ctx, newCSVReader(body, dataset), "line", stage, merge)
	}
	return in.loadTable(ctx, w, body, packed, bounded, dataset, stage, merge)
}

// loadTable merges a Parquet or Arrow file. A child process reads it, and its rows are then read like NDJSON.
func (in Input) loadTable(ctx context.Context, w *warehouse.Warehouse, body io.Reader, packed bool, bounded func(io.Reader) io.Reader, dataset warehouse.Dataset,
	stage stageFunc, merge mergeFunc) error {
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
	return in.loadRows(ctx, newLineReader(bounded(rows)), "row", stage, merge)
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
	path := filepath.Join(tempDir, uuid.NewString()+"."+string(in.Format))
	copied, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	defer copied.Close()
	source := &faultReader{Reader: body}
	if _, err := io.Copy(copied, source); err != nil {
		if source.err != nil && !errors.Is(err, context.Canceled) {
			err = &unreadableError{fmt.Errorf("cannot be read: %w", err)}
		}
		return nil, err
	}
	return os.Open(path)
}

// boundedReader reads what an input unpacks to. Every byte counts, whatever becomes of it. It fails with a warehouse.TooLargeError above
// the bounds, and when the context of the source ends: a small part of the source can unpack to gigabytes.
type boundedReader struct {
	in     io.Reader
	source *progressReader
	most   int64 // bytes; 0: any number
	read   int64 // bytes
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if err := r.source.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.in.Read(p)
	r.read += int64(n)
	if most := min(r.most, max(minExpansion, MaxExpansion*r.source.read.Load())); r.read > most && r.most > 0 {
		return 0, &warehouse.TooLargeError{Bytes: most}
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

// unpack returns a reader of the input without its compression, which its first bytes tell, and whether it has one.
func (in Input) unpack(source io.Reader) (_ io.ReadCloser, packed bool, err error) {
	buffered := bufio.NewReaderSize(source, 1<<20)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("cannot be read: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, false, fmt.Errorf("cannot be read as gzip: %w", err)
		}
		return unpacked, true, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		window := uint64(maxWindow)
		if in.Bounds.Bytes > 0 {
			window = maxBoundedWindow
		}
		unpacked, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, false, fmt.Errorf("cannot be read as zstd: %w", err)
		}
		return unpacked.IOReadCloser(), true, nil
	}
	return io.NopCloser(buffered), false, nil
}

// Largest windows of zstd, in bytes, each of which a frame of a few bytes makes the decoder allocate: that of the zstd command, and that
// of its level 20 for a bounded input.
const (
	maxWindow        = 128 << 20
	maxBoundedWindow = 32 << 20
)

// progressReader reads an input as it came, counts its bytes, and ends with the context.
type progressReader struct {
	ctx      context.Context
	in       io.Reader
	progress func(int64)  // may be nil
	read     atomic.Int64 // bytes; a decompressor reads in a goroutine of its own
}

func (r *progressReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.in.Read(p)
	r.read.Add(int64(n))
	if r.progress != nil && n > 0 {
		r.progress(int64(n))
	}
	return n, err
}
