package voicory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// kept is the state as others keep it: JSON of some hundred bytes that does not grow.
type kept struct {
	Read json.RawMessage `json:"read"` // state
	Pace *pace           `json:"pace,omitempty"`
}

// state is what has been read.
type state struct {
	Lists   map[string]*list `json:"lists"`
	Details *history         `json:"details,omitempty"`
}

// list is how far one dataset is known.
type list struct {
	Through time.Time `json:"through,omitzero"` // all rows created until then have been read
	Reread  time.Time `json:"reread,omitzero"`  // the same, by passes that read the window again, too
	Walk    *walk     `json:"walk,omitempty"`   // a pass on its way
	Again   *walk     `json:"again,omitempty"`  // all rows once more, on its way
	// When all rows were read last, and how long that took.
	Complete time.Time     `json:"complete,omitzero"`
	Took     time.Duration `json:"took,omitempty"`
}

const (
	// Reading all customers again is due after an hour, or what it took times nine if that is more, but never more than a day.
	leastRest, mostRest = time.Hour, 24 * time.Hour
	// What takes long gives way to a pass after that long, or four times what a pass takes if that is more.
	slice = 5 * time.Minute
)

// pull is one Pull on its way.
type pull struct {
	*Source
	state state
	queue *queue
	// What was handed over: the state, and how many rows.
	handed json.RawMessage
	rows   int64
	left   map[string]int64 // that each listing still has
	begun  bool             // all that is left is known
	todo   []row            // calls of the window whose details are to be asked for: their ids and times
	noted  map[string]print // what they looked like
	// How many details are still to be asked for: in the window, and before it.
	recent, older int64
}

func (p *pull) restore(known json.RawMessage) error {
	if len(known) == 0 {
		known = encode(kept{Read: p.encode()})
	}
	var k kept
	err := json.Unmarshal(known, &k)
	if err == nil {
		err = json.Unmarshal(k.Read, &p.state) // without Read it is none
	}
	if err != nil {
		return fmt.Errorf("%w: the state of %s is not one: %w", warehouse.ErrInvalid, p.Name(), err)
	}
	if p.state.Lists == nil {
		p.state.Lists = map[string]*list{}
	}
	for _, dataset := range warehouse.Datasets {
		if p.state.Lists[dataset.Name] == nil {
			p.state.Lists[dataset.Name] = &list{}
		}
	}
	if k.Pace != nil {
		if wait := p.client.limiter.follow(*k.Pace); wait > 0 {
			p.Log.Info("the last pull has just made requests with this key", slog.Duration("wait", wait.Round(time.Second)))
		}
	}
	p.handed = p.encode()
	return nil
}

// run makes passes until nothing is left to do.
func (p *pull) run(ctx context.Context) error {
	window := true
	for {
		began := time.Now()
		resumed, filled, err := p.pass(ctx, window)
		if err != nil {
			return err
		}
		// More has come since, perhaps long since. The window can wait for the next pull, but for the calls of it whose details
		// are to be asked for and were listed before this one.
		if resumed || filled && time.Since(began) > time.Minute {
			window = resumed && p.Details
			continue
		}
		window = true
		deadline := time.Now().Add(max(slice, 4*time.Since(began)))
		if err := p.linger(ctx, deadline); !errors.Is(err, errSliceOver) {
			return err
		}
		p.todo, p.noted = nil, map[string]print{} // the next pass finds them again
	}
}

// pass reads the new rows of each dataset and, if asked for, the window. If an earlier pull left walks unfinished, it is resumed and
// reads those alone, and datasets of which nothing has been read. It is filled if a dataset was empty here before.
func (p *pull) pass(ctx context.Context, window bool) (resumed, filled bool, err error) {
	var fresh []*list
	for _, l := range p.state.Lists {
		resumed = resumed || l.Walk != nil
	}
	for _, l := range p.state.Lists {
		if l.Through.IsZero() {
			fresh = append(fresh, l)
		}
		if l.Walk != nil || resumed && !l.Through.IsZero() {
			continue
		}
		l.Walk = &walk{Began: time.Now().UTC(), From: l.Through, New: !window}
		if window && !l.Reread.IsZero() {
			l.Walk.From = l.Reread.Add(-p.Window)
		}
	}
	// The newest rows of each first, which also tells how many there are of all.
	for _, newest := range []bool{true, false} {
		for _, dataset := range warehouse.Datasets {
			for more := true; more && p.state.Lists[dataset.Name].Walk != nil; more = !newest {
				if err := p.advance(ctx, dataset); err != nil {
					return resumed, false, err
				}
			}
		}
		p.begun = true
	}
	for _, l := range fresh {
		filled = filled || !l.Through.IsZero()
	}
	return resumed, filled, nil
}

// advance makes one step of the walk of a pass.
func (p *pull) advance(ctx context.Context, dataset warehouse.Dataset) error {
	l := p.state.Lists[dataset.Name]
	w := l.Walk
	return w.step(ctx, p.client, dataset.Name, func(leg leg) error {
		if dataset.Name == warehouse.Calls.Name && p.Details {
			p.note(leg.rows, w.Top.Add(-p.Window))
			if p.state.Details == nil && leg.moved {
				p.older = max(p.older, leg.left+int64(len(leg.rows))-p.recent) // all that there are, as long as nothing better is known
			}
		}
		if leg.ended {
			l.Walk = nil
			if !w.Top.IsZero() {
				l.Through = w.Top
			}
			if !w.New || w.From.IsZero() {
				l.Reread = l.Through
			}
			if w.From.IsZero() && !w.Top.IsZero() {
				l.completed(w)
			}
		}
		return p.give(ctx, dataset, dataset.Name, leg)
	})
}

// completed notes that all rows have been read.
func (l *list) completed(w *walk) {
	l.Complete = time.Now().UTC()
	l.Took = max(0, l.Complete.Sub(w.Began))
}

// due says whether all rows are to be read again.
func (l *list) due() bool {
	if l.Through.IsZero() {
		return false // there are none
	}
	rested := time.Since(l.Complete)
	return l.Again != nil || rested < 0 || rested >= min(max(leastRest, 9*l.Took), mostRest)
}

// give hands the rows of a listing over, with the state behind them if a later pull may begin there.
func (p *pull) give(ctx context.Context, dataset warehouse.Dataset, listing string, leg leg) error {
	if leg.left >= 0 {
		p.left[listing] = leg.left
	}
	var state json.RawMessage
	if leg.moved {
		state = p.encode()
	}
	return p.hand(ctx, dataset, false, leg.rows, state)
}

func (p *pull) hand(ctx context.Context, dataset warehouse.Dataset, details bool, rows []row, read json.RawMessage) error {
	if len(rows) == 0 && (read == nil || bytes.Equal(read, p.handed)) {
		return nil
	}
	p.rows += int64(len(rows))
	var state json.RawMessage
	if read != nil {
		p.handed = read
		state = encode(kept{Read: read, Pace: p.client.limiter.pace()})
	}
	return p.queue.add(ctx, dataset, details, rows, state, p.progress())
}

func (p *pull) encode() json.RawMessage { return encode(p.state) }

func encode(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only a time of a year without four digits could do that, and newRow lets none in
	}
	return text
}

// progress is nil until all is known.
func (p *pull) progress() *Progress {
	if !p.begun {
		return nil
	}
	requests := p.recent + p.older
	total := p.rows + requests
	for _, left := range p.left {
		total += left
		requests += (left + pageRows - 2) / (pageRows - 1) // a row of each page is read twice
	}
	return &Progress{Rows: p.rows, Total: total, Left: p.client.limiter.duration(requests)}
}

var errSliceOver = errors.New("it is time for a pass")

// linger does what takes long, and gives up with errSliceOver at the deadline.
func (p *pull) linger(ctx context.Context, deadline time.Time) error {
	if p.Details {
		if err := p.recentDetails(ctx, deadline); err != nil {
			return err
		}
	}
	l := p.state.Lists[warehouse.Customers.Name]
	for l.due() {
		if time.Now().After(deadline) {
			return errSliceOver
		}
		if l.Again == nil {
			l.Again = &walk{Began: time.Now().UTC()}
		}
		w := l.Again
		err := w.step(ctx, p.client, warehouse.Customers.Name, func(leg leg) error {
			if leg.ended {
				l.Again = nil
				l.completed(w)
			}
			return p.give(ctx, warehouse.Customers, "customers again", leg)
		})
		if err != nil {
			return err
		}
	}
	if p.Details {
		return p.olderDetails(ctx, deadline)
	}
	return nil
}
