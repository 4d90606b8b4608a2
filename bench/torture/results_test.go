package torture

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// results counts what all histories have tried.
type results struct {
	mu        sync.Mutex
	histories int
	failed    int
	steps     int
	pushes    int
	rows      int
	reads     int
	checked   int
	order     []string
	tries     map[string]int
	promises  map[string]map[string][2]int // by fault and promise: held, tried
	losses    map[string]int               // rows
	lacks     []string                     // what the machine does not allow
}

func newResults(faults []*fault) *results {
	r := &results{tries: map[string]int{}, promises: map[string]map[string][2]int{}, losses: map[string]int{}}
	for _, f := range faults {
		if !slices.Contains(r.order, f.name) {
			r.order = append(r.order, f.name)
			r.promises[f.name] = map[string][2]int{}
		}
	}
	return r
}

func (r *results) missing(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.lacks, reason) {
		r.lacks = append(r.lacks, reason)
	}
}

func (r *results) step() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps++
}

func (r *results) pushed(rows int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushes++
	r.rows += rows
}

func (r *results) read(rows int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads += rows
}

func (r *results) tried(f *fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries[f.name]++
}

func (r *results) lost(f *fault, rows int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses[f.name] += rows
}

func (r *results) count(f *fault, promise string, held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.promises[f.name][promise]
	counts[1]++
	if held {
		counts[0]++
	}
	r.promises[f.name][promise] = counts
}

// untried returns the faults that no history has reached.
func (r *results) untried() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.order {
		if r.tries[name] == 0 {
			names = append(names, name)
		}
	}
	return names
}

// Columns of the table. A cell has the number of tries in which all of its promises held.
var columns = []struct {
	title    string
	promises []string
}{
	{"starts", []string{startsAlone, startsNamed, healsPromise}},
	{"rows", []string{rowsPromise}},
	{"feed", []string{feedPromise}},
	{"repeated pushes", []string{pushPromise}},
	{"files and SQL", []string{filesPromise}},
	{"whole files", []string{tornPromise}},
	{"keys", []string{keysPromise}},
	{"others served", []string{otherPromise}},
	{"verified", []string{verifyAlone, verifyNamed}},
}

// text returns the results as Markdown.
func (r *results) text(seed uint64, took time.Duration) string {
	untried := r.untried()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	total := 0
	for _, tries := range r.tries {
		total += tries
	}
	fmt.Fprintf(&b, "%s, %s/%s, %d processors, %s, seeds from %d on: %d histories in %v with %d steps and %d faults; %d "+
		"pushes of "+
		"%d rows were acknowledged, %d rows were read, and porcupine checked %d operations. Failed histories: %d.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), seed,
		r.histories, took.Round(time.Second), r.steps, total, r.pushes, r.rows, r.reads, r.checked, r.failed)
	fmt.Fprintf(&b, "| fault | tries | needs `voicory repair` | rows lost |")
	for _, column := range columns {
		fmt.Fprintf(&b, " %s |", column.title)
	}
	fmt.Fprintf(&b, "\n|%s\n", strings.Repeat("---|", len(columns)+4))
	for _, name := range r.order {
		if r.tries[name] == 0 {
			continue
		}
		repaired := max(r.promises[name][startsNamed][1], r.promises[name][verifyNamed][1])
		fmt.Fprintf(&b, "| %s | %d | %d | %d |", name, r.tries[name], repaired, r.losses[name])
		for _, column := range columns {
			held, tried := 0, 0
			for _, promise := range column.promises {
				counts := r.promises[name][promise]
				held, tried = held+counts[0], tried+counts[1]
			}
			switch {
			case tried == 0:
				b.WriteString(" |")
			case held == tried:
				fmt.Fprintf(&b, " %d |", held)
			default:
				fmt.Fprintf(&b, " **%d of %d** |", held, tried)
			}
		}
		b.WriteByte('\n')
	}
	if len(untried) > 0 {
		fmt.Fprintf(&b, "\nNot tried: %s.\n", strings.Join(untried, "; "))
	}
	for _, reason := range r.lacks {
		fmt.Fprintf(&b, "\nSkipped, because of the machine: %s.\n", reason)
	}
	return b.String()
}

const (
	resultsBegin = "<!-- results: written by make torture -->\n"
	resultsEnd   = "<!-- end of results -->\n"
)

// replaceResults replaces the results in a document.
func replaceResults(document []byte, text string) []byte {
	before, rest, _ := bytes.Cut(document, []byte(resultsBegin))
	_, after, _ := bytes.Cut(rest, []byte(resultsEnd))
	return slices.Concat(before, []byte(resultsBegin), []byte("\n"+text+"\n"), []byte(resultsEnd), after)
}

func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
