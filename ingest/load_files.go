package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Bounds of a group of small files, which are merged together. One merge takes about 50 ms of CPU time, however few its
// rows are.
const (
	maxSmallFile  = 1 << 20  // bytes
	maxGroupBytes = 16 << 20 // bytes of all files
	maxGroupFiles = 1000
)

// Groups divides files of one tenant into groups for LoadFiles. The files of a group have one dataset. Groups keeps the
// order of the files of a dataset. A file that is not small, or that has no dataset, is a group of its own.
func Groups(files []Input) (groups [][]Input) {
	pending := map[string][]Input{} // small files by dataset
	sizes := map[string]int64{}
	flush := func(dataset string) {
		if len(pending[dataset]) > 0 {
			groups = append(groups, pending[dataset])
		}
		pending[dataset], sizes[dataset] = nil, 0
	}
	for _, file := range files {
		dataset, err := file.dataset()
		if err != nil || file.Open == nil || file.Size > maxSmallFile {
			flush(dataset.Name)
			groups = append(groups, []Input{file})
			continue
		}
		if sizes[dataset.Name]+file.Size > maxGroupBytes || len(pending[dataset.Name]) == maxGroupFiles {
			flush(dataset.Name)
		}
		pending[dataset.Name] = append(pending[dataset.Name], file)
		sizes[dataset.Name] += file.Size
	}
	for _, d := range schema.Datasets {
		flush(d.Name)
	}
	return groups
}

// maxAttempts is the number of times that a file is read before an error of its rows' batch is attributed to it.
const maxAttempts = 3

// attemptPause is the time between two attempts.
const attemptPause = time.Second

// LoadFiles merges a group of Groups like Load. It stores the hashes of the files that have one as files of the source,
// in the transaction of the last rows.
//
// One tenant never keeps the others back: LoadFiles returns a [warehouse.UnmergedError] after it has merged the rows of
// the other tenants, see leave. One file never keeps the others back: if loading the files together ends with a
// batchError, each file is loaded alone. A file whose load ends with a batchError maxAttempts times is refused.
func LoadFiles(ctx context.Context, w *warehouse.Warehouse, files []Input, source string) (Summary, error) {
	state := &warehouse.State{Source: source}
	for _, file := range files {
		if file.Hash != 0 {
			state.Files = append(state.Files, file.Hash)
		}
	}
	for attempt := 1; ; attempt++ {
		summary, err := loadInputs(ctx, w, files, state)
		var failed *batchError
		switch {
		case !errors.As(err, &failed):
			return summary, err
		case len(files) > 1:
			return loadEach(ctx, w, files, source)
		case files[0].Open == nil && !errors.Is(err, warehouse.ErrUnreadable):
			return summary, err
		case attempt == maxAttempts, errors.Is(err, warehouse.ErrUnreadable):
			err := summary.refuse(w, files[0], failed.err)
			if err == nil {
				err = w.SaveState(ctx, files[0].Tenant, *state)
			}
			return summary, err
		}
		select {
		case <-ctx.Done():
			return summary, ctx.Err()
		case <-time.After(attemptPause):
		}
	}
}

// loadEach loads each file of a group alone.
func loadEach(ctx context.Context, w *warehouse.Warehouse, files []Input, source string) (total Summary, err error) {
	var unmerged warehouse.UnmergedError
	for _, file := range files {
		summary, err := LoadFiles(ctx, w, []Input{file}, source)
		total.Add(summary)
		if failed := (*warehouse.UnmergedError)(nil); errors.As(err, &failed) && file.Tenant == uuid.Nil {
			unmerged.Add(failed)
		} else if err != nil {
			return total, err
		}
	}
	return total, unmerged.OrNil()
}

// A batchError is an error of staging or merging a batch, which may be caused by the rows of the batch.
type batchError struct{ err error }

func (e *batchError) Error() string { return e.err.Error() }
func (e *batchError) Unwrap() error { return e.err }

// stagingError returns an error of staging rows, as a batchError unless the disk is full or ctx has ended.
func stagingError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, warehouse.ErrNoSpace) {
		return err
	}
	return &batchError{err}
}

// mergingError returns an error of merging rows, as a batchError if the memory is full. A batch may need more memory in
// its merge than for its staging. Other errors of a merge are those of a store.
func mergingError(ctx context.Context, err error) error {
	if errors.Is(err, warehouse.ErrNoMemory) {
		return stagingError(ctx, err)
	}
	return err
}

// loadInputs merges files of one dataset and tenant as if they were one, and counts and refuses those that cannot be
// read. If state is not nil, it is stored with the last batch.
func loadInputs(ctx context.Context, w *warehouse.Warehouse, files []Input, state *warehouse.State) (Summary, error) {
	summary := Summary{Files: len(files), Refusals: []warehouse.Refusal{}}
	in := files[0]
	rows := &inputRows{ctx: ctx, w: w, inputs: files, summary: &Summary{}}
	var err error
	if rows.dataset, err = in.dataset(); err != nil {
		return summary, summary.refuse(w, in, err)
	}
	tables, err := newTableOpener(w, in, rows.dataset)
	if err != nil {
		return summary, err
	}
	defer tables.session.Close()
	rows.tables = tables
	saved := state == nil || len(state.Files) == 0 // there is nothing left to store
	if saved {
		state = nil
	}
	var unmerged *warehouse.UnmergedError
	if in.Tenant == uuid.Nil {
		unmerged = &warehouse.UnmergedError{}
	}
	stage := func(ctx context.Context, batch warehouse.Rows) (*warehouse.Staged, error) {
		staged, err := w.Stage(ctx, warehouse.Batch{Dataset: rows.dataset, Tenant: in.Tenant, Origin: in.Name, Rows: batch,
			FromQuarantine: in.FromQuarantine, Throttled: in.Throttled})
		if err != nil {
			return nil, stagingError(ctx, err)
		}
		rows.setHeader()
		staged.SetOrigins(slices.Clone(rows.origins))
		return staged, nil
	}
	merge := func(staged *warehouse.Staged, last bool) error {
		if last && !saved && unmerged.OrNil() == nil {
			staged.SetState(*state)
			saved = true
		}
		if most := in.Bounds.Refused; most > 0 && summary.Refused+staged.Refused() > most {
			err := &unreadableError{fmt.Errorf("more than %d rows were refused; the rest was not read", most)}
			return errors.Join(err, staged.Close())
		}
		return mergingError(ctx, summary.merge(ctx, staged, unmerged))
	}
	batches := newBatcher(rows, w.MaxRow())
	batches.buffered = in.Throttled
	err = loadBatches(ctx, batches, stage, merge)
	rows.end()
	if len(files) == 1 {
		summary.group()
	}
	summary.Add(*rows.summary)
	if err == nil {
		err = rows.failure()
	}
	unreadable := (*unreadableError)(nil)
	if ctx.Err() != nil {
		return summary, ctx.Err() // the reader may have failed only because of the cancellation
	}
	if errors.As(err, &unreadable) && !errors.Is(err, warehouse.ErrTooLarge) {
		err = summary.refuse(w, in, unreadable)
	}
	switch {
	case err == nil && unmerged.OrNil() != nil:
		err = leave(ctx, w, unmerged, state)
	case err == nil && !saved && unreadable == nil:
		err = w.SaveState(ctx, in.Tenant, *state)
	}
	return summary, err
}

// An inputRows reads the rows of files of one dataset, one after another. A file that cannot be read, or not to its
// end, is refused; the next file follows.
type inputRows struct {
	ctx     context.Context
	w       *warehouse.Warehouse
	dataset schema.Dataset
	tables  *tableOpener
	inputs  []Input            // the first is the one that is being read, if reading is set
	origins []warehouse.Origin // of the files that were opened
	summary *Summary           // of the refused files
	number  int64              // number of the last row, through all files

	reading bool
	members []byte // partition columns of the current file, as members of a JSON object
	row     []byte // buffer of the last row, if the file has partition columns
	openInput
	err error // error that ended the reading early
}

// more reports whether another row may follow. It opens the next file at the end of one.
func (r *inputRows) more() bool {
	for r.err == nil {
		if r.reading {
			if r.openInput.more() {
				return true
			}
			r.endFile()
			continue
		}
		if len(r.inputs) == 0 {
			return false
		}
		in := r.inputs[0]
		opened, err := in.open(r.ctx, r.dataset, r.tables)
		switch unreadable := (*unreadableError)(nil); {
		case err == nil:
			name := strings.ToValidUTF8(in.Name, "\uFFFD") // the quarantine stores it as text
			r.openInput, r.reading, r.members = opened, true, partitionMembers(in.Name, r.dataset)
			r.origins = append(r.origins, warehouse.Origin{Name: name, Before: r.number})
		case r.ctx.Err() != nil || errors.Is(err, warehouse.ErrTooLarge):
			r.err = err
		case in.Hash != 0 && errors.Is(err, fs.ErrNotExist):
			r.inputs = r.inputs[1:] // deleted since it was found
		case errors.As(err, &unreadable):
			r.refuse(unreadable)
		default:
			r.err = err
		}
	}
	return false
}

// setHeader sets the header of the current file, which is known after its first row was read.
func (r *inputRows) setHeader() {
	if r.reading {
		r.origins[len(r.origins)-1].Header = r.header()
	}
}

// endFile closes the current file, and refuses it if it was not read to its end.
func (r *inputRows) endFile() {
	r.setHeader()
	r.reading = false
	r.close()
	err := r.openInput.failure()
	switch {
	case err == nil:
		r.inputs = r.inputs[1:]
	case r.ctx.Err() != nil || errors.Is(err, warehouse.ErrTooLarge):
		r.err = err
	default:
		read := r.number - r.origins[len(r.origins)-1].Before
		r.refuse(fmt.Errorf("cannot be read after %s %d: %w", r.unit(), read, err))
	}
}

// end closes the current file if the reading was stopped.
func (r *inputRows) end() {
	if r.reading {
		r.close()
	}
}

// refuse refuses the current file.
func (r *inputRows) refuse(reason error) {
	r.err = r.summary.refuse(r.w, r.inputs[0], reason)
	r.inputs = r.inputs[1:]
}

func (r *inputRows) skip() int64 {
	if !r.more() {
		return 0
	}
	skipped := r.openInput.skip()
	r.number += skipped
	return skipped
}

func (r *inputRows) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	if text, defect, ok = r.openInput.read(); !ok {
		return nil, "", false
	}
	r.number++
	if len(r.members) > 0 && defect == "" {
		r.row = withMembers(r.row[:0], text, r.members)
		text = r.row
	}
	return text, defect, true
}

func (r *inputRows) failure() error { return r.err }
