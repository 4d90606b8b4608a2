package ingest_test

import (
	"bytes"
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
)

// compressed returns the bytes of a reader as gzip or zstd.
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

// endless repeats a text.
type endless struct {
	text string
	at   int
}

func (r *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		copied := copy(p[n:], r.text[r.at:])
		n += copied
		r.at = (r.at + copied) % len(r.text)
	}
	return n, nil
}

// A small input cannot cause the work of a large one: every byte that it unpacks to counts, whatever it is.
func TestBounds_Expansion(t *testing.T) {
	const unpacked = 130 << 20
	w := openNew(t)
	blank := strings.Repeat("\n", 1<<16)
	for format, inputs := range map[ingest.Format]map[string][2]string{ // a beginning, and what follows again and again
		ingest.NDJSON: {"blank lines": {"", blank}, "spaces": {"", strings.Repeat(" ", 1<<16)}, "one line": {`{"summary":"`, strings.Repeat("x", 1<<16)},
			"nothing": {"", strings.Repeat("\x00", 1<<16)}},
		ingest.JSON: {"white space": {"", blank}, "white space in an array": {"[", blank}, "white space in an element": {`[{"summary":"x",`, blank},
			"one element": {`["`, strings.Repeat("x", 1<<16)}, "nested": {"[", strings.Repeat("[", 1<<16)}},
		ingest.CSV:     {"blank lines": {"id\n", blank}, "one line": {"id\n", strings.Repeat("x", 1<<16)}, "one header": {"", strings.Repeat("x,", 1<<15)}, "quotes": {"id\n\"", blank}},
		ingest.Parquet: {"no file": {"PAR1", blank}},
		ingest.Arrow:   {"no file": {"", "\xff\xff\xff\xff"}},
	} {
		for name, input := range inputs {
			for _, packed := range []string{".gz", ".zst"} {
				if packed == ".gz" && format != ingest.NDJSON {
					continue // the same reader
				}
				t.Run(fmt.Sprint(format, " ", name, packed), func(t *testing.T) {
					body := compressed(t, io.LimitReader(io.MultiReader(strings.NewReader(input[0]), &endless{text: input[1]}), unpacked), packed)
					_, err := ingest.Load(t.Context(), w, ingest.Input{Name: "push", Format: format, Dataset: "calls", Tenant: tenant.ID, Body: bytes.NewReader(body),
						Bounds: ingest.Bounds{Bytes: 8 << 30, Refused: 100}})
					var tooLarge *warehouse.TooLargeError
					if !errors.As(err, &tooLarge) || tooLarge.Bytes != 128<<20 {
						t.Errorf("got %v, want that it unpacks to more than 128 MiB", err)
					}
					if left, err := os.ReadDir(w.TempDir()); err != nil || len(left) > 0 {
						t.Errorf("left behind: %v %v", left, err)
					}
				})
			}
		}
	}
}

// The rows of a table count as NDJSON, not as they are in the file.
func TestBounds_TableExpansion(t *testing.T) {
	for name, test := range map[string]struct {
		query  string
		limit  int64 // that an error names; 0: the file is refused for the reason
		reason string
	}{
		"a dictionary":    {"SELECT uuid() AS id, repeat('x', 65536) AS summary FROM range(10000)", 128 << 20, ""},
		"rows of nothing": {"SELECT NULL AS metadata FROM range(20000000)", 0, "more than 100000 rows were refused"},
		"large rows":      {"SELECT uuid() AS id, repeat('x', 1000000) AS summary FROM range(2048)", 0, "reading the file needs more than 512 MiB of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			w := openNew(t)
			content := parquetOf(t, test.query, ", COMPRESSION zstd")
			if len(content) > 5_000_000 {
				t.Fatalf("the file has %d bytes", len(content))
			}
			summary, err := ingest.Load(t.Context(), w, ingest.Input{Name: "push", Format: ingest.Parquet, Dataset: "calls", Tenant: tenant.ID, Throttled: true,
				Body: bytes.NewReader(content), Bounds: ingest.Bounds{Bytes: 8 << 30, Refused: 100_000}})
			if tooLarge := (*warehouse.TooLargeError)(nil); test.limit > 0 && (!errors.As(err, &tooLarge) || tooLarge.Bytes != test.limit) {
				t.Errorf("got %+v %v, want a limit of %d", summary, err, test.limit)
			}
			if test.limit == 0 && (err != nil || summary.FilesRefused != 1 || !strings.Contains(summary.Refusals[len(summary.Refusals)-1].Reason, test.reason)) {
				t.Errorf("got %+v %v, want %q", summary, err, test.reason)
			}
		})
	}
}

// Members of gzip and frames of zstd that hold nothing are passed over.
func TestBounds_EmptyMembers(t *testing.T) {
	row := fmt.Sprintf(`{"id":"%s","created_at":"2026-01-01"}`, tenant.ID)
	for _, packed := range []string{".gz", ".zst"} {
		nothing := compressed(t, strings.NewReader(""), packed)
		if packed == ".zst" {
			nothing = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0} // a frame of no bytes
		}
		body := append(bytes.Repeat(nothing, 100_000), compressed(t, strings.NewReader(row), packed)...)
		summary := load(t, openNew(t), ingest.Input{Name: "calls.ndjson", Tenant: tenant.ID, Body: bytes.NewReader(body), Bounds: ingest.Bounds{Bytes: 1 << 20}})
		wantCounts(t, summary, warehouse.Counts{Read: 1, New: 1})
	}
}

// An input ends with its context even while a small part of it unpacks to gigabytes.
func TestBounds_CancelWhileUnpacking(t *testing.T) {
	for format, input := range map[ingest.Format][2]string{ingest.NDJSON: {"", "\n"}, ingest.JSON: {"[", "\n"}, ingest.CSV: {"id\n", "\n"}, ingest.Parquet: {"", "\n"}} {
		body := compressed(t, io.MultiReader(strings.NewReader(input[0]), io.LimitReader(&endless{text: strings.Repeat(input[1], 1<<16)}, 2<<30)), ".zst")
		ctx, cancel := context.WithCancel(t.Context())
		// The whole body is read in one piece, and the context ends right after.
		_, err := ingest.Load(ctx, openNew(t), ingest.Input{Name: "calls", Format: format, Dataset: "calls", Body: &cancelledAtEnd{bytes.NewReader(body), cancel}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want that it was cancelled", format, err)
		}
		cancel()
	}
}

// cancelledAtEnd cancels a context when all has been read.
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
