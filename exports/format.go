package exports

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse"
)

// A Format is a format of exported rows.
type Format string

// The formats.
const (
	Parquet Format = "parquet"
	Arrow   Format = "arrow"  // an Arrow IPC stream, uncompressed because some readers cannot decompress it
	CSV     Format = "csv"    // RFC 4180 with LF line ends; NULL is an empty field, an empty text is ""
	NDJSON  Format = "ndjson" // one JSON object per line
	JSON    Format = "json"   // one JSON object with rows and metadata; not written by Write
)

// Formats lists the formats that [Write] supports.
var Formats = []Format{Parquet, Arrow, CSV, NDJSON}

// FormatNamed returns the format with the given name. It returns ErrInvalid if the name is unknown.
func FormatNamed(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("%w: unknown format %q: choose parquet, arrow, csv or ndjson", warehouse.ErrInvalid, name)
}

// FormatOfFile returns the format that a file's extension stands for. It returns ErrInvalid if the extension is
// unknown.
func FormatOfFile(path string) (Format, error) {
	extension := strings.ToLower(filepath.Ext(path))
	for _, f := range Formats {
		if extension == f.Extension() || extension == "."+string(f) || extension == ".jsonl" && f == NDJSON {
			return f, nil
		}
	}
	return "", fmt.Errorf("%w: the extension of %q is not that of a format: choose parquet, arrow, csv or ndjson",
		warehouse.ErrInvalid, filepath.Base(path))
}

// MediaType returns the format's Content-Type.
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

// Extension returns the extension of the format's files, with its dot.
func (f Format) Extension() string {
	if f == Arrow {
		return ".arrows" // the registered extension of a stream; .arrow is the Arrow file format
	}
	return "." + string(f)
}

// IsText reports whether the format is text, which a terminal can show and which is worth compressing.
func (f Format) IsText() bool { return f == CSV || f == NDJSON }
