package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
)

type exportCommand struct {
	Tenant         string   `help:"Whose rows." required:"" placeholder:"UUID"`
	Format         string   `help:"parquet, arrow, csv or ndjson; without it the file's extension says so, and it is ndjson on standard output." placeholder:"NAME"`
	Columns        []string `help:"Only these columns, in this order." placeholder:"NAME"`
	BOM            bool     `name:"bom" help:"Begin CSV with a byte order mark, as Excel wants it."`
	EscapeFormulas bool     `help:"In CSV, an apostrophe before texts that a spreadsheet would take for a formula."`
	Output         string   `short:"o" help:"File to write, whole or not at all; without it standard output. Of all, a folder." placeholder:"FILE"`
	filterFlags
	Dataset string `arg:"" help:"calls, customers, messages, transcript_turns or cost_daily; or all: a folder with these as Parquet and as one DuckDB file."`
}

// exportSpec says what to export, and crosses the socket.
type exportSpec struct {
	Tenant  uuid.UUID          `json:"tenant_id"`
	Dataset string             `json:"dataset"`
	Filter  warehouse.Filter   `json:"filter"`
	Columns []string           `json:"columns"`
	Format  exports.Format     `json:"format"`
	CSV     exports.CSVOptions `json:"csv"`
}

// exported is the summary.
type exportSummary struct {
	Rows  int64     `json:"rows"`
	Bytes int64     `json:"bytes"`
	AsOf  time.Time `json:"as_of"`
}

// Run writes one export to a file or to standard output, or all to a folder.
func (c *exportCommand) Run(ctx context.Context, m *Main, f *flags) error {
	if c.Dataset == allExports {
		return c.runBundle(ctx, m, f)
	}
	spec, err := c.spec()
	if err != nil {
		return err
	}
	if c.Output == "" && !spec.Format.IsText() && isTerminal(m.Stdout) {
		return fmt.Errorf("%w: %s is not for a terminal; name a file with -o", warehouse.ErrInvalid, spec.Format)
	}
	return f.withAdmin(ctx, func(api admin) error {
		bar := newExportProgress(m, spec.Dataset)
		defer bar.finish()
		var total exportSummary
		write := func(out io.Writer) (err error) {
			startCountingProxy := &countingWriter{out: out, progress: bar.add}
			total, err = api.Export(ctx, spec, startCountingProxy)
			total.Bytes = startCountingProxy.bytes
			return err
		}
		if c.Output == "" {
			return write(m.Stdout)
		}
		if err := m.writeFileAtomic(c.Output, write); err != nil {
			return err
		}
		bar.finish()
		return m.printResult(f, total, func(w io.Writer) {
			fmt.Fprintf(w, "wrote %d rows, %d bytes, as of %s\n", total.Rows, total.Bytes, total.AsOf.Format(time.RFC3339))
		})
	})
}

func (c *exportCommand) spec() (spec exportSpec, err error) {
	spec = exportSpec{Dataset: c.Dataset, Columns: c.Columns, CSV: exports.CSVOptions{BOM: c.BOM, EscapeFormulas: c.EscapeFormulas}}
	if spec.Tenant, err = parseUUID(c.Tenant); err != nil {
		return spec, err
	}
	export, err := warehouse.ExportNamed(c.Dataset)
	if err != nil {
		return spec, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
	}
	switch {
	case c.Format != "":
		spec.Format, err = exports.FormatNamed(c.Format)
	case c.Output != "":
		spec.Format, err = exports.FormatOfFile(c.Output)
	default:
		spec.Format = exports.NDJSON
	}
	if err != nil {
		return spec, err
	}
	spec.Filter, err = c.filter(export)
	return spec, err
}

// openedExport is an export of one state, ready to be written.
type exportWriter interface {
	Write(ctx context.Context, out io.Writer) (rows int64, err error)
	Close() error
}

// Export writes an export of the open folder.
func (l localAdmin) Export(ctx context.Context, spec exportSpec, out io.Writer) (total exportSummary, err error) {
	s, asOf, err := l.openExport(ctx, spec)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	total.AsOf = asOf
	total.Rows, err = s.Write(ctx, out)
	return total, err
}

// openExport begins an export of a tenant that there is; of everything, it is the database.
func (l localAdmin) openExport(ctx context.Context, spec exportSpec) (_ exportWriter, asOf time.Time, err error) {
	if spec.Dataset == allExports {
		d, err := l.openDatabase(ctx, spec.Tenant)
		return d, d.AsOf, err
	}
	if err := l.requireTenant(ctx, spec.Tenant); err != nil {
		return nil, asOf, err
	}
	export, err := warehouse.ExportNamed(spec.Dataset)
	if err != nil {
		return nil, asOf, err
	}
	s, err := exports.Open(ctx, l.Warehouse, spec.Tenant, exports.Request{Export: export, Filter: spec.Filter, Columns: spec.Columns, Format: spec.Format, CSV: spec.CSV})
	if err != nil {
		return nil, asOf, err
	}
	return s, s.AsOf, nil
}

// wantTenant is ErrNotFound for a tenant that there is not: asking for one must not make it.
func (l localAdmin) requireTenant(ctx context.Context, id uuid.UUID) error {
	tenants, err := l.Tenants(ctx)
	if err == nil && !slices.ContainsFunc(tenants, func(t warehouse.Tenant) bool { return t.ID == id }) {
		err = fmt.Errorf("%w: no tenant %s; `voicory tenants list` shows them", warehouse.ErrNotFound, id)
	}
	return err
}

// writeFileAtomic calls write with a temporary file beside path, makes the file durable and renames it to path, so that path
// never names a part of it. The mode of the file follows the user's umask. If path is a symbolic link, its target is
// replaced. If path is a device, a FIFO or a socket, write writes into it.
func (m *Main) writeFileAtomic(path string, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return writeThrough(path, write)
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".unfinished-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	err = write(file)
	if err == nil {
		err = errors.Join(file.Chmod(0o666&^m.Umask), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// writeThrough calls write with an existing device, FIFO or socket, which is never replaced or truncated.
func writeThrough(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// countingWriter counts what is written, and tells of it.
type countingWriter struct {
	out      io.Writer
	progress func(int64)
	bytes    int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.bytes += int64(n)
	w.progress(int64(n))
	return n, err
}

// newExportProgress shows how many bytes were written, on a terminal.
func newExportProgress(m *Main, dataset string) *progress {
	if !isTerminal(m.Stderr) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(-1, progressbar.OptionSetWriter(m.Stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("export "+dataset), progressbar.OptionClearOnFinish())}
}
