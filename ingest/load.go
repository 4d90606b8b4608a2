package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/ingest/filereader"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// An Input is one file of rows.
type Input struct {
	Name     string                        // path or label; "-" is standard input, as NDJSON
	Format   Format                        // empty: derived from the extension of Name
	Body     io.Reader                     // the bytes of the file, optionally compressed; nil: use Open
	Open     func() (io.ReadCloser, error) // opens the file; called once per attempt to read it
	Size     int64                         // bytes of the file, for [Groups]
	Path     string                        // absolute path, at which a refused file can be read again; may be empty
	Hash     uint64                        // hash of the file for warehouse.State, if a source remembers it
	Dataset  string                        // empty: derived from Name
	Tenant   uuid.UUID                     // owner of the rows; zero: each row names its tenant
	Progress func(n int64)                 // called with the number of bytes just read from Body; may be nil
	Bounds   Bounds                        // limits for an untrusted input
	Log      *slog.Logger                  // receives failures of file readers; default: slog.Default
	// FromQuarantine means that the file was refused earlier; see warehouse.Batch.
	FromQuarantine bool
	// Throttled limits how many such inputs are staged at the same time. Each batch is read from Body before it waits
	// for a staging slot, so that a slow client cannot hold a slot.
	Throttled bool
}

// Bounds limits the work on an untrusted input. Bytes and Refused are unlimited if they are zero. Rows merged before a
// limit is reached stay.
type Bounds struct {
	// Bytes is the maximum size of the uncompressed input, and of the NDJSON made of a table. Load returns a
	// warehouse.TooLargeError above it, and above MaxExpansion.
	Bytes int64
	// Expansion is the number of bytes that every input may expand to, even a very small one. It defaults to 128 MiB.
	Expansion int64
	// Refused is the maximum number of refused rows, which the quarantine stores. The rest of the input is not read.
	Refused int64
}

// MaxExpansion is the maximum ratio of uncompressed to compressed size of a bounded input that expands to more than
// Bounds.Expansion bytes. The limit keeps a small input from causing the work of a large one. JSON rows typically
// compress by a factor of 10 to 100.
const MaxExpansion = 200

const defaultExpansion = 128 << 20 // bytes

// A Summary counts the outcome of loading one or more files.
type Summary struct {
	Files        int `json:"files"`
	FilesRefused int `json:"files_refused"` // files that could not be read, or not to their end
	schema.Counts
	Refusals []warehouse.Refusal   `json:"refusals"`                 // the first maxRefusals; the quarantine has all
	Unknown  []string              `json:"unknown_fields,omitempty"` // fields that were dropped, as dataset.field, sorted
	Tenants  []uuid.UUID           `json:"tenants,omitempty"`        // tenants of accepted rows, sorted
	Notes    []warehouse.FieldNote `json:"field_notes,omitempty"`    // values that could not be stored as they were
	// Reasons has the number of refused rows by dataset and reason. It is not part of the answer to a push, which lists
	// the rows.
	Reasons map[string]int64 `json:"-"`
}

// Add adds the counts, refusals, unknown fields and tenants of other. It keeps at most maxRefusals refusals, except
// those of refused files.
func (s *Summary) Add(other Summary) {
	s.Files += other.Files
	s.FilesRefused += other.FilesRefused
	s.Counts.Add(other.Counts)
	for _, refusal := range other.Refusals {
		if len(s.Refusals) < maxRefusals || other.FilesRefused > 0 {
			s.Refusals = append(s.Refusals, refusal)
		}
	}
	s.Notes = warehouse.AddNotes(s.Notes, other.Notes)
	for reason, rows := range other.Reasons {
		if s.Reasons == nil {
			s.Reasons = map[string]int64{}
		}
		s.Reasons[reason] += rows
	}
	s.Unknown = append(s.Unknown, other.Unknown...)
	slices.Sort(s.Unknown)
	s.Unknown = slices.Compact(s.Unknown)
	s.Tenants = append(s.Tenants, other.Tenants...)
	slices.SortFunc(s.Tenants, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	s.Tenants = slices.Compact(s.Tenants)
}

// maxRefusals is the maximum number of refused rows in a summary. Refused files are always listed.
const maxRefusals = 100

// merge merges a staged batch and adds its outcome to the summary. If unmerged is not nil, the tenants whose rows could
// not be merged are added to it, and are no error, so that the next batches follow.
func (s *Summary) merge(ctx context.Context, staged *warehouse.Staged, unmerged *warehouse.UnmergedError) error {
	batch := Summary{Tenants: staged.Tenants(), Notes: staged.Notes()}
	for _, field := range staged.Unknown() {
		batch.Unknown = append(batch.Unknown, field.String())
	}
	var err error
	batch.Counts, batch.Refusals, err = staged.Merge(ctx)
	batch.Reasons = staged.Reasons()
	s.Add(batch)
	if failed := (*warehouse.UnmergedError)(nil); unmerged != nil && errors.As(err, &failed) {
		unmerged.Add(failed)
		return nil
	}
	return err
}

// leave ends the merge of rows of many tenants after those of some tenants were not merged. It records that these
// tenants lag behind the source, which returns their rows again, and stores the next state of the source unless state
// is nil. Without a state, the caller has to send the rows again. It returns unmerged, or the error that kept the state
// from being stored.
func leave(
	ctx context.Context, w *warehouse.Warehouse, unmerged *warehouse.UnmergedError, state *warehouse.State,
) error {
	if state != nil {
		err := w.Lagging(ctx, state.Source, slices.Collect(maps.Keys(unmerged.Tenants)))
		if err == nil {
			err = w.SaveState(ctx, uuid.Nil, *state)
		}
		if err != nil {
			return err
		}
	}
	return unmerged
}

// group replaces the refusals of a file by one if all rows were refused for the same reason. It adds the names of
// fields that were not read, because a file of another dataset or with other names is the likely cause.
func (s *Summary) group() {
	if s.Read < 2 || s.Refused < s.Read || len(s.Refusals) == 0 {
		return
	}
	first := s.Refusals[0]
	for _, refusal := range s.Refusals {
		if refusal.Kind() != first.Kind() {
			return
		}
	}
	first.Reason = fmt.Sprintf("all %d rows were refused for one reason: %s", s.Refused, first.Reason)
	if len(s.Unknown) > 0 {
		const shown = 8
		names := strings.Join(s.Unknown[:min(len(s.Unknown), shown)], ", ")
		first.Reason += "; fields that are not read: " + strings.ReplaceAll(names, first.Dataset+".", "")
	}
	s.Refusals = []warehouse.Refusal{first}
}

// Load merges one file, batch by batch in its order. Loading a file again changes nothing. A file that cannot be read
// is counted as refused and appended to Refusals; Load then returns no error. Load returns a warehouse.TooLargeError
// if the input exceeds its bounds, the error of ctx, and errors of the warehouse.
func Load(ctx context.Context, w *warehouse.Warehouse, in Input) (Summary, error) {
	summary, err := loadInputs(ctx, w, []Input{in}, nil)
	if failed := (*batchError)(nil); errors.As(err, &failed) && errors.Is(err, warehouse.ErrUnreadable) {
		return summary, summary.refuse(w, in, failed.err)
	}
	return summary, err
}

// refuse adds a file of the summary that cannot be read, or not to its end, to the refusals and to the quarantine.
func (s *Summary) refuse(w *warehouse.Warehouse, in Input, reason error) error {
	refusal := warehouse.Refusal{File: in.Name, Path: in.Path, Dataset: in.Dataset, Reason: reason.Error()}
	if in.Tenant != uuid.Nil {
		refusal.Tenant = in.Tenant.String()
	}
	refused, err := Refused(refusal, w.RefuseFile)
	refused.Files = 0 // the summary counts it already
	s.Add(refused)
	return err
}

// Refused calls keep, which stores the refusal in the quarantine, and returns the summary of a file that cannot be
// read and the error of keep.
func Refused(refusal warehouse.Refusal, keep func(warehouse.Refusal) error) (Summary, error) {
	refusal.File = strings.ToValidUTF8(refusal.File, "\uFFFD")
	if !utf8.ValidString(refusal.Path) {
		refusal.Path = "" // JSON cannot hold it
	}
	err := keep(refusal)
	refusal.Path, refusal.Tenant = "", ""
	return Summary{Files: 1, FilesRefused: 1, Refusals: []warehouse.Refusal{refusal}}, err
}

// An unreadableError is an error caused by the file. It refuses the file and does not fail Load.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// An openInput is an input whose rows are being read.
type openInput struct {
	rowReader
	unit   func() string // name of the unit of the rows' numbers: line or row
	header func() string // header line of a CSV file
	close  func()
}

// open opens the rows of the input. tables reads it if it is a table. open returns an unreadableError if the rows
// cannot be read.
func (in Input) open(ctx context.Context, dataset schema.Dataset, tables *tableOpener) (o openInput, err error) {
	var closers []func()
	o.header = func() string { return "" }
	o.close = func() {
		for _, closer := range slices.Backward(closers) {
			closer()
		}
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	unknown := error(nil)
	if in.Format == "" {
		in.Format, unknown = formatFromName(in.Name)
	}
	if in.Body == nil {
		body, err := in.Open()
		if err != nil {
			return o, &unreadableError{err}
		}
		closers = append(closers, func() { _ = body.Close() })
		in.Body = body
	}
	source := &progressReader{ctx: ctx, in: in.Body, progress: in.Progress}
	unpacked, closer, packed, err := in.unpack(source)
	if err != nil {
		return o, &unreadableError{err}
	}
	closers = append(closers, func() { _ = closer.Close() })
	if in.Format, err = contentFormat(unpacked, in.Format); err != nil {
		return o, err
	}
	if in.Format == "" {
		return o, &unreadableError{unknown}
	}
	bounded := func(r io.Reader) io.Reader {
		return &boundedReader{in: r, source: source, most: in.Bounds.Bytes,
			expansion: cmp.Or(in.Bounds.Expansion, defaultExpansion)}
	}
	body := bounded(unpacked)
	if in.Format == NDJSON || in.Format == JSON || in.Format == CSV {
		if body, err = decodeText(body); err != nil {
			return o, &unreadableError{fmt.Errorf("cannot be read: %w", err)}
		}
	}
	switch in.Format {
	case NDJSON, JSON:
		rows := newJSONReader(body, dataset)
		o.rowReader, o.unit = rows, rows.unit
	case CSV:
		rows := newCSVReader(body, dataset)
		o.rowReader, o.unit, o.header = rows, unit("line"), func() string { return rows.heading }
	default:
		rows, err := tables.open(ctx, in, body, packed)
		if err != nil {
			return o, err
		}
		closers = append(closers, rows.Close)
		o.rowReader, o.unit = &tableReader{newLineReader(bounded(rows))}, unit("row")
	}
	return o, nil
}

// A tableOpener opens Parquet and Arrow files of one dataset. A child process reads a file and returns its rows as
// NDJSON.
type tableOpener struct{ session *filereader.Session }

// newTableOpener returns an opener of the files of a group. The caller must close its session.
func newTableOpener(w *warehouse.Warehouse, in Input, dataset schema.Dataset) (*tableOpener, error) {
	command, err := filereader.Command()
	if err != nil {
		return nil, err
	}
	options := filereader.Options{Command: command, Dataset: dataset.Name, Log: cmp.Or(in.Log, slog.Default())}
	return &tableOpener{filereader.NewSession(w.TempDir(), options)}, nil
}

// open opens a table. A large file that is not compressed is read by a child directly. Otherwise open copies body, the
// bytes of the table, to the scratch file of the session.
func (o *tableOpener) open(ctx context.Context, in Input, body io.Reader, packed bool) (*filereader.Rows, error) {
	if file, ok := in.Body.(*os.File); ok && !packed {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > maxSmallFile {
			return o.session.ReadFile(ctx, file, string(in.Format))
		}
	}
	scratch, err := o.session.Scratch()
	if err != nil {
		return nil, err
	}
	source := &errorReader{Reader: body}
	if _, err := io.Copy(scratch, source); err != nil {
		if source.err != nil && !errors.Is(err, context.Canceled) {
			err = &unreadableError{fmt.Errorf("cannot be read: %w", err)}
		}
		return nil, err
	}
	return o.session.Read(ctx, string(in.Format))
}

// A tableReader reads the rows of a file reader.
type tableReader struct{ *lineReader }

// read returns the next row. Its defect is that of the line, or the one that the file reader found.
func (r *tableReader) read() (text []byte, defect string, ok bool) {
	text, defect, ok = r.lineReader.read()
	text, found := filereader.ParseRow(text)
	return text, cmp.Or(defect, found), ok
}

// A boundedReader limits the bytes that an input expands to. It counts every byte, including blank lines. Read
// returns a warehouse.TooLargeError above the limit. It returns the error of the context of the source when that
// ends, because a small part of the source can expand to gigabytes.
type boundedReader struct {
	in        io.Reader
	source    *progressReader
	most      int64 // bytes; 0: unlimited
	read      int64 // bytes read so far
	expansion int64 // see Bounds
}

// Read reads from in, within the limits of boundedReader.
func (r *boundedReader) Read(p []byte) (int, error) {
	if err := r.source.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.in.Read(p)
	r.read += int64(n)
	if most := min(r.most, max(r.expansion, MaxExpansion*r.source.read.Load())); r.read > most && r.most > 0 {
		return 0, &warehouse.TooLargeError{Bytes: most}
	}
	return n, err
}

// A stageFunc stages a batch of rows.
type stageFunc func(context.Context, warehouse.Rows) (*warehouse.Staged, error)

// A mergeFunc merges a staged batch. last is true for the last batch of an input that was read to its end.
type mergeFunc func(staged *warehouse.Staged, last bool) error

// dataset returns the dataset that Dataset or else Name specifies, or warehouse.ErrInvalid.
func (in Input) dataset() (schema.Dataset, error) {
	if in.Dataset != "" {
		return schema.DatasetNamed(in.Dataset)
	}
	return datasetFromName(in.Name)
}

// unit returns a function that returns name.
func unit(name string) func() string { return func() string { return name } }

// loadBatches stages and merges all batches. One goroutine stages the next batch while another merges the current
// one, which keeps only one core busy. Both have ended when loadBatches returns.
func loadBatches(ctx context.Context, in *batcher, stage stageFunc, merge mergeFunc) error {
	group, ctx := errgroup.WithContext(ctx)
	type stagedBatch struct {
		*warehouse.Staged
		last bool
	}
	ready := make(chan stagedBatch)
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
			case ready <- stagedBatch{staged, !in.more() && in.failure() == nil}:
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

// An errorReader records the error of a read, so that a failed copy can be attributed to its source or its
// destination.
type errorReader struct {
	io.Reader
	err error
}

// Read reads from the underlying reader and sets r.err if that fails.
func (r *errorReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// A progressReader reads the compressed input and counts its bytes. It fails when its context ends.
type progressReader struct {
	ctx      context.Context
	in       io.Reader
	progress func(int64)  // may be nil
	read     atomic.Int64 // bytes read so far; atomic because decompressors read in their own goroutines
}

// Read reads from in and calls progress.
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
