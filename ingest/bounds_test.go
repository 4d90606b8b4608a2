package ingest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// compressed returns the bytes of in, compressed with zstd if name is ".zst" and with gzip otherwise.
func compressed(t testing.TB, in io.Reader, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	var writer io.WriteCloser = gzip.NewWriter(&out)
	if name == ".zst" {
		var err error
		writer, err = zstd.NewWriter(&out)
		noError(t, err)
	}
	_, err := io.Copy(writer, in)
	noError(t, errors.Join(err, writer.Close()))
	return out.Bytes()
}

// expanding returns prefix and then mebibytes of the repeated text, compressed in one part for each MiB. The length of
// text divides a MiB.
func expanding(t testing.TB, prefix, text string, mebibytes int64, name string) []byte {
	t.Helper()
	part := compressed(t, strings.NewReader(strings.Repeat(text, 1<<20/len(text))), name)
	return append(compressed(t, strings.NewReader(prefix), name), bytes.Repeat(part, int(mebibytes))...)
}

// expansion is a limit in bytes that is lower than the default one.
const expansion = 18 << 20

// A small input cannot cause the work of a large one. All uncompressed bytes count, including blank lines and
// padding. One input meets the default limit, and the others meet a lower one. For inputs with long lines, that is more
// than a line may have.
func TestBounds_Expansion(t *testing.T) {
	t.Parallel()
	const defaultExpansion = 128 << 20 // bytes
	w := openNew(t)
	blank := strings.Repeat("\n", 1<<16)
	for format, inputs := range map[ingest.Format]map[string][2]string{ // a prefix, and a text that is repeated
		ingest.NDJSON: {"blank lines": {"", blank}, "spaces": {"", strings.Repeat(" ", 1<<16)},
			"one line": {`{"summary":"`, strings.Repeat("x", 1<<16)}, "zero bytes": {"{}\n\n", strings.Repeat("\x00", 1<<16)}},
		ingest.JSON: {"white space": {"", blank}, "white space in an array": {"[", blank},
			"white space in an element": {`[{"summary":"x",`, blank},
			"one element":               {`["`, strings.Repeat("x", 1<<16)}, "nested": {"[", strings.Repeat("[", 1<<16)}},
		ingest.CSV: {"blank lines": {"id\n", blank}, "one line": {"id\n", strings.Repeat("x", 1<<16)},
			"quotes": {"id\n\"", blank}},
		ingest.Parquet: {"invalid": {"PAR1", blank}},
		ingest.Arrow:   {"invalid": {"", "\xff\xff\xff\xff"}},
	} {
		for name, input := range inputs {
			for _, packed := range []string{".gz", ".zst"} {
				if packed == ".gz" && format != ingest.NDJSON {
					continue // the reader of uncompressed bytes is the same
				}
				bounds := ingest.Bounds{Bytes: 8 << 30, Refused: 100, Expansion: expansion}
				switch {
				case format == ingest.NDJSON && name == "spaces" && packed == ".zst":
					bounds.Expansion = 0
				case input[1] == blank && name != "quotes":
					bounds.Expansion = 4 << 20 // no line is long
				}
				want := cmp.Or(bounds.Expansion, defaultExpansion)
				t.Run(fmt.Sprint(format, " ", name, packed), func(t *testing.T) {
					body := expanding(t, input[0], input[1], want>>20+1, packed)
					_, err := ingest.Load(t.Context(), w, ingest.Input{Name: "push", Format: format, Dataset: "calls",
						Tenant: tenant.ID, Body: bytes.NewReader(body), Bounds: bounds})
					var tooLarge *warehouse.TooLargeError
					if !errors.As(err, &tooLarge) || tooLarge.Bytes != want {
						t.Errorf("got %v, want a warehouse.TooLargeError of %d bytes", err, want)
					}
					if left, err := os.ReadDir(w.TempDir()); err != nil || len(left) > 0 {
						t.Errorf("got temporary files %v and %v, want none", left, err)
					}
				})
			}
		}
	}
}

// The limit applies to the rows of a table as NDJSON, not to the size of the file.
func TestBounds_TableExpansion(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for name, test := range map[string]struct {
		query  string
		limit  int64 // of the error, in bytes; 0: the file is refused with reason
		reason string
	}{
		"a dictionary":    {"SELECT uuid() AS id, repeat('x', 65536) AS summary FROM range(400)", expansion, ""},
		"rows of nothing": {"SELECT NULL AS metadata FROM range(20000)", 0, "more than 5000 rows were refused"},
		"large rows": {"SELECT uuid() AS id, repeat('x', 1000000) AS summary FROM range(2048)", 0,
			"reading the file needs more than 512 MiB of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			skipMemoryLimit(t, test.reason)
			content := parquetOf(t, test.query, ", COMPRESSION zstd")
			if len(content) > 5_000_000 {
				t.Fatalf("got a file of %d bytes, want at most 5 MB", len(content))
			}
			summary, err := ingest.Load(t.Context(), w, ingest.Input{Name: "push", Format: ingest.Parquet, Dataset: "calls",
				Tenant: tenant.ID, Throttled: true, Body: bytes.NewReader(content),
				Bounds: ingest.Bounds{Bytes: 8 << 30, Refused: 5000, Expansion: expansion}})
			if test.limit > 0 {
				var tooLarge *warehouse.TooLargeError
				if !errors.As(err, &tooLarge) || tooLarge.Bytes != test.limit {
					t.Errorf("got %+v and %v, want a limit of %d", summary, err, test.limit)
				}
				return
			}
			if err != nil || summary.FilesRefused != 1 ||
				!strings.Contains(summary.Refusals[len(summary.Refusals)-1].Reason, test.reason) {
				t.Errorf("got %+v and %v, want %q", summary, err, test.reason)
			}
		})
	}
}

// Empty gzip members and empty zstd frames are skipped.
func TestBounds_EmptyMembers(t *testing.T) {
	t.Parallel()
	row := fmt.Sprintf(`{"id":"%s","created_at":"2026-01-01"}`, tenant.ID)
	for _, packed := range []string{".gz", ".zst"} {
		empty := compressed(t, strings.NewReader(""), packed)
		if packed == ".zst" {
			empty = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0} // an empty frame
		}
		body := append(bytes.Repeat(empty, 10_000), compressed(t, strings.NewReader(row), packed)...)
		summary := load(t, openNew(t), ingest.Input{Name: "calls.ndjson", Tenant: tenant.ID, Body: bytes.NewReader(body),
			Bounds: ingest.Bounds{Bytes: 1 << 20}})
		wantCounts(t, summary, schema.Counts{Read: 1, New: 1})
	}
}

// Load ends when its context does, even if the bytes already read expand to a large input.
func TestBounds_CancelWhileUnpacking(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for format, prefix := range map[ingest.Format]string{ingest.NDJSON: "", ingest.JSON: "[", ingest.CSV: "id\n",
		ingest.Parquet: ""} {
		body := expanding(t, prefix, "\n", 32, ".zst")
		ctx, cancel := context.WithCancel(t.Context())
		// One Read returns the whole body, and then the context is cancelled.
		_, err := ingest.Load(ctx, w, ingest.Input{Name: "calls", Format: format, Dataset: "calls",
			Body: &cancelledAtEnd{bytes.NewReader(body), cancel}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", format, err, context.Canceled)
		}
		cancel()
	}
}

// cancelledAtEnd is a reader that calls cancel after its last byte is read.
type cancelledAtEnd struct {
	in     *bytes.Reader
	cancel func()
}

func (r *cancelledAtEnd) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if r.in.Len() == 0 {
		r.cancel()
	}
	return n, err
}
