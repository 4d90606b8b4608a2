package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
)

// A query prints the same result in every format. Without a server, which starts workers in the same way, one result
// and one error are enough.
func TestQuery_Formats(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mustRun(t, callLine(1)+callLine(2), "ingest", "--data", data, "--dataset", "calls", "-")
	ask := func(status int, args ...string) result {
		t.Helper()
		return wantStatus(t, run(t, "", append([]string{"query", "--data", data, "--tenant", someTenant}, args...)...),
			status)
	}
	const sql = "SELECT 'नमस्ते' AS said, count(*) AS calls, NULL AS nothing FROM calls UNION ALL SELECT " +
		"'a\"b', 12, 'x' ORDER BY calls"
	check := func(served bool) {
		t.Helper()
		if got := ask(exitFailed, "SELECT nope FROM calls").stderr; !strings.Contains(got,
			`Binder Error: Referenced column "nope" not found`) || !strings.Contains(got, "(line 1, column 8)") {
			t.Error(got)
		}
		if !served {
			if got := ask(exitDone, "SELECT count(*) AS calls FROM calls").stdout; got != "calls\n2\n" {
				t.Errorf("got %q", got)
			}
			return
		}
		for format, want := range map[string]string{
			"csv":    "said,calls,nothing\nनमस्ते,2,\n\"a\"\"b\",12,x\n",
			"json":   "[\n{\"said\":\"नमस्ते\",\"calls\":2,\"nothing\":null},\n{\"said\":\"a\\\"b\",\"calls\":12,\"nothing\":\"x\"}\n]\n",
			"ndjson": "{\"said\":\"नमस्ते\",\"calls\":2,\"nothing\":null}\n{\"said\":\"a\\\"b\",\"calls\":12,\"nothing\":\"x\"}\n",
		} {
			if got := ask(exitDone, "--format", format, sql).stdout; got != want {
				t.Errorf("%s:\n%s", format, got)
			}
		}
		if got := ask(exitDone, "--format", "parquet", sql).stdout; !strings.HasPrefix(got, "PAR1") {
			t.Errorf("%q", got)
		}
		if got := ask(exitDone, "--json", "SELECT 1 AS x WHERE false").stdout; got != "[\n]\n" {
			t.Errorf("%q", got)
		}
		got := ask(exitDone, "--format", "table", sql).stdout
		if lines := strings.Split(got, "\n"); len(lines) != 6 || !strings.HasSuffix(lines[2], "      2  NULL") ||
			!strings.HasPrefix(lines[3], "a\"b") || !strings.HasPrefix(lines[4], "2 rows, ") {
			t.Errorf("%s", got)
		}
		for _, format := range []string{"table", "json"} {
			got := ask(exitTruncated, "--format", format, "--limit", "2", "FROM range(3)")
			if want := "voicory: the result is incomplete: it has more rows than the limit; raise --limit\n"; got.stderr != want || got.stdout == "" {
				t.Errorf("%s: got %q and %d bytes, want %q and the rows", format, got.stderr, len(got.stdout), want)
			}
		}
		ask(exitDone, "--format", "json", "--limit", "3", "FROM range(3)")
		if got := ask(exitDone, "--format", "table", "--limit", "9",
			`SELECT unnest([NULL, 'NULL', '"NULL"', 'null']) AS x`).stdout; !strings.Contains(got,
			"\nNULL\n\"NULL\"\n\"\\\"NULL\\\"\"\nnull\n") {
			t.Errorf("got %s, want NULL and the text NULL to differ", got)
		}
		ask(exitUsage, "--format", "xml", "SELECT 1")
		wantStatus(t, run(t, "", "query", "--data", data, "--tenant", "x", "SELECT 1"), exitUsage)
		if got := mustRun(t, "SELECT 7 AS x", "query", "--data", data, "--tenant", someTenant).stdout; got != "x\n7\n" {
			t.Errorf("%q", got)
		}
	}
	check(false)
	_, stop := serve(t, data)
	check(true)
	if got := ask(exitFailed, "--format", "csv",
		"SELECT range, CASE WHEN range = 90000 THEN error('late') ELSE repeat('x', 500) END FROM range(100000)"); len(
		got.stdout) == 0 {
		t.Error("got no output before the failure, want some")
	}
	stop()
}

// scriptedEditor is a lineEditor that returns prepared lines. The line ^C stands for Ctrl-C.
type scriptedEditor struct {
	lines   []string
	prompts []string
	history []string
}

func (l *scriptedEditor) Prompt(prompt string) (string, error) {
	l.prompts = append(l.prompts, prompt)
	if len(l.lines) == 0 {
		return "", io.EOF
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	if line == "^C" {
		return "", errAborted
	}
	return line, nil
}

func (l *scriptedEditor) AppendHistory(line string) { l.history = append(l.history, line) }
func (*scriptedEditor) Close() error                { return nil }

func TestQuery_Interactive(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mustRun(t, callLine(1), "ingest", "--data", data, "--dataset", "calls", "-")
	f := flags{Data: data, MemoryLimit: "100MB"}
	noError(t, f.withAdmin(t.Context(), func(conn *admin.Conn) error {
		var out bytes.Buffer
		lines := &scriptedEditor{lines: []string{"SELECT count(*)", "AS calls FROM calls;", "", ".tables",
			".schema cost_daily", "SELECT", "^C", "SELECT nope;", ".help", ".quit", "SELECT 'not reached';"}}
		a := sqlSession{conn: conn, tenant: uuid.MustParse(someTenant), format: formatTable, out: &out}
		noError(t, a.interact(t.Context(), lines))
		for _, want := range []string{"calls\n─────\n    1\n", "transcript_turns  ", "cost_pending    BIGINT",
			"Binder Error", ".schema TABLE"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got\n%s\nwant %q in it", out.String(), want)
			}
		}
		if len(lines.history) != 2 || lines.history[0] != "SELECT count(*) AS calls FROM calls;" ||
			lines.prompts[1] != "    ...> " || len(lines.lines) != 1 {
			t.Errorf("%+v", lines)
		}
		return nil
	}))
}
