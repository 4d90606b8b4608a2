package torture

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	duration = flag.Duration("torture.for", 40*time.Second, "time for histories")
	keepOn   = flag.Bool("torture.go-on", false, "run further histories after one has failed")
	seed     = flag.Uint64("torture.seed", 1, "seed of the first history; the next ones follow")
	program  = flag.String("torture.program", "", "path of voicory (default: it is built)")
	folder   = flag.String("torture.folder", "", "folder for data folders (default: a temporary one)")
)

// A place is where the data folder of a history lies.
type place struct {
	dir string
}

func (p *place) data() string { return filepath.Join(p.dir, "data") }
func (p *place) log() string  { return filepath.Join(p.dir, "server.log") }

// TestTorture runs histories until the time is over. The default is short enough for continuous integration; make
// torture runs longer, and writes docs/reliability.md.
func TestTorture(t *testing.T) {
	binary := *program
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "voicory")
		build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=pie", "-o", binary, "../../cmd/voicory")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	dir := *folder
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "torture"); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name, value string) {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	set("rapid.checks", "1")
	set("rapid.steps", "20")
	set("rapid.nofailfile", "true")
	faults := allFaults()
	results := newResults(faults)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	deadline := time.Now().Add(*duration)
	for next := *seed; time.Now().Before(deadline) && (*keepOn || !t.Failed()); next++ {
		set("rapid.seed", fmt.Sprint(next))
		t.Run(fmt.Sprintf("seed=%d", next), func(t *testing.T) {
			where := &place{filepath.Join(dir, fmt.Sprintf("seed-%d", next))}
			if err := os.MkdirAll(where.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			m, err := newMachine(t.Context(), binary, next, where, results)
			if err != nil {
				t.Fatal(err)
			}
			m.deadline = deadline
			rapid.Check(t, func(t *rapid.T) { m.run(t, faults) })
			results.histories++
			results.checked += m.hist.checked
			if m.err != nil {
				t.Fatalf("%v\nto run this history again: go test ./bench/torture -torture.seed=%d\n"+
					"data folder and log: %s\nsteps:\n  %s\nlog:\n%s",
					m.err, next, where.dir, strings.Join(m.steps, "\n  "), m.srv.log.tail())
			}
			if err := os.RemoveAll(where.dir); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("%d histories, %d steps, %d pushes of %d rows, %d rows read, %d operations checked\n%s\nnot tried: %q",
		results.histories, results.steps, results.pushes, results.rows, results.reads, results.checked, results.table(), results.untried())
}
