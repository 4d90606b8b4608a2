package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// Result is what is to be written: the rows of a statement, and what is known of them.
type Result struct {
	// About names the rows and describes columns. Those it does not have are written without a description.
	About warehouse.Export
	AsOf  time.Time // of the rows
	// Statement gives the rows. It takes no parameters, and runs on the connection that it is written from.
	Statement string
	// Values are those that columns of few different texts have: in Arrow, dictionaries.
	Values map[string][]string
}

// CSVOptions are for spreadsheets.
type CSVOptions struct {
	BOM            bool // a byte order mark, without which Excel takes UTF-8 for another encoding
	EscapeFormulas bool // write an apostrophe before a text that a spreadsheet may take for a formula
}

// Write writes the result's rows, read on one of the warehouse's connections, and returns how many there are. An error leaves out with a
// part of what should be there, and without the end that its format has. When the context ends, or out takes no more, reading ends at once.
func Write(ctx context.Context, conn *sql.Conn, result Result, format Format, options CSVOptions, out io.Writer) (rows int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s as %s: %w", result.About.Name, format, err)
		}
	}()
	switch format {
	case Arrow:
		return writeArrow(ctx, conn, result, out)
	case Parquet:
		return copyTo(ctx, conn, result.Statement, fmt.Sprintf("FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, ROW_GROUP_SIZE_BYTES '%s', KV_METADATA %s",
			rowGroup, rowGroupBytes, statements.Struct(result.About.Metadata(result.AsOf))), out)
	}
	columns, err := describe(ctx, conn, result.Statement)
	if err != nil {
		return 0, err
	}
	if format == NDJSON {
		return copyTo(ctx, conn, asObjects(columns, result.Statement), asIs, out)
	}
	headed := &headed{Writer: out, head: header(columns, options)}
	if rows, err = copyTo(ctx, conn, asFields(columns, result.Statement, options), asIs, headed); err != nil {
		return rows, err
	}
	_, err = headed.Write(nil) // where there are no rows
	return rows, err
}

// Each thread builds a row group in memory, and cannot spill it.
const (
	rowGroup      = 10_240
	rowGroupBytes = "8MB"
)

// headed writes a head before what comes first, so that nothing is written of what fails before.
type headed struct {
	io.Writer
	head []byte // nil: it was written
}

func (h *headed) Write(p []byte) (int, error) {
	if h.head != nil {
		if _, err := h.Writer.Write(h.head); err != nil {
			return 0, err
		}
		h.head = nil
	}
	return h.Writer.Write(p)
}
