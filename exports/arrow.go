package exports

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sync/errgroup"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// writeArrow writes the result as an Arrow IPC stream and returns the number of rows written. It uses two goroutines:
// one reads batches from DuckDB, the other writes them. At most one batch waits between them.
func writeArrow(ctx context.Context, conn *sql.Conn, result Result, out io.Writer) (rows int64, err error) {
	var w *arrowWriter // set by the reading goroutine before it sends the first batch
	batches := make(chan arrow.RecordBatch, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		return conn.Raw(func(driverConn any) error {
			statement := castToEnums(result.Statement, result.Dictionaries)
			from, err := duckdb.StreamArrow(ctx, driverConn, statement)
			if err != nil {
				return err
			}
			defer from.Close()
			metadata := result.About.Metadata(result.AsOf)
			w = newArrowWriter(withMetadata(from.Schema, result.About.Columns, metadata), out)
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
			trimHeap()
		}
		return nil
	})
	err = group.Wait()
	for batch := range batches { // release the batch that was not written after an error
		batch.Release()
	}
	if w == nil {
		return 0, err
	}
	return rows, w.close(err)
}

// castToEnums returns the statement with its dictionary columns cast to ENUM, which DuckDB exports to Arrow as
// dictionaries. The ENUM is the same in every batch, so each dictionary is sent once per stream.
func castToEnums(statement string, dictionaries map[string][]string) string {
	var columns []string
	for column, values := range dictionaries {
		if len(values) == 0 {
			values = []string{""} // an ENUM needs at least one value
		}
		quoted := make([]string, len(values))
		for i, value := range values {
			quoted[i] = statements.Text(value)
		}
		cast := fmt.Sprintf("%s::ENUM(%s) AS %[1]s", statements.Ident(column), strings.Join(quoted, ", "))
		columns = append(columns, cast)
	}
	if len(columns) == 0 {
		return statement
	}
	return "SELECT * REPLACE (" + strings.Join(columns, ", ") + ") FROM (" + statement + ")"
}

// An arrowWriter writes one Arrow IPC stream.
type arrowWriter struct {
	out    *bufio.Writer
	writer *ipc.Writer
	schema *arrow.Schema
	err    error // the error that ended the stream; set by close
}

// newArrowWriter returns a writer of batches with the given schema. Its output is buffered, because ipc.Writer issues
// one write per buffer and column.
func newArrowWriter(schema *arrow.Schema, out io.Writer) *arrowWriter {
	w := &arrowWriter{out: bufio.NewWriterSize(out, chunkSize), schema: schema}
	w.writer = ipc.NewWriter(w, ipc.WithSchema(schema))
	return w
}

// Write implements io.Writer for the ipc.Writer. After close has recorded an error, it writes nothing, so that a failed
// stream gets no end-of-stream marker.
func (w *arrowWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	return w.out.Write(p)
}

// write writes a batch under the writer's schema and releases it.
func (w *arrowWriter) write(batch arrow.RecordBatch) error {
	annotated := array.NewRecordBatch(w.schema, batch.Columns(), batch.NumRows())
	batch.Release()
	defer annotated.Release()
	if err := w.writer.Write(annotated); err != nil {
		return err
	}
	return w.out.Flush()
}

// close releases the dictionaries. If err is nil, it also writes the end of the stream. It returns err, or the error of
// writing the end.
func (w *arrowWriter) close(err error) error {
	w.err = err
	if closeErr := w.writer.Close(); err == nil {
		return errors.Join(closeErr, w.out.Flush())
	}
	return err
}

// withMetadata returns the schema with metadata. Each field gets the keys description, unit, time_zone and null of the
// column with the same name, except empty ones, and the number of the column.
func withMetadata(schema *arrow.Schema, columns []schema.Column, metadata map[string]string) *arrow.Schema {
	fields := schema.Fields()
	for i, field := range fields {
		for _, column := range columns {
			if column.Name != field.Name {
				continue
			}
			about := map[string]string{
				"description": column.Description, "unit": column.Unit, "time_zone": column.TimeZone, "null": column.Null,
			}
			maps.DeleteFunc(about, func(_, text string) bool { return text == "" })
			about["PARQUET:field_id"] = strconv.Itoa(column.ID) // pyarrow keeps it if it writes the table as Parquet
			fields[i].Metadata = arrow.MetadataFrom(about)
		}
	}
	all := arrow.MetadataFrom(metadata)
	return arrow.NewSchema(fields, &all)
}
