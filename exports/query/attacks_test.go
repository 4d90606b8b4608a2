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

// refusedInWorkers is the distance between attacks that run in a worker, of those that must be refused. Tests of
// package worker try all of these in one process.
const refusedInWorkers = 8

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
	all := querytest.Attacks(t, "testdata/attacks.txt")
	if len(all) < 150 {
		t.Errorf("got %d attacks, want at least 150", len(all))
	}
	var running sync.WaitGroup
	next := make(chan querytest.Attack)
	for range 4 {
		running.Go(func() {
			for a := range next {
				attempt(t, r, a, places.Replace(a.SQL), dir)
			}
		})
	}
	for i, a := range all {
		if a.Want != "refused" || i%refusedInWorkers == 0 {
			next <- a
		}
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
func attempt(t *testing.T, r *Runner, a querytest.Attack, sql, dir string) {
	// Only a bounded attack may use up its time. The others must not, however busy the machine is.
	timeout := time.Minute
	if a.Want == "bounded" {
		timeout = time.Second
	}
	for _, format := range []string{JSON, Arrow} {
		if a.Want == "bounded" && format == Arrow {
			return // a bounded statement uses up its time or its memory before its result is encoded
		}
		text, _, err := runQuery(t.Context(), r, Request{SQL: sql, Format: format, Timeout: timeout})
		shown := text
		if err != nil {
			shown += err.Error()
		}
		if strings.Contains(shown, canary) {
			t.Errorf("%s: %.200s shows a secret", a.Note, sql)
		}
		if strings.Contains(shown, dir) && !strings.Contains(sql, dir) {
			t.Errorf("%s: %.200s shows a path: %.1000s", a.Note, sql, shown)
		}
		switch a.Want {
		case "refused":
			if !errors.Is(err, ErrSQL) {
				t.Errorf("%s: %.200s is not refused: %v %.200s", a.Note, sql, err, text)
			}
			return // a statement is refused before its format matters
		case "harmless":
			if err != nil && !errors.Is(err, ErrSQL) {
				t.Errorf("%s: %.200s: %v", a.Note, sql, err)
			}
		case "bounded":
			if err != nil && !errors.Is(err, ErrSQL) && !errors.Is(err, ErrMemory) && !errors.Is(err, ErrTimeout) &&
				!errors.Is(err, ErrCrashed) {
				t.Errorf("%s: %.200s: %v", a.Note, sql, err)
			}
			t.Logf("%s as %s: %v", a.Note, format, err)
		default:
			t.Errorf("%s: unknown outcome %q", a.Note, a.Want)
		}
	}
}
