package ingest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// A Format is the format of the rows in a file.
type Format string

// The formats: JSON objects one after another, JSON in any shape (see jsonReader), CSV with a header line, Parquet, and
// an Arrow IPC stream or file. The first bytes of an input decide between JSON, Parquet, Arrow and the others, so that
// NDJSON and JSON are read alike.
const (
	NDJSON  Format = "ndjson"
	JSON    Format = "json"
	CSV     Format = "csv"
	Parquet Format = "parquet"
	Arrow   Format = "arrow"
)

// formatOf maps file extensions to formats.
var formatOf = map[string]Format{
	".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON, ".csv": CSV, ".tsv": CSV,
	".parquet": Parquet, ".arrow": Arrow, ".arrows": Arrow, ".ipc": Arrow, ".feather": Arrow,
}

// packedExtensions lists the extensions of compressed files. A format precedes them.
var packedExtensions = []string{".gz", ".zst", ".bz2"}

// formatFromName returns the format that the extension of a file names, without that of a compression. It returns
// NDJSON for Stdin and warehouse.ErrInvalid for an unknown extension.
func formatFromName(name string) (Format, error) {
	if name == Stdin {
		return NDJSON, nil
	}
	base := strings.ToLower(filepath.Base(name))
	for _, packed := range packedExtensions {
		base = strings.TrimSuffix(base, packed)
	}
	if f, ok := formatOf[filepath.Ext(base)]; ok {
		return f, nil
	}
	return "", fmt.Errorf("%w: unknown file extension; use .ndjson, .jsonl, .json, .csv, .tsv, .parquet, .arrow, "+
		".arrows, .ipc or .feather, each optionally with .gz, .zst or .bz2", warehouse.ErrInvalid)
}

// datasetFromName returns the dataset that is a word of the file name, in singular or plural, as in
// calls-2026-01.ndjson.gz, whatsapp_messages.csv and call_logs.parquet. If the file name contains no dataset, the name
// of the table's folder counts: the one above Hive partitions, or one with the extension of a format, as Spark writes
// it (calls.parquet/part-00000.parquet). datasetFromName returns warehouse.ErrInvalid unless exactly one dataset
// matches.
func datasetFromName(name string) (schema.Dataset, error) {
	if dataset, err := datasetFromWords(name); err == nil {
		return dataset, nil
	}
	if _, table := partitionsOf(name); table != "" {
		return datasetFromWords(table)
	}
	if folder := filepath.Dir(name); folder != "." {
		if _, err := formatFromName(folder); err == nil {
			return datasetFromWords(folder)
		}
	}
	return datasetFromWords(name)
}

// datasetFromWords returns the dataset that is a word of the last element of a path.
func datasetFromWords(name string) (schema.Dataset, error) {
	notLetter := func(r rune) bool { return r < 'a' || r > 'z' }
	words := strings.FieldsFunc(strings.ToLower(filepath.Base(name)), notLetter)
	var found []schema.Dataset
	for _, d := range schema.Datasets {
		if slices.Contains(words, d.Name) || slices.Contains(words, strings.TrimSuffix(d.Name, "s")) {
			found = append(found, d)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return schema.Dataset{}, fmt.Errorf("%w: the file name does not contain exactly one of calls, customers "+
		"and messages; set the dataset with --dataset", warehouse.ErrInvalid)
}

// sparkMarks are the names of files and folders that Spark and Hive write beside the files of a table.
var sparkMarks = []string{"_SUCCESS", "_metadata", "_common_metadata", "_temporary", "_spark_metadata"}

// isIgnored reports whether a file in a folder is hidden, documentation or a mark of Spark.
func isIgnored(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasPrefix(name, ".") || slices.Contains(sparkMarks, name) || strings.HasSuffix(upper, ".MD") ||
		strings.HasPrefix(upper, "README") || strings.HasPrefix(upper, "LICENSE") || strings.HasPrefix(upper, "LICENCE")
}
