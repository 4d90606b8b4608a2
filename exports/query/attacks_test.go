package query

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/voicory/warehouse/exports/query/internal/querytest"
)

// An attack is a statement with its expected outcome: refused, harmless or bounded, see testdata/attacks.txt.
type attack struct{ want, note, sql string }

// attacks returns the attacks of testdata/attacks.txt, and some that are too long for the file.
func attacks(t *testing.T) (all []attack) {
	t.Helper()
	for _, line := range querytest.ReadStatements(t, "testdata/attacks.txt") {
		parts := strings.SplitN(line, " | ", 3)
		if len(parts) != 3 {
			t.Fatalf("invalid line: %s", line)
		}
		all = append(all, attack{parts[0], parts[1], parts[2]})
	}
	return append(all,
		attack{"bounded", "brackets nested deeply", "SELECT " + strings.Repeat("(", 100_000) + "1" +
			strings.Repeat(")", 100_000)},
		attack{"bounded", "subqueries nested deeply", strings.Repeat("SELECT * FROM (", 5_000) + "SELECT 1" +
			strings.Repeat(")", 5_000)},
		attack{"bounded", "lists nested deeply", "SELECT " + strings.Repeat("[", 5_000) + "1" + strings.Repeat("]", 5_000)},
		attack{"bounded", "a document nested deeply", "SELECT json_extract('" + strings.Repeat("[", 400_000) + "', '$')"},
		attack{"bounded", "a sum of many", "SELECT 1" + strings.Repeat("+1", 500_000)},
		attack{"bounded", "many conditions", "SELECT 1 WHERE " + strings.Repeat("NOT ", 200_000) + "true"},
		attack{"bounded", "a long list of values", "SELECT 1 WHERE 1 IN (" + strings.Repeat("1,", 500_000) + "1)"},
		attack{"bounded", "many columns", "SELECT " + strings.Repeat("1,", 500_000) + "1"},
		attack{"bounded", "many unions", strings.Repeat("SELECT 1 UNION ALL ", 50_000) + "SELECT 1"},
		attack{"bounded", "one long name", "SELECT 1 AS \"" + strings.Repeat("x", 1<<20-20) + "\""},
		attack{"refused", "many statements", strings.Repeat("SELECT 1;", 1_000)},
		// refused, unless parsing takes too long
		attack{"bounded", "very many statements", strings.Repeat("SELECT 1;", 100_000)},
		attack{"refused", "a zero byte that hides", "SELECT 1\x00; DROP VIEW calls"},
		attack{"refused", "bytes that are no text", "SELECT '\xff\xfe' FROM \xc0\xaf"},
		attack{"refused", "a mark of byte order", "\ufeffATTACH ':memory:' AS x"},
	)
}

// No attack returns data of another tenant or of the server, exceeds its limits, or harms the server.
func TestQuery_Attacks(t *testing.T) {
	t.Setenv("VOICORY_CANARY", canary)
	w := openLake(t)
	dir := w.Dir()
	for _, name := range []string{"secret.json", "secret.xlsx", "secret.txt"} {
		querytest.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprintf("{%q: %q}\n", canary, canary)), 0o644))
	}
	published := w.PublishedDirs(tenantB)[0]
	files, err := filepath.Glob(filepath.Join(published, "calls-*.parquet"))
	querytest.NoError(t, err)
	inLake, err := filepath.Glob(filepath.Join(dir, "lake", "tenant_id="+tenantB.String(), "calls", "*", "*.parquet"))
	querytest.NoError(t, err)
	querytest.NoError(t, os.Symlink(filepath.Join(dir, "secret.txt"), filepath.Join(dir, "link")))
	querytest.NoError(t, os.Symlink(files[0], filepath.Join(dir, "link.parquet")))
	places := strings.NewReplacer("DIR", dir, "FILE", files[0], "LAKE", inLake[0], "THEIRS", published)

	r := newRunner(t, w, func(o *Options) { o.MaxBytes, o.Memory = 20<<20, 128<<20 })
	all := attacks(t)
	if len(all) < 150 {
		t.Errorf("got %d attacks, want at least 150", len(all))
	}
	var running sync.WaitGroup
	next := make(chan attack)
	for range 4 {
		running.Go(func() {
			for a := range next {
				attempt(t, r, a, places.Replace(a.sql), dir)
			}
		})
	}
	for _, a := range all {
		next <- a
	}
	close(next)
	running.Wait()
	if got := mustQuery(t, r, "SELECT count(*), (SELECT count(*) FROM customers) FROM calls").text(); got != "200 1" {
		t.Errorf("after the attacks: got %s, want 200 1", got)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "mine*")); err != nil || left != nil {
		t.Errorf("got files %v (%v), want none", left, err)
	}
}

// attempt runs an attack in two formats and checks its outcome.
func attempt(t *testing.T, r *Runner, a attack, sql, dir string) {
	// Only a bounded attack may use up its time. The others must not, however busy the machine is.
	timeout := time.Minute
	if a.want == "bounded" {
		timeout = time.Second
	}
	for _, format := range []string{JSON, Arrow} {
		if a.want == "bounded" && format == Arrow {
			return // a bounded statement uses up its time or its memory before its result is encoded
		}
		text, _, err := runQuery(t.Context(), r, Request{SQL: sql, Format: format, Timeout: timeout})
		shown := text
		if err != nil {
			shown += err.Error()
		}
		if strings.Contains(shown, canary) {
			t.Errorf("%s: %.200s shows a secret", a.note, sql)
		}
		if strings.Contains(shown, dir) && !strings.Contains(sql, dir) {
			t.Errorf("%s: %.200s shows a path: %.1000s", a.note, sql, shown)
		}
		switch a.want {
		case "refused":
			if !errors.Is(err, ErrSQL) {
				t.Errorf("%s: %.200s is not refused: %v %.200s", a.note, sql, err, text)
			}
			return // a statement is refused before its format matters
		case "harmless":
			if err != nil && !errors.Is(err, ErrSQL) {
				t.Errorf("%s: %.200s: %v", a.note, sql, err)
			}
		case "bounded":
			if err != nil && !errors.Is(err, ErrSQL) && !errors.Is(err, ErrMemory) && !errors.Is(err, ErrTimeout) &&
				!errors.Is(err, ErrCrashed) {
				t.Errorf("%s: %.200s: %v", a.note, sql, err)
			}
			t.Logf("%s as %s: %v", a.note, format, err)
		default:
			t.Errorf("%s: unknown outcome %q", a.note, a.want)
		}
	}
}
