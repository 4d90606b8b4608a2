package torture

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// A rowOp is an operation on one row in a history that porcupine checks.
type rowOp struct {
	dataset string
	kind    opKind
	value   value // written
	seen    int64 // read: the version, 0 if the row does not exist
}

type opKind int

const (
	write      opKind = iota
	maybeWrite        // a write without an answer: it may have happened, but not later than its end
	read
)

func (o rowOp) String() string {
	name := [...]string{"write", "maybe write", "read"}[o.kind]
	if o.kind == read {
		return fmt.Sprintf("%s %d", name, o.seen)
	}
	if o.value.deleted {
		return fmt.Sprintf("%s deletion %d", name, o.value.version)
	}
	return fmt.Sprintf("%s %d", name, o.value.version)
}

// after returns the value of a row once v is merged into it.
func (o rowOp) after(state value) value {
	if versioned(o.dataset) && o.value.version < state.version {
		return state
	}
	return o.value
}

// rowModel is a row as a register. All roads to a row must show one order of its writes.
var rowModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{value{}} },
	Step: func(state, input, _ any) []any {
		op := input.(rowOp)
		before := state.(value)
		switch op.kind {
		case write:
			return []any{op.after(before)}
		case maybeWrite:
			return []any{before, op.after(before)}
		default:
			if before.seen() != op.seen {
				return nil
			}
			return []any{before}
		}
	},
}).ToModel()

// A history records operations on rows, and checks that they are linearizable.
type history struct {
	clock atomic.Int64

	mu      sync.Mutex
	ops     map[rowKey][]porcupine.Operation // guarded by mu
	added   map[rowKey]bool                  // rows with operations since the last check; guarded by mu
	written map[rowKey][]int64               // versions and deletions (0) since the last publication; guarded by mu
	public  map[rowKey]int64                 // version that was published last; guarded by mu
	checked int                              // operations that were checked; guarded by mu
}

func newHistory() *history {
	return &history{
		ops: map[rowKey][]porcupine.Operation{}, added: map[rowKey]bool{}, written: map[rowKey][]int64{},
		public: map[rowKey]int64{},
	}
}

func (h *history) now() int64 { return h.clock.Add(1) }

func (h *history) add(key rowKey, op rowOp, call, end int64) {
	op.dataset = key.dataset
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[key] = append(h.ops[key], porcupine.Operation{Input: op, Call: call, Return: end})
	h.added[key] = true
	if op.kind != read {
		h.written[key] = append(h.written[key], op.value.seen())
	}
}

// check returns an error if the operations on a row have no order in which each read sees the last write before it.
func (h *history) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.added {
		ops := h.ops[key]
		h.checked += len(ops)
		if result := porcupine.CheckOperationsTimeout(rowModel, ops, 10*time.Second); result != porcupine.Ok {
			return fmt.Errorf("%s: the history is not linearizable (%s):\n%s", key, result, describe(ops))
		}
	}
	clear(h.added)
	return nil
}

func describe(ops []porcupine.Operation) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range ops[max(0, len(ops)-40):] {
		fmt.Fprintf(&b, "  %d-%d %v\n", op.Call, op.Return, op.Input)
	}
	return b.String()
}

// settle replaces the checked operations on rows by the versions that a reader has found, while nothing wrote. It keeps
// the writes of rows that do not exist, because a tombstone keeps older versions out.
func (h *history) settle(found map[rowKey]int64, published bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, version := range found {
		if published {
			h.public[key] = version
			delete(h.written, key)
		}
		if version != 0 {
			h.reset(key, value{version: version})
			continue
		}
		h.ops[key] = slices.DeleteFunc(h.ops[key], func(op porcupine.Operation) bool {
			return op.Input.(rowOp).kind == read
		})
	}
}

// reset makes v the value of the row. The caller holds mu.
func (h *history) reset(key rowKey, v value) {
	now := h.now()
	h.ops[key] = []porcupine.Operation{{Input: rowOp{dataset: key.dataset, kind: write, value: v}, Call: now, Return: now}}
}

// lose accepts what a repair has brought back: each row is as it was published last, or as a later write made it.
// It returns the number of rows that are not as they were before.
func (h *history) lose(found map[rowKey]int64) (lost int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, version := range found {
		if version != h.public[key] && !slices.Contains(h.written[key], version) {
			return lost, fmt.Errorf("%s: got version %d, want the published version %d or one of %v",
				key, version, h.public[key], h.written[key])
		}
		if len(h.ops[key]) > 0 {
			now := h.now()
			ops := append(slices.Clone(h.ops[key]),
				porcupine.Operation{Input: rowOp{dataset: key.dataset, kind: read, seen: version}, Call: now, Return: now})
			if porcupine.CheckOperationsTimeout(rowModel, ops, 10*time.Second) != porcupine.Ok {
				lost++
			}
		}
		// A deletion may be lost with its version.
		h.reset(key, value{version: version, deleted: version == 0})
	}
	return lost, nil
}

// A repeatedPush is the record of the pushes with one idempotency key.
type repeatedPush struct {
	key     string
	tenant  int
	body    body
	mu      sync.Mutex
	history []porcupine.Operation // guarded by mu
}

// A pushResult is the outcome of a push with an idempotency key.
type pushResult struct {
	kind   string // "fresh", "replayed", "in use", "unknown"
	answer string
}

func (p *repeatedPush) add(result pushResult, call, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, porcupine.Operation{Input: result, Call: call, Return: end})
}

const anyAnswer = "any answer"

// pushModel is the record of an idempotency key. The first push that succeeds determines the answer of all later ones.
var pushModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, _ any) []any {
		result := input.(pushResult)
		record := state.(string)
		switch result.kind {
		case "fresh":
			if record == "" {
				return []any{result.answer}
			}
		case "replayed":
			if record == result.answer || record == anyAnswer {
				return []any{result.answer}
			}
		case "in use":
			return []any{record}
		case "unknown":
			if record == "" {
				return []any{"", anyAnswer}
			}
			return []any{record}
		}
		return nil
	},
}).ToModel()

func (p *repeatedPush) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if result := porcupine.CheckOperationsTimeout(pushModel, p.history, 10*time.Second); result != porcupine.Ok {
		return fmt.Errorf("pushes with idempotency key %s: the history is not linearizable (%s):\n%s",
			p.key, result, describe(p.history))
	}
	return nil
}
