package torture

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	duration = flag.Duration("torture.for", 12*time.Second, "time for histories")
	keepOn   = flag.Bool("torture.go-on", false, "run further histories after one has failed")
	seed     = flag.Uint64("torture.seed", 1, "seed of the first history; the next ones follow")
	first    = flag.Int("torture.first", 0, "number of the first fault of the first history; see its failure")
	program  = flag.String("torture.program", "", "path of voicory (default: it is built)")
	only     = flag.String("torture.only", "", "regular expression of the faults to try (default: all)")
	report   = flag.String("torture.report", "", "document whose table of results is replaced")
	folder   = flag.String("torture.folder", "", "folder for data folders (default: a temporary one)")
)

// A place is where the data folder of a history lies.
type place struct {
	dir    string
	folder string // mount point, or a plain folder
	image  string // image of the mounted ext4 file system; "": none
	faulty any    // the mounted faultfs.FS; nil: none
}

func (p *place) data() string { return filepath.Join(p.folder, "data") }
func (p *place) log() string  { return filepath.Join(p.dir, "server.log") }

// mold is the folder of a linker that takes half the processor time of ld.
const mold = "/usr/libexec/mold"

// buildProgram builds voicory, with the race detector if the test has it: then go test has compiled its packages, and
// it is only linked.
func buildProgram(t *testing.T) (path string) {
	path = filepath.Join(t.TempDir(), "voicory")
	linker := "-s -w"
	if _, err := os.Stat(mold + "/ld"); err == nil {
		linker += " -extldflags=-B" + mold
	}
	arguments := []string{"build", "-ldflags=" + linker, "-o", path}
	race := debug.BuildSetting{Key: "-race", Value: "true"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, race) {
		arguments = append(arguments, "-race")
		t.Setenv("GORACE", "atexit_sleep_ms=10") // otherwise the exit of each process takes a second more
	}
	out, err := exec.CommandContext(t.Context(), "go", append(arguments, "../../cmd/voicory")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// An order gives the faults to histories, so that each is tried before any is tried again: a history goes on where the
// last one in the same kind of place has stopped. One seed in four has a place that fails on demand, for the faults
// that need it and for kills. The others have the rest, which are three times as many.
type order struct {
	failing, others []*fault
	next            map[bool]int // number of the next fault, of the failing ones and of the others
}

func newOrder(faults []*fault, seed uint64, first int) *order {
	o := &order{next: map[bool]int{}}
	for _, f := range faults {
		if f.failing || f.name == killName && !slices.Contains(o.failing, f) {
			o.failing = append(o.failing, f)
		}
		if !f.failing {
			o.others = append(o.others, f)
		}
	}
	o.next[o.faulty(seed)] = first
	return o
}

// faulty reports whether the place of the history with the seed fails on demand.
func (o *order) faulty(seed uint64) bool {
	if len(o.others) == 0 || len(o.failing) == 0 {
		return len(o.others) == 0
	}
	return seed%4 == 0
}

// of returns the faults for a place, and the number of the first one.
func (o *order) of(p *place) (faults []*fault, from int) {
	if p.faulty == nil {
		return o.others, o.next[false]
	}
	return o.failing, o.next[true]
}

// advance notes that a history has had the number of faults.
func (o *order) advance(p *place, faults int) { o.next[p.faulty != nil] += faults }

// TestOrder_EachFaultBeforeAnyAgain gives the faults to histories of any length.
func TestOrder_EachFaultBeforeAnyAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, tries := newOrder(allFaults(), 0, 0), map[*fault]int{}
		give := func(where *place, wanted []*fault) {
			for round := range 3 {
				for given := 0; given < len(wanted); {
					faults, from := o.of(where)
					n := min(rapid.IntRange(0, 9).Draw(t, "faults"), len(wanted)-given)
					for i := range n {
						tries[faults[(from+i)%len(faults)]]++
					}
					o.advance(where, n)
					given += n
				}
				for _, f := range wanted {
					if f.name != killName && tries[f] != round+1 {
						t.Fatalf("round %d: %s: got %d tries", round, f.name, tries[f])
					}
				}
			}
		}
		give(&place{faulty: true}, o.failing)
		give(&place{}, o.others)
	})
}

// TestTorture runs histories until the time is over. The default is short enough for continuous integration; make
// torture runs longer, and writes docs/reliability.md.
func TestTorture(t *testing.T) {
	binary := *program
	if binary == "" {
		binary = buildProgram(t)
	}
	dir := *folder
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "torture"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // it has the folders of failed histories, or is empty
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
	noClock := probeClock(t.Context())
	if noClock == nil {
		faults = append(faults, clockFaults()...)
	}
	wanted := regexp.MustCompile(*only)
	faults = slices.DeleteFunc(faults, func(f *fault) bool { return !wanted.MatchString(f.name) })
	results := newResults(faults)
	if noClock != nil {
		results.missing(noClock.Error())
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	order := newOrder(faults, *seed, *first)
	began := time.Now()
	deadline := began.Add(*duration)
	for next := *seed; time.Now().Before(deadline) && (*keepOn || !t.Failed()); next++ {
		set("rapid.seed", fmt.Sprint(next))
		t.Run(fmt.Sprintf("seed=%d", next), func(t *testing.T) {
			where, missing, err := openPlace(t.Context(), filepath.Join(dir, fmt.Sprintf("seed-%d", next)), order.faulty(next))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = where.close() }) // if the history panics
			if missing != "" {
				results.missing(missing)
			}
			m, err := newMachine(t.Context(), binary, next, where, results)
			if err != nil {
				t.Fatal(err)
			}
			m.deadline, m.srv.clocks = deadline, noClock == nil
			wanted, from := order.of(where)
			rapid.Check(t, func(t *rapid.T) { m.run(t, wanted, from) })
			order.advance(where, m.faults)
			results.histories++
			results.checked += m.hist.checked
			if err := where.close(); err != nil {
				t.Error(err)
			}
			if m.err != nil {
				results.failed++
				t.Fatalf("%v\nto run this history again: go test ./bench/torture -torture.seed=%d -torture.first=%d\n"+
					"data folder and log: %s\nsteps:\n  %s\nlog:\n%s",
					m.err, next, from, where.dir, strings.Join(m.steps, "\n  "), m.srv.log.tail())
			}
			if err := os.RemoveAll(where.dir); err != nil {
				t.Fatal(err)
			}
		})
	}
	text := results.text(*seed, time.Since(began))
	t.Log(text)
	if *report == "" {
		return
	}
	document, err := os.ReadFile(*report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*report, replaceResults(document, text), 0o644); err != nil {
		t.Fatal(err)
	}
}
