package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse"
)

// Stdin is the name that stands for standard input.
const Stdin = "-"

// Format is how rows lie in a file.
type Format string

// The formats: objects a line, objects in an array, RFC 4180 with a header line, Parquet, and an Arrow IPC stream or file.
const (
	NDJSON  Format = "ndjson"
	JSON    Format = "json"
	CSV     Format = "csv"
	Parquet Format = "parquet"
	Arrow   Format = "arrow"
)

var formatOf = map[string]Format{".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON, ".csv": CSV, ".parquet": Parquet, ".arrow": Arrow, ".arrows": Arrow}

// recognise tells a file's format from its name; its compression is told by its first bytes.
func recognise(name string) (Format, error) {
	if name == Stdin {
		return NDJSON, nil
	}
	base := strings.ToLower(filepath.Base(name))
	for _, packed := range []string{".gz", ".zst"} {
		base = strings.TrimSuffix(base, packed)
	}
	if f, ok := formatOf[filepath.Ext(base)]; ok {
		return f, nil
	}
	return "", fmt.Errorf("%w: file of an unknown kind; there are .ndjson, .jsonl, .json, .csv, .parquet, .arrow and .arrows, each also .gz or .zst", warehouse.ErrInvalid)
}

// datasetOf takes the dataset from the words of a file's name: calls-2026-01.ndjson.gz, whatsapp_messages.csv, call_logs.parquet.
func datasetOf(name string) (warehouse.Dataset, error) {
	words := strings.FieldsFunc(strings.ToLower(filepath.Base(name)), func(r rune) bool { return r < 'a' || r > 'z' })
	var found []warehouse.Dataset
	for _, d := range warehouse.Datasets {
		if slices.Contains(words, d.Name) || slices.Contains(words, strings.TrimSuffix(d.Name, "s")) {
			found = append(found, d)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return warehouse.Dataset{}, fmt.Errorf("%w: the name does not say whether these are calls, customers or messages; say it with --dataset", warehouse.ErrInvalid)
}

// Find lists the files that paths name; a folder stands for all files in it, in order of their names. Papers that lie
// beside data (README, LICENSE, Markdown) and hidden files in a folder are passed over; any other file is listed,
// whatever its kind. A path that does not exist is ErrNotFound.
func Find(paths []string) ([]string, error) {
	var found []string
	for _, path := range paths {
		if path == Stdin {
			found = append(found, path)
			continue
		}
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && file == path {
				return fmt.Errorf("%w: there is no file or folder %s", warehouse.ErrNotFound, path)
			}
			if err != nil {
				found = append(found, file)
				return nil //nolint:nilerr // it is refused by name when it is opened
			}
			if entry.IsDir() {
				if file != path && strings.HasPrefix(entry.Name(), ".") {
					return fs.SkipDir
				}
				if info, err := os.Stat(file); file == path && err == nil && !info.IsDir() {
					found = append(found, file)
				}
				return nil
			}
			if file != path && isPaper(entry.Name()) {
				return nil
			}
			found = append(found, file)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func isPaper(name string) bool {
	upper := strings.ToUpper(name)
	return strings.HasPrefix(name, ".") || strings.HasSuffix(upper, ".MD") ||
		strings.HasPrefix(upper, "README") || strings.HasPrefix(upper, "LICENSE") || strings.HasPrefix(upper, "LICENCE")
}
