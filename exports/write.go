package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Result is a statement whose rows [Write] writes, with their description.
type Result struct {
	// About names the rows and describes their columns. Columns that it lacks are written without a description.
	About schema.Export
	AsOf  time.Time // time of the snapshot that the statement reads
	// Statement selects the rows. It has no parameters.
	Statement string
	// Dictionaries holds all values of the columns that Arrow writes as dictionaries, by column name.
	Dictionaries map[string][]string
}

// CSVOptions adapt CSV to spreadsheets.
type CSVOptions struct {
	BOM            bool // begin with a byte order mark, without which Excel does not recognize UTF-8
	EscapeFormulas bool // write an apostrophe before a text that a spreadsheet may take for a formula
}

// Write runs the result's statement on conn, which is one of the warehouse's connections, and writes its rows to out.
// It returns the number of rows. If it returns an error, out may have received part of the rows, but not the end that
// the format requires. The statement is interrupted if ctx ends or a write to out fails.
func Write(
	ctx context.Context, conn *sql.Conn, result Result, format Format, options CSVOptions, out io.Writer,
) (rows int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s as %s: %w", result.About.Name, format, err)
		}
	}()
	switch format {
	case Arrow:
		return writeArrow(ctx, conn, result, out)
	case Parquet:
		parquet := parquetOptions(result.About, result.AsOf) +
			fmt.Sprintf(", ROW_GROUP_SIZE_BYTES '%s'", rowGroupBytes)
		return copyTo(ctx, conn, result.Statement, parquet, out)
	}
	columns, err := describe(ctx, conn, result.Statement)
	if err != nil {
		return 0, err
	}
	if format == NDJSON {
		return copyTo(ctx, conn, ndjsonLines(columns, result.Statement), copyLine, out)
	}
	withHeader := &headerWriter{Writer: out, header: csvHeader(columns, options)}
	rows, err = copyTo(ctx, conn, csvLines(columns, result.Statement, options), copyLine, withHeader)
	if err != nil {
		return rows, err
	}
	_, err = withHeader.Write(nil) // writes the header if there were no rows
	return rows, err
}

// Bounds of a row group. Each of DuckDB's threads builds one in memory and cannot spill it.
const (
	rowGroupRows  = 10_240
	rowGroupBytes = "8MB"
)

// parquetOptions returns the options of a COPY to Parquet with the metadata and the field ids of the export.
func parquetOptions(export schema.Export, asOf time.Time) string {
	return fmt.Sprintf("FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, KV_METADATA %s%s",
		rowGroupRows, statements.Struct(export.Metadata(asOf)), schema.FieldIDs(export.Columns))
}

// A headerWriter writes a header before the first write, so that a statement that fails before its first row writes
// nothing.
type headerWriter struct {
	io.Writer
	header []byte // nil after it was written
}

func (h *headerWriter) Write(p []byte) (int, error) {
	if h.header != nil {
		if _, err := h.Writer.Write(h.header); err != nil {
			return 0, err
		}
		h.header = nil
	}
	return h.Writer.Write(p)
}
