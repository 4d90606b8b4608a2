package values_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse/values"
)

// table returns the rows of the first table below a heading of docs/formats.md, without marks of code.
func table(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n### "+heading+"\n")
	if !found {
		t.Fatalf("docs/formats.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 {
		t.Fatalf("section %q has no table", heading)
	}
	return rows
}

func TestFormats_Times(t *testing.T) {
	t.Parallel()
	for _, row := range table(t, "Times") {
		got := "refused"
		if micros, ok := values.ParseTime(row[0]); ok && micros == values.OutOfRange {
			got = "out of range"
		} else if ok {
			got = time.UnixMicro(micros).UTC().Format(time.RFC3339Nano)
		}
		if got != row[1] {
			t.Errorf("%s: got %s, docs/formats.md says %s", row[0], got, row[1])
		}
	}
}

func TestFormats_Durations(t *testing.T) {
	t.Parallel()
	for _, row := range table(t, "Durations") {
		want, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := values.ParseDuration(row[0]); !ok || got != want {
			t.Errorf("%s: got %v, %v, docs/formats.md says %v", row[0], got, ok, want)
		}
	}
}
