package exports

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	duckdb "github.com/duckdb/duckdb-go/v2"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// part is what one statement gave.
type part struct {
	schema  *arrow.Schema
	batches []arrow.RecordBatch
}

func (p *part) release() {
	for _, batch := range p.batches {
		batch.Release()
	}
}

// writeArrow reads the result, part by part where it has parts, and writes each while the next is read: DuckDB's Arrow interface holds
// the whole result of a statement.
func writeArrow(ctx context.Context, conn *sql.Conn, result Result, out io.Writer) (rows int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, read := make(chan part), make(chan error, 1)
	go func() {
		defer close(parts)
		read <- conn.Raw(func(driverConn any) error { return readParts(ctx, driverConn.(driver.Conn), result, parts) })
	}()
	w := &arrowWriter{about: result.About, out: bufio.NewWriterSize(out, chunk)} // the writer writes each buffer of each column by itself
	for p := range parts {
		if err == nil {
			if err = w.write(&p, result.About.Metadata(result.AsOf)); err != nil {
				cancel() // what was being read is still let go
			}
		}
		p.release()
	}
	failed := err
	if err = <-read; failed != nil {
		err = failed
	}
	return w.rows, w.close(err)
}

func readParts(ctx context.Context, conn driver.Conn, result Result, parts chan<- part) error {
	reader, err := duckdb.NewArrowFromConn(conn)
	if err != nil {
		return err
	}
	var size int64
	all := iter.Seq[string](func(yield func(string) bool) { yield(result.Statement) })
	if result.Parts != nil {
		all = result.Parts(func() int64 { return size })
	}
	for statement := range all {
		p, err := readPart(ctx, reader, withDictionaries(statement, result.Values))
		if err != nil {
			return err
		}
		size = 0
		for _, batch := range p.batches {
			for _, column := range batch.Columns() {
				size += int64(column.Data().SizeInBytes())
			}
		}
		select {
		case parts <- p:
		case <-ctx.Done():
			p.release()
			return ctx.Err()
		}
	}
	return nil
}

func readPart(ctx context.Context, from *duckdb.Arrow, statement string) (p part, err error) {
	reader, err := from.QueryContext(ctx, statement)
	if err != nil {
		return p, err
	}
	defer reader.Release()
	p.schema = reader.Schema()
	for reader.Next() {
		batch := reader.RecordBatch()
		batch.Retain()
		p.batches = append(p.batches, batch)
	}
	if err := reader.Err(); err != nil {
		p.release()
		return p, err
	}
	return p, nil
}

// withDictionaries has DuckDB give columns whose values are known as ENUMs, which Arrow has as dictionaries. All parts have the same
// ones, so that a stream has each dictionary once.
func withDictionaries(statement string, values map[string][]string) string {
	var columns []string
	for column, texts := range values {
		if len(texts) == 0 {
			texts = []string{""} // an ENUM has at least one value
		}
		quoted := make([]string, len(texts))
		for i, text := range texts {
			quoted[i] = statements.Text(text)
		}
		columns = append(columns, fmt.Sprintf("%s::ENUM(%s) AS %[1]s", statements.Ident(column), strings.Join(quoted, ", ")))
	}
	if len(columns) == 0 {
		return statement
	}
	return "SELECT * REPLACE (" + strings.Join(columns, ", ") + ") FROM (" + statement + ")"
}

// arrowWriter writes one stream.
type arrowWriter struct {
	about  warehouse.Export
	out    *bufio.Writer
	writer *ipc.Writer // nil: nothing was written yet
	schema *arrow.Schema
	broken error
	rows   int64
}

// Write is what the stream is written with; once it is broken, nothing more, and so no end, is written.
func (w *arrowWriter) Write(p []byte) (int, error) {
	if w.broken != nil {
		return 0, w.broken
	}
	return w.out.Write(p)
}

func (w *arrowWriter) write(p *part, metadata map[string]string) error {
	if w.writer == nil {
		w.schema = described(p.schema, w.about.Columns, metadata)
		w.writer = ipc.NewWriter(w, ipc.WithSchema(w.schema))
	}
	for len(p.batches) > 0 { // each is let go at once: the next part is being read
		batch := p.batches[0]
		p.batches = p.batches[1:]
		renamed := array.NewRecordBatch(w.schema, batch.Columns(), batch.NumRows())
		w.rows += batch.NumRows()
		batch.Release()
		trim()
		err := w.writer.Write(renamed)
		renamed.Release()
		if err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// close ends the stream, unless it broke, and lets go of its dictionaries.
func (w *arrowWriter) close(err error) error {
	if w.broken = err; w.writer == nil {
		return err
	}
	if ended := w.writer.Close(); err == nil {
		return errors.Join(ended, w.out.Flush())
	}
	return err
}

// described is the schema with what is said of each column as its metadata: description, unit, time_zone, null.
func described(schema *arrow.Schema, columns []warehouse.Column, metadata map[string]string) *arrow.Schema {
	fields := schema.Fields()
	for i, field := range fields {
		for _, column := range columns {
			if column.Name != field.Name {
				continue
			}
			about := map[string]string{}
			for key, text := range map[string]string{"description": column.Description, "unit": column.Unit, "time_zone": column.TimeZone, "null": column.Null} {
				if text != "" {
					about[key] = text
				}
			}
			fields[i].Metadata = arrow.MetadataFrom(about)
		}
	}
	all := arrow.MetadataFrom(metadata)
	return arrow.NewSchema(fields, &all)
}
