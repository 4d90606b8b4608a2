package ingest_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// textFile returns an input with a text.
func textFile(name, text string) ingest.Input {
	return ingest.Input{Name: name, Tenant: tenant.ID, Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// ids returns NDJSON of calls.
func ids(numbers ...int) (text string) {
	for _, n := range numbers {
		text += fmt.Sprintf(`{"id":"%s","created_at":"2026-01-01"}`+"\n", uuid.UUID{15: byte(n)})
	}
	return text
}

// The good rows of all files of a group are merged, and each bad row and file is refused with its own name and line.
func TestLoadFiles_BadFilesDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	var cut bytes.Buffer
	packer := gzip.NewWriter(&cut)
	_, err := io.WriteString(packer, strings.Repeat(ids(3), 1000))
	noError(t, errors.Join(err, packer.Close()))
	files := []ingest.Input{
		textFile("calls-1.ndjson", "\n"+ids(1)),
		textFile("calls-2.csv", "id,created_at\n\n\"a\"b,2026-01-01\n"+uuid.UUID{15: 2}.String()+",2026-01-01\nx\n"),
		textFile("calls-3.ndjson.gz", cut.String()[:cut.Len()-20]),
		textFile("calls-4.csv", ""),
		textFile("calls-5.parquet", "PAR1"),
		{Name: "calls-6.ndjson", Tenant: tenant.ID, Open: func() (io.ReadCloser, error) { return nil, errors.New("locked") }},
		textFile("calls-7.ndjson", ids(7)+`{"id":"y"}`+"\n"),
		textFile("calls-8.ndjson", ""),
		textFile("calls-9.ndjson", ids(9)),
	}
	for i := range files {
		files[i].Hash = uint64(i + 1)
	}
	summary, err := ingest.LoadFiles(t.Context(), w, files, "folder")
	noError(t, err)
	if summary.Files != 9 || summary.FilesRefused != 3 || summary.Refused != 3 || summary.New != 5 {
		t.Errorf("got %+v, want 9 files, 3 refused, 5 new rows and 3 refused", summary)
	}
	var got []string
	for refusal, err := range w.Quarantine(t.Context()) {
		noError(t, err)
		got = append(got, fmt.Sprintf("%s:%d %s", refusal.File, refusal.Line, refusal.Header))
	}
	slices.Sort(got)
	want := []string{"calls-2.csv:3 id,created_at", "calls-2.csv:5 id,created_at", "calls-3.ndjson.gz:0 ",
		"calls-5.parquet:0 ", "calls-6.ndjson:0 ", "calls-7.ndjson:2 "}
	if !slices.Equal(got, want) {
		t.Errorf("got quarantine %q, want %q", got, want)
	}
	read, err := w.SourceFiles(t.Context(), tenant.ID, "folder")
	noError(t, err)
	if len(read) != len(files) {
		t.Errorf("got %d files of the source, want %d", len(read), len(files))
	}
}

// If a group needs more memory than there is, for its staging or its merge, each file is loaded alone. Only the file at
// fault is refused.
func TestLoadFiles_MoreThanTheMemory(t *testing.T) {
	t.Parallel()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "48MB"})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	var wide strings.Builder // a full batch, which has more than half of the memory, in rows that each are not too long
	for n := range 280 {
		fmt.Fprintf(&wide, `{"id":"%s","created_at":"2026-01-01","summary":%q}`+"\n", uuid.UUID{15: byte(n)},
			strings.Repeat("x", w.MaxRow()-200))
	}
	files := []ingest.Input{textFile("calls-1.ndjson", ids(1)), textFile("calls-2.ndjson", wide.String()),
		textFile("calls-3.ndjson", ids(3))}
	for i := range files {
		files[i].Hash = uint64(i + 1)
	}
	summary, err := ingest.LoadFiles(t.Context(), w, files, "folder")
	noError(t, err)
	if summary.New != 2 || summary.FilesRefused != 1 || summary.Refusals[0].File != "calls-2.ndjson" {
		t.Errorf("got %+v, want 2 rows and one refused file", summary)
	}
	read, err := w.SourceFiles(t.Context(), tenant.ID, "folder")
	noError(t, err)
	if len(read) != len(files) {
		t.Errorf("got %d files of the source, want %d", len(read), len(files))
	}
}

// Groups keep the order of the files of a dataset, and large files and files without a dataset alone.
func TestGroups_OrderAndBounds(t *testing.T) {
	t.Parallel()
	sized := func(name string, size int64) ingest.Input {
		in := textFile(name, "")
		in.Size = size
		return in
	}
	files := []ingest.Input{sized("calls-1.csv", 1), sized("messages-1.csv", 1), sized("calls-2.csv", 1<<30),
		sized("x.csv", 1), sized("calls-3.csv", 1), sized("messages-2.csv", 1),
		{Name: "calls-4.csv", Body: strings.NewReader("")}}
	for i := range 40 {
		files = append(files, sized(fmt.Sprintf("customers-%d.csv", i), 1<<20))
	}
	for range 1001 {
		files = append(files, sized("messages-3.csv", 1))
	}
	var got []string
	for _, group := range ingest.Groups(files) {
		got = append(got, fmt.Sprint(group[0].Name, " ", len(group)))
	}
	want := []string{"calls-1.csv 1", "calls-2.csv 1", "x.csv 1", "calls-3.csv 1", "calls-4.csv 1", "customers-0.csv 16",
		"customers-16.csv 16", "messages-1.csv 1000", "customers-32.csv 8", "messages-3.csv 3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A row that is too long for the memory limit is refused by name. Many rows of the greatest length are stored and
// published.
func TestLoad_RowsAsLongAsTheMemoryAllows(t *testing.T) {
	t.Parallel()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "200MB"})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	const fits = 60
	var text strings.Builder
	for n := range fits + 1 {
		row := fmt.Sprintf(`{"id":"%s","created_at":"2026-01-01","transcript":[{"speaker":"AI","text":"`,
			uuid.UUID{15: byte(n)})
		length := w.MaxRow() - len(row) - len(`"}]}`)
		if n == fits {
			length++
		}
		fmt.Fprintf(&text, "%s%s\"}]}\n", row, strings.Repeat("x", length))
	}
	summary := load(t, w, textFile("calls.ndjson", text.String()))
	if summary.New != fits || summary.Refused != 1 || !strings.Contains(summary.Refusals[0].Reason,
		"rows have at most 0.4 MiB") ||
		summary.Refusals[0].Line != fits+1 {
		t.Errorf("got %+v, want %d new rows and the last one refused", summary, fits)
	}
	_, err = w.Publish(t.Context())
	noError(t, err)
}
