package warehouse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// Quarantine yields refused rows and files, those of the oldest quarantine file first, and ends after an error. A line
// of a quarantine file that is damaged is yielded as a refusal without an origin. Quarantine holds one row at a time in
// memory.
func (w *Warehouse) Quarantine(ctx context.Context) iter.Seq2[Refusal, error] {
	return func(yield func(Refusal, error) bool) {
		infos, err := w.quarantined()
		if err != nil {
			yield(Refusal{}, fmt.Errorf("read the quarantine: %w", err))
			return
		}
		for _, info := range infos {
			for line, err := range w.quarantineLines(ctx, info.Name()) {
				if err != nil {
					yield(Refusal{}, fmt.Errorf("read the quarantine: %s: %w", info.Name(), err))
					return
				}
				if !yield(line.Refusal, nil) {
					return
				}
			}
		}
	}
}

// A quarantineLine is a line of a quarantine file.
type quarantineLine struct {
	Refusal
	text    []byte // the line with its line break
	dataset schema.Dataset
	tenant  uuid.UUID // zero: the row names its tenant
	isRow   bool      // the line is a refused row, which can be replayed
	damaged bool      // the line cannot be parsed
	// unreadable means that the file cannot be read, or not from here on. The line stands for its rest.
	unreadable bool
}

// quarantineLines yields the lines of a quarantine file. It yields none if a concurrent replay has removed the file. A
// file that cannot be read becomes a condition of the data folder and yields one damaged line, because it must not stop
// the readers of the other files. The only errors are those of ctx.
func (w *Warehouse) quarantineLines(ctx context.Context, name string) iter.Seq2[quarantineLine, error] {
	return func(yield func(quarantineLine, error) bool) {
		subject := filepath.Join(quarantineDir, name)
		unreadable := func(err error) {
			w.conditions.set(uuid.Nil, QuarantineUnreadable, subject, err)
			yield(quarantineLine{damaged: true, unreadable: true, Refusal: Refusal{
				Name: name, Reason: fmt.Sprintf("this quarantine file cannot be read: %s", err)}}, nil)
		}
		file, err := w.folder.openRegular(w.folder.join(subject))
		if errors.Is(err, fs.ErrNotExist) {
			w.conditions.set(uuid.Nil, QuarantineUnreadable, subject, nil)
			return
		}
		if err != nil {
			unreadable(err)
			return
		}
		defer file.Close()
		in := bufio.NewReaderSize(file, 64<<10)
		for number := 1; ; number++ {
			text, err := in.ReadBytes('\n')
			if len(text) > 0 && ctx.Err() == nil {
				if !yield(parseQuarantineLine(name, number, text), nil) {
					return
				}
			}
			switch {
			case ctx.Err() != nil:
				yield(quarantineLine{}, ctx.Err())
				return
			case errors.Is(err, io.EOF):
				w.conditions.set(uuid.Nil, QuarantineUnreadable, subject, nil)
				return
			case err != nil:
				unreadable(err)
				return
			}
		}
	}
}

// parseQuarantineLine parses a line of a quarantine file. The row of a line is the original text as a JSON string. An
// operator who corrects the row may also write it as an object.
func parseQuarantineLine(name string, number int, text []byte) quarantineLine {
	stored := struct {
		Refusal
		Row json.RawMessage `json:"row"`
	}{}
	line := quarantineLine{text: append(bytes.TrimRight(text, "\r\n"), '\n')}
	err := json.Unmarshal(text, &stored)
	line.Refusal = stored.Refusal
	if err == nil && bytes.HasPrefix(stored.Row, []byte(`"`)) {
		err = json.Unmarshal(stored.Row, &line.Row)
	} else if string(stored.Row) != "null" {
		line.Row, line.Header = string(stored.Row), ""
	}
	if err == nil && line.Row != "" {
		line.isRow = true
		line.dataset, err = schema.DatasetNamed(line.Dataset)
		if err == nil && line.Tenant != "" {
			line.tenant, err = uuid.Parse(line.Tenant)
		}
	}
	if err != nil {
		line.isRow, line.damaged = false, true
		shown := bytes.TrimSpace(text)
		line.Refusal = Refusal{Row: strings.ToValidUTF8(string(shown[:min(len(shown), maxRefusedText)]), "\uFFFD"),
			Reason: fmt.Sprintf("line %d of this quarantine file is damaged: %s", number, err)}
	}
	line.Name = name
	return line
}

// maxRefusedText is the number of bytes of a damaged line that are shown.
const maxRefusedText = 1024

// A LineParser returns a line of a CSV file with a header as a JSON object, or the reason why it is not valid.
type LineParser func(dataset schema.Dataset, header, line string) (object, defect string)

// Replay merges the refused rows of the named quarantine files, or of all files if there are no names. Rows that are
// merged leave the quarantine; rows that are refused again stay, with the new reason. Refused files and damaged lines
// stay too. A row does not replace a newer version. A row without a time of its own counts as older than every existing
// version. parse reads refused lines of CSV.
func (w *Warehouse) Replay(ctx context.Context, parse LineParser, names ...string) (
	total schema.Counts, refusals []Refusal, err error,
) {
	w.refused.replaying.Lock()
	defer w.refused.replaying.Unlock()
	known, err := w.quarantineNames(names)
	if err != nil {
		return total, nil, fmt.Errorf("replay: %w", err)
	}
	if len(names) == 0 {
		names = known
		// Files that a crash left set aside come first, so that they are not replayed again with their original.
		slices.SortStableFunc(names, func(a, b string) int {
			return strings.Compare(filepath.Ext(b), filepath.Ext(a))
		})
	}
	var errs []error
	for _, name := range names {
		counts, refused, err := w.replayFile(ctx, parse, name)
		total.Add(counts)
		refusals = append(refusals, refused[:min(len(refused), maxRefusals-min(maxRefusals, len(refusals)))]...)
		if err != nil {
			errs = append(errs, fmt.Errorf("replay %s: %w", name, err))
		}
		if err != nil && !errors.Is(err, ErrUnavailable) { // an unavailable tenant does not stop the replay of others
			break
		}
	}
	return total, refusals, errors.Join(errs...)
}

// quarantineNames returns the names of all quarantine files, oldest first. It returns ErrNotFound if one of names is
// missing.
func (w *Warehouse) quarantineNames(names []string) ([]string, error) {
	infos, err := w.quarantined()
	if err != nil {
		return nil, err
	}
	known := make([]string, len(infos))
	for i, info := range infos {
		known[i] = info.Name()
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%w: no quarantine file %q; `voicory quarantine list` shows them", ErrNotFound, name)
		}
	}
	return known, nil
}

// RemoveQuarantined removes quarantine files with all their rows. If one of the files does not exist, it returns
// ErrNotFound and removes nothing.
func (w *Warehouse) RemoveQuarantined(names ...string) error {
	w.refused.replaying.Lock()
	defer w.refused.replaying.Unlock()
	if _, err := w.quarantineNames(names); err != nil {
		return fmt.Errorf("remove from the quarantine: %w", err)
	}
	for _, name := range names {
		if err := w.folder.removeDurable(w.folder.join(filepath.Join(quarantineDir, name))); err != nil {
			return fmt.Errorf("remove from the quarantine: %w", err)
		}
	}
	return nil
}

// replayFile renames the file, so that rows that are refused again can be stored under its name, merges its rows, and
// removes the file once they are durable. A file without rows stays as it is.
func (w *Warehouse) replayFile(ctx context.Context, parse LineParser, name string) (
	total schema.Counts, refusals []Refusal, err error,
) {
	hasRows := false
	for line, err := range w.quarantineLines(ctx, name) {
		if err != nil {
			return total, nil, err
		}
		if line.unreadable { // the file stays as it is
			return total, []Refusal{line.Refusal}, nil
		}
		hasRows = hasRows || line.isRow
	}
	if !hasRows {
		return total, nil, nil
	}
	aside := strings.TrimSuffix(name, replayingSuffix) + replayingSuffix
	path := filepath.Join(w.dir, quarantineDir, aside)
	if aside != name {
		left, err := w.folder.exists(path)
		if err != nil {
			return total, refusals, err
		}
		if left { // by a crash: replay it first
			if total, refusals, err = w.replayFile(ctx, parse, aside); err != nil {
				return total, refusals, err
			}
		}
		renamed := w.folder.rename(w.folder.join(filepath.Join(quarantineDir, name)), path)
		if err := errors.Join(renamed, w.folder.sync(filepath.Dir(path))); err != nil {
			return total, refusals, err
		}
	}
	r := replayer{w: w, parse: parse, rows: array.NewRecordBuilder(mallocator.NewMallocator(), LinesSchema)}
	defer r.rows.Release()
	var kept bytes.Buffer // lines that are not rows
	for line, err := range w.quarantineLines(ctx, aside) {
		if line.unreadable {
			err = errors.New(line.Reason)
		}
		if err == nil && !line.isRow {
			kept.Write(line.text)
		} else if err == nil {
			err = r.add(ctx, line)
		}
		if err != nil {
			return r.counts, r.refusals, err
		}
	}
	err = r.flush(ctx)
	if err == nil && kept.Len() > 0 {
		err = w.writeRefused(kept.Bytes(), originOf(name))
	}
	total.Add(r.counts)
	refusals = append(refusals, r.refusals...)
	if err != nil {
		return total, refusals, err
	}
	return total, refusals, w.folder.removeDurable(path)
}

// originOf returns the part of the name of a quarantine file that shows its origin.
func originOf(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(name, replayingSuffix), refusedSuffix)
	return strings.TrimSuffix(name, filepath.Ext(name)) // the digest
}

// A replayer merges refused rows in batches of rows of one origin.
type replayer struct {
	w        *Warehouse
	parse    LineParser
	key      replayKey // of the rows of the batch
	rows     *array.RecordBuilder
	bytes    int // of the texts of the batch
	counts   schema.Counts
	refusals []Refusal
}

// A replayKey holds the properties that all rows of a batch have in common.
type replayKey struct {
	dataset        string
	tenant         uuid.UUID
	origin, header string
	withoutNumbers bool
}

// maxReplayBytes is the number of bytes from which a batch of refused rows is merged.
const maxReplayBytes = 16 << 20

// add adds a row to the batch. It merges the batch before if the row does not belong to it, or if it is full.
func (r *replayer) add(ctx context.Context, line quarantineLine) error {
	key := replayKey{line.Dataset, line.tenant, line.File, line.Header, line.Line == 0}
	rows := r.rows.Field(0).Len()
	if rows > 0 && (key != r.key || r.bytes >= maxReplayBytes || rows >= RowGroup) {
		if err := r.flush(ctx); err != nil {
			return err
		}
		rows = 0
	}
	r.key = key
	number, text, defect := line.Line, line.Row, ""
	if number == 0 {
		number = int64(rows) + 1
	}
	if line.Header != "" && r.parse != nil {
		object, reason := r.parse(line.dataset, line.Header, line.Row)
		if defect = reason; defect == "" {
			text = object
		}
	}
	r.rows.Field(0).(*array.Int64Builder).Append(number)
	r.rows.Field(1).(*array.StringBuilder).Append(strings.ToValidUTF8(text, "\uFFFD"))
	if defects := r.rows.Field(2).(*array.StringBuilder); defect != "" {
		defects.Append(defect)
	} else {
		defects.AppendNull()
	}
	r.bytes += len(text)
	return nil
}

// flush merges the batch.
func (r *replayer) flush(ctx context.Context) error {
	r.bytes = 0
	record := r.rows.NewRecordBatch()
	defer record.Release()
	if record.NumRows() == 0 {
		return nil
	}
	reader, err := array.NewRecordReader(LinesSchema, []arrow.RecordBatch{record})
	if err != nil {
		return err
	}
	defer reader.Release()
	dataset, err := schema.DatasetNamed(r.key.dataset)
	if err != nil {
		return err
	}
	staged, err := r.w.Stage(ctx, Batch{Dataset: dataset, Tenant: r.key.tenant, Origin: r.key.origin,
		Rows: Lines{Reader: reader}, FromQuarantine: true, NoLineNumbers: r.key.withoutNumbers})
	if err != nil {
		return err
	}
	staged.SetOrigins([]Origin{{Name: r.key.origin, Header: r.key.header}})
	counts, refusals, err := staged.Merge(ctx)
	r.counts.Add(counts)
	r.refusals = append(r.refusals, refusals...)
	return err
}
