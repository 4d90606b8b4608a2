package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type exportCommand struct {
	Tenant         string   `help:"Tenant of the rows." required:"" placeholder:"UUID"`
	Format         string   `help:"parquet, arrow, csv or ndjson; default: from the extension of the file, or ndjson on standard output." placeholder:"NAME"`
	Columns        []string `help:"Only these columns, in this order." placeholder:"NAME"`
	BOM            bool     `name:"bom" help:"Begin CSV with a byte order mark, which Excel needs."`
	EscapeFormulas bool     `help:"In CSV, prefix texts that a spreadsheet would run as a formula with an apostrophe."`
	Output         string   `short:"o" help:"Output file, written completely or not at all; default: standard output. For all: a folder." placeholder:"FILE"`
	filterFlags
	Dataset string `arg:"" help:"calls, customers, messages, transcript_turns or cost_daily; or all, a folder with each of them as Parquet and in one DuckDB file."`
}

// exportSummary is the summary of an export.
type exportSummary struct {
	Rows  int64     `json:"rows"`
	Bytes int64     `json:"bytes"`
	AsOf  time.Time `json:"as_of"`
}

// Run writes one export to a file or to standard output, or all exports to a folder.
func (c *exportCommand) Run(ctx context.Context, m *Main, f *flags) error {
	if c.Dataset == admin.Database {
		return c.runBundle(ctx, m, f)
	}
	spec, err := c.spec()
	if err != nil {
		return err
	}
	if c.Output == "" && !spec.Format.IsText() && isTerminal(m.Stdout) {
		return fmt.Errorf("%w: cannot write %s to a terminal; name a file with -o", warehouse.ErrInvalid, spec.Format)
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		bar := newExportProgress(m, spec.Dataset)
		defer bar.finish()
		var total exportSummary
		write := func(out io.Writer) error {
			counter := &countingWriter{out: out, progress: bar.add}
			written, err := admin.Export.Write(ctx, conn, spec, counter)
			total = exportSummary{written.Rows, counter.bytes, written.AsOf}
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

// spec returns the export that the flags describe, or warehouse.ErrInvalid if a flag is invalid.
func (c *exportCommand) spec() (spec admin.ExportSpec, err error) {
	csv := exports.CSVOptions{BOM: c.BOM, EscapeFormulas: c.EscapeFormulas}
	spec = admin.ExportSpec{Dataset: c.Dataset, Columns: c.Columns, CSV: csv}
	if spec.Tenant, err = parseUUID(c.Tenant); err != nil {
		return spec, err
	}
	export, err := schema.ExportNamed(c.Dataset)
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

// writeFileAtomic calls write with a new file that replaces path, see [atomicfile.Replace]. The mode of the file
// follows the user's umask. If path is a symbolic link, its target is replaced. If path is a device, a FIFO or a
// socket, write writes into it.
func (m *Main) writeFileAtomic(path string, write func(io.Writer) error) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return writeThrough(path, write)
	}
	return replace(path, func(root *os.Root, temp string) error {
		file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		err = write(file)
		if err == nil {
			err = file.Chmod(0o666 &^ m.Umask)
		}
		return errors.Join(err, file.Close())
	})
}

// replace replaces path by the file or the folder that create creates in the same folder.
func replace(path string, create func(root *os.Root, temp string) error) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // Replace has synced the folder
	return atomicfile.Replace(root, filepath.Base(path), func(temp string) error { return create(root, temp) })
}

// writeThrough calls write with an existing device, FIFO or socket, which is never replaced or truncated.
func writeThrough(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// countingWriter counts the bytes written to out and calls progress with the number of each write.
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

// newExportProgress returns a progress bar that shows the number of bytes written.
func newExportProgress(m *Main, dataset string) *progress {
	if !isTerminal(m.Stderr) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(m.Stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("export "+dataset), progressbar.OptionClearOnFinish())}
}
