package exports

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// writeArrow writes the result batch by batch, as DuckDB makes them; while one is written, the next is made.
func writeArrow(ctx context.Context, conn *sql.Conn, result Result, out io.Writer) (rows int64, err error) {
	var w *arrowWriter // from the first batch on
	batches := make(chan arrow.RecordBatch, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return conn.Raw(func(driverConn any) error {
			from, err := warehouse.ResultsOf(ctx, driverConn.(driver.Conn), withDictionaries(result.Statement, result.Values))
			if err != nil {
				return err
			}
			defer from.Close()
			w = newArrowWriter(described(from.Schema, result.About.Columns, result.About.Metadata(result.AsOf)), out)
			for {
				batch, err := from.Next()
				if batch == nil {
					return err
				}
				select {
				case batches <- batch:
				case <-ctx.Done():
					batch.Release()
					return ctx.Err()
				}
			}
		})
	})
	group.Go(func() error {
		for batch := range batches {
			rows += batch.NumRows()
			if err := w.write(batch); err != nil {
				return err
			}
			trim()
		}
		return nil
	})
	err = group.Wait()
	for batch := range batches { // those that were not written
		batch.Release()
	}
	if w == nil {
		return 0, err
	}
	return rows, w.close(err)
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
	out    *bufio.Writer
	writer *ipc.Writer
	schema *arrow.Schema
	broken error
}

func newArrowWriter(schema *arrow.Schema, out io.Writer) *arrowWriter {
	w := &arrowWriter{out: bufio.NewWriterSize(out, chunk), schema: schema} // the writer writes each buffer of each column by itself
	w.writer = ipc.NewWriter(w, ipc.WithSchema(schema))
	return w
}

// Write is what the stream is written with; once it is broken, nothing more, and so no end, is written.
func (w *arrowWriter) Write(p []byte) (int, error) {
	if w.broken != nil {
		return 0, w.broken
	}
	return w.out.Write(p)
}

// write writes a batch and lets it go.
func (w *arrowWriter) write(batch arrow.RecordBatch) error {
	renamed := array.NewRecordBatch(w.schema, batch.Columns(), batch.NumRows())
	batch.Release()
	defer renamed.Release()
	if err := w.writer.Write(renamed); err != nil {
		return err
	}
	return w.out.Flush()
}

// close ends the stream, unless it broke, and lets go of its dictionaries.
func (w *arrowWriter) close(err error) error {
	w.broken = err
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
