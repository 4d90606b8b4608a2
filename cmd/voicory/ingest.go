package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type ingestCommand struct {
	Tenant  string   `help:"Tenant of the rows; default: user_id of each row." placeholder:"UUID"`
	Dataset string   `help:"calls, customers or messages; default: from the name of each file." placeholder:"NAME"`
	Strict  bool     `help:"Exit with status 1 if any row or file was refused."`
	Paths   []string `arg:"" name:"path" help:"Files, folders, or - for standard input (NDJSON)."`
}

// errStrict is returned by `ingest --strict` if rows or files were refused. The summary, already printed, lists them.
var errStrict = errors.New("rows or files were refused")

// ingestSummary is the summary of the whole command.
type ingestSummary struct {
	ingest.Summary
	Published admin.Publication `json:"published"`
}

// Run ingests every file, publishes, and prints the summary.
func (c *ingestCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	tenant, err := parseOptionalUUID(c.Tenant)
	if err != nil {
		return err
	}
	if c.Dataset != "" {
		if _, err := schema.DatasetNamed(c.Dataset); err != nil {
			return err
		}
	}
	files, skipped, err := ingest.Find(c.Paths)
	if err != nil {
		return err
	}
	conn, err := f.openAdmin(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	for _, entry := range skipped {
		fmt.Fprintf(m.Stderr, "voicory: skipped %s: %s\n", printable(entry.Path), entry.Reason)
	}
	bar := newProgress(m, files)
	var total ingestSummary
	var unmerged error
	for _, group := range ingest.Groups(c.inputs(ctx, m, files, tenant, bar)) {
		summary, err := admin.Ingest(ctx, conn, group)
		total.Add(summary)
		if err != nil {
			err = fmt.Errorf("ingest %s: %w", group[0].Name, err)
			if !errors.Is(err, warehouse.ErrUnavailable) {
				return err
			}
			unmerged = errors.Join(unmerged, err) // of a tenant; the next files may have rows of others
		}
	}
	bar.finish()
	if total.Published, err = m.publish(ctx, conn, total.Tenants); err != nil {
		return err
	}
	if err := errors.Join(m.printResult(f, total, total.text), unmerged); err != nil {
		return err
	}
	if c.Strict && total.Refused+int64(total.FilesRefused) > 0 {
		return errStrict
	}
	return nil
}

// inputs returns the inputs of the files. Files that may block are opened when they are read, and cannot be read again.
func (c *ingestCommand) inputs(
	ctx context.Context, m *Main, files []ingest.Found, tenant uuid.UUID, bar *progress,
) []ingest.Input {
	inputs := make([]ingest.Input, len(files))
	for i, file := range files {
		in := ingest.Input{Name: file.Path, Dataset: c.Dataset, Tenant: tenant, Progress: bar.add}
		open := func() (io.ReadCloser, error) { return os.Open(file.Path) }
		switch {
		case file.Path == ingest.Stdin:
			in.Body = cancellableReader(ctx, func() (io.ReadCloser, error) { return io.NopCloser(m.Stdin), nil })
		case file.Info != nil && !file.Info.Mode().IsRegular(): // a pipe: opening it blocks until it has a writer
			in.Body = cancellableReader(ctx, open)
		default:
			in.Open = open
			if path, err := filepath.Abs(file.Path); err == nil {
				in.Path = path
			}
			if file.Info != nil {
				in.Size = file.Info.Size()
			}
		}
		inputs[i] = in
	}
	return inputs
}

// cancellableReader returns a reader of a source whose open or reads may block for ever. When ctx is done, reads return
// its error.
func cancellableReader(ctx context.Context, open func() (io.ReadCloser, error)) io.Reader {
	reader, writer := io.Pipe()
	go func() { // if the source blocks for ever, this goroutine runs until the process exits
		source, err := open()
		if err == nil {
			_, err = io.Copy(writer, source)
			err = errors.Join(err, source.Close())
		}
		writer.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { reader.CloseWithError(ctx.Err()) })
	return reader
}

func (total *ingestSummary) text(w io.Writer) {
	fmt.Fprintf(w, "read %d rows of %d files: %d new, %d changed, %d unchanged, %d refused",
		total.Read, total.Files, total.New, total.Changed, total.Unchanged, total.Refused)
	if total.Deleted > 0 {
		fmt.Fprintf(w, ", %d deleted", total.Deleted)
	}
	if total.Superseded > 0 {
		fmt.Fprintf(w, ", %d superseded by a newer version", total.Superseded)
	}
	if total.Erased > 0 {
		fmt.Fprintf(w, ", %d kept out by an erasure or the retention", total.Erased)
	}
	if total.FilesRefused > 0 {
		fmt.Fprintf(w, "; %d files refused", total.FilesRefused)
	}
	fmt.Fprintf(w, "\npublished %d files, %d rows\n", total.Published.Files, total.Published.Rows)
	printRefusals(w, total.Refusals)
	warnDropped(w, total.Counts)
	printUnknown(w, total.Unknown)
	printNotes(w, total.Notes)
}

// printRefusals prints the first maxShown refused rows.
func printRefusals(w io.Writer, refusals []warehouse.Refusal) {
	for i, refusal := range refusals {
		if i == maxShown {
			fmt.Fprintln(w, "  … `voicory quarantine list` shows more")
			break
		}
		if refusal.Line > 0 {
			fmt.Fprintf(w, "  refused %s line %d: %s\n", printable(refusal.File), refusal.Line, printable(refusal.Reason))
		} else {
			fmt.Fprintf(w, "  refused %s: %s\n", printable(refusal.File), printable(refusal.Reason))
		}
	}
}

// printNotes prints the fields with values that could not be stored as they were.
func printNotes(w io.Writer, notes []warehouse.FieldNote) {
	for _, note := range notes {
		fmt.Fprintln(w, "note:", note)
	}
}

// printUnknown prints the names of the fields that were read but are not stored.
func printUnknown(w io.Writer, fields []string) {
	if len(fields) > 0 {
		fmt.Fprintf(w, "unknown fields, not stored: %s\n", printable(strings.Join(fields, ", ")))
	}
}

// maxShown bounds the refusals printed.
const maxShown = 10

func parseOptionalUUID(text string) (uuid.UUID, error) {
	if text == "" {
		return uuid.Nil, nil
	}
	return parseUUID(text)
}

func parseUUID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil {
		return uuid.Nil, fmt.Errorf("%w: invalid UUID %q", warehouse.ErrInvalid, text)
	}
	return id, nil
}

// progress is a progress bar that counts bytes. It prints nothing if standard error is not a terminal.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress returns a progress bar for the total size of the files.
func newProgress(m *Main, files []ingest.Found) *progress {
	if !isTerminal(m.Stderr) {
		return &progress{}
	}
	var size int64
	for _, file := range files {
		if file.Info == nil {
			size = -1 // unknown: the bar is a spinner
			break
		}
		size += file.Info.Size()
	}
	return &progress{progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(m.Stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("ingest"), progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish())}
}

func (p *progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n) // a failure to draw the bar is ignored
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
