package exports

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse"
)

// Format is one in which rows are written.
type Format string

// The formats.
const (
	Parquet Format = "parquet"
	Arrow   Format = "arrow" // a stream of Arrow IPC, uncompressed: not every reader unpacks it
	CSV     Format = "csv"   // RFC 4180 but for the line ends, which are LF; NULL is empty, an empty text is ""
	NDJSON  Format = "ndjson"
	JSON    Format = "json" // one object, of answers that say more than their rows: whoever has more to say writes it
)

// Formats are those that [Write] writes.
var Formats = []Format{Parquet, Arrow, CSV, NDJSON}

// FormatNamed finds a format; an unknown one is ErrInvalid.
func FormatNamed(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("%w: no format %q; there are parquet, arrow, csv and ndjson", warehouse.ErrInvalid, name)
}

// FormatOfFile tells the format by the name of a file; another extension is ErrInvalid.
func FormatOfFile(path string) (Format, error) {
	extension := strings.ToLower(filepath.Ext(path))
	for _, f := range Formats {
		if extension == f.Extension() || extension == "."+string(f) || extension == ".jsonl" && f == NDJSON {
			return f, nil
		}
	}
	return "", fmt.Errorf("%w: %q does not tell a format; name one of parquet, arrow, csv and ndjson", warehouse.ErrInvalid, filepath.Base(path))
}

// MediaType is the format's Content-Type.
func (f Format) MediaType() string {
	switch f {
	case Parquet:
		return "application/vnd.apache.parquet"
	case Arrow:
		return "application/vnd.apache.arrow.stream"
	case CSV:
		return "text/csv; charset=utf-8; header=present"
	case JSON:
		return "application/json; charset=utf-8"
	}
	return "application/x-ndjson"
}

// Extension is that of a file of the format, with its dot.
func (f Format) Extension() string {
	if f == Arrow {
		return ".arrows" // of a stream, as registered; .arrow is a file
	}
	return "." + string(f)
}

// IsText tells whether a terminal can show it, and whether it is worth compressing.
func (f Format) IsText() bool { return f == CSV || f == NDJSON }
