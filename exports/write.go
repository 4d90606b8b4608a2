package exports

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"
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
	EscapeFormulas bool // an apostrophe before texts that a spreadsheet would take for a formula: from = + - @ tab or CR on
}

// Write writes the result's rows and returns how many there are. An error leaves out with a part of what should be there, and without
// the end that its format has. When the context ends, or out takes no more, reading ends at once.
func Write(ctx context.Context, conn *sql.Conn, result Result, format Format, options CSVOptions, out io.Writer) (rows int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s as %s: %w", result.About.Name, format, err)
		}
	}()
	// Times are as the API shows them. A temporary file is what DuckDB would rename, and a pipe cannot be.
	const times, directly = "TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%gZ'", "USE_TMP_FILE false"
	switch format {
	case Arrow:
		return writeArrow(ctx, conn, result, out)
	case Parquet:
		return copyTo(ctx, conn, result.Statement, fmt.Sprintf("FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false, ROW_GROUP_SIZE %d, ROW_GROUP_SIZE_BYTES '%s', KV_METADATA %s, %s",
			rowGroup, rowGroupBytes, statements.Struct(result.About.Metadata(result.AsOf)), directly), out)
	}
	statement, err := forText(ctx, conn, result.Statement, format, options)
	if err != nil {
		return 0, err
	}
	if format == NDJSON {
		return copyTo(ctx, conn, statement, "FORMAT json, "+times+", "+directly, out)
	}
	if options.BOM {
		if _, err := io.WriteString(out, "\ufeff"); err != nil {
			return 0, err
		}
	}
	return copyTo(ctx, conn, statement, "FORMAT csv, HEADER true, "+times+", "+directly, out)
}

// Each thread builds a row group in memory, and cannot spill it.
const (
	rowGroup      = 10_240
	rowGroupBytes = "8MB"
)

// forText has times written without a calendar, which costs a tenth of all the rest; in CSV, nested values as JSON, and formulas escaped
// where that is asked for.
func forText(ctx context.Context, conn *sql.Conn, statement string, format Format, options CSVOptions) (string, error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+statement+")")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var columns []string
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return "", err
		}
		column := statements.Ident(name)
		nested := strings.HasSuffix(kind, "]") || slices.ContainsFunc([]string{"STRUCT(", "MAP("}, func(prefix string) bool { return strings.HasPrefix(kind, prefix) })
		switch {
		case kind == "TIMESTAMP WITH TIME ZONE":
			column = fmt.Sprintf("make_timestamp(epoch_us(%s)) AS %[1]s", column)
		case format == CSV && nested:
			column = fmt.Sprintf("to_json(%s)::VARCHAR AS %[1]s", column)
		case format == CSV && options.EscapeFormulas && (kind == "VARCHAR" || kind == "JSON"):
			column = fmt.Sprintf("CASE WHEN left(%s, 1) IN ('=', '+', '-', '@', chr(9), chr(13)) THEN '''' || %[1]s ELSE %[1]s END AS %[1]s", column)
		}
		columns = append(columns, column)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + statement + ")", rows.Err()
}
