package torture

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// results counts what all histories have tried.
type results struct {
	mu        sync.Mutex
	histories int
	steps     int
	pushes    int
	rows      int
	reads     int
	checked   int
	order     []string
	tries     map[string]int
	promises  map[string]map[string][2]int // by fault and promise: held, tried
	losses    map[string]int               // rows
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

var columns = []string{
	startsAlone, startsNamed, rowsPromise, feedPromise, pushPromise, filesPromise, tornPromise, keysPromise, otherPromise,
	verifyAlone, verifyNamed,
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

// table returns the table of promises and faults as Markdown.
func (r *results) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "| fault | tries | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, name := range r.order {
		if r.tries[name] == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s | %d |", name, r.tries[name])
		for _, promise := range columns {
			counts := r.promises[name][promise]
			switch {
			case counts[1] == 0:
				b.WriteString(" |")
			case counts[0] == counts[1]:
				fmt.Fprintf(&b, " %d |", counts[0])
			default:
				fmt.Fprintf(&b, " **%d of %d** |", counts[0], counts[1])
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
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
