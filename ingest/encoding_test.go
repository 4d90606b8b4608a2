package ingest_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// asUTF16 returns text as UTF-16.
func asUTF16(order binary.AppendByteOrder, text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

// Each text format is read in each encoding that begins with a byte order mark. Other encodings are refused by name.
func TestLoad_Encodings(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for i, c := range []struct{ name, text string }{
		{"calls.csv", "id,created_at,summary\r\n%s,2026-01-01,\"smörgås 😀\nline\"\r\n"},
		{"calls.ndjson", `{"id":"%s","created_at":"2026-01-01","summary":"smörgås 😀\nline"}` + "\n"},
		{"calls.json", `[{"id":"%s","created_at":"2026-01-01","summary":"smörgås 😀\nline"}]`},
	} {
		for j, encode := range []func(string) string{
			func(text string) string { return text },
			func(text string) string { return "\ufeff" + text },
			func(text string) string { return asUTF16(binary.LittleEndian, "\ufeff"+text) },
			func(text string) string { return asUTF16(binary.BigEndian, "\ufeff"+text) },
		} {
			id := uuid.UUID{0: byte(i), 1: byte(j), 15: 1}
			in := ingest.Input{Name: c.name, Tenant: tenant.ID, Body: strings.NewReader(encode(fmt.Sprintf(c.text, id)))}
			wantCounts(t, load(t, w, in), schema.Counts{Read: 1, New: 1})
			call, err := w.Get(t.Context(), tenant.ID, schema.Calls, id)
			noError(t, err)
			if want := `"summary":"smörgås 😀\nline"`; !strings.Contains(call, want) {
				t.Errorf("%s, encoding %d: got %s, want %s", c.name, j, call, want)
			}
		}
		text := fmt.Sprintf(c.text, uuid.Nil)
		for encoded, want := range map[string]string{
			asUTF16(binary.LittleEndian, text):                                         "UTF-16 without a byte order mark",
			asUTF16(binary.BigEndian, text):                                            "UTF-16 without a byte order mark",
			"\xff\xfe\x00\x00" + strings.Join(strings.Split(text, ""), "\x00\x00\x00"): "its encoding is UTF-32",
		} {
			summary := load(t, w, ingest.Input{Name: c.name, Tenant: tenant.ID, Body: strings.NewReader(encoded)})
			if summary.FilesRefused != 1 || !strings.Contains(summary.Refusals[0].Reason, want) {
				t.Errorf("%s: got %+v, want the reason %s", c.name, summary, want)
			}
		}
	}
}

// The names of columns are not part of any statement, however many there are.
func TestLoad_HostileColumnNames(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	names := []string{"a\x00b", `q"uote`, `'; DROP TABLE calls; --`, "{{tenant}}", "$.x", "{}", "\\", "\u2028", " ", "ID ",
		strings.Repeat("long", 10_000), "line", "raw", "untyped", "tenant_id", "rowid", "_hash"}
	for i := range 1900 {
		names = append(names, fmt.Sprint("column ", i))
	}
	for i := range names {
		names[i] = `"` + strings.ReplaceAll(names[i], `"`, `""`) + `"`
	}
	text := "id,created_at," + strings.Join(names, ",") + "\n" +
		uuid.NewString() + ",2026-01-01" + strings.Repeat(",x", len(names)) + "\n"
	wantCounts(t, load(t, w, ingest.Input{Name: "calls.csv", Tenant: tenant.ID, Body: strings.NewReader(text)}),
		schema.Counts{Read: 1, New: 1})
	for i, name := range names {
		names[i] = fmt.Sprintf("%q:1", strings.Trim(name, `"`))
	}
	text = `{"id":"` + uuid.NewString() + `","created_at":"2026-01-01"}` + "\n{" +
		strings.ReplaceAll(strings.Join(names, ","), `\x00`, `\u0000`) + `,"id":"` + uuid.NewString() +
		`","created_at":"2026-01-01"}`
	wantCounts(t, load(t, w, ingest.Input{Name: "calls.ndjson", Tenant: tenant.ID, Body: strings.NewReader(text)}),
		schema.Counts{Read: 2, New: 2})
}
