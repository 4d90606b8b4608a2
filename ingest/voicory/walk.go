package voicory

import (
	"context"
	"fmt"
	"time"
)

// walk is how far a listing has been read, from its newest row down. Times are to the millisecond, in UTC.
type walk struct {
	From  time.Time `json:"from,omitzero"`  // rows created before are not asked for; zero: all are
	To    time.Time `json:"to,omitzero"`    // rows created later have been read; zero: none has
	Knot  *knot     `json:"knot,omitempty"` // the rows created at To do not fit on a page
	Top   time.Time `json:"top,omitzero"`   // where the walk began: the newest row, or the upstream's clock if that was earlier
	Began time.Time `json:"began"`          // by our own clock
	New   bool      `json:"new,omitempty"`  // the window is left out
}

// leg is what a walk gives at a time.
type leg struct {
	rows  []row
	moved bool  // the walk has moved past these rows: a later one may begin there
	ended bool  // these are the last rows
	left  int64 // rows behind these; -1: unknown
}

// step reads the next page and moves the walk, then gives the page to visit; of a knot without order, all of its pages. The rows are
// past once visit has returned nil for a leg that moved.
func (w *walk) step(ctx context.Context, c *client, dataset string, visit func(leg) error) error {
	if w.Knot != nil {
		return w.slide(ctx, c, dataset, visit)
	}
	p, err := c.list(ctx, dataset, w.From, w.To, 1, pageRows)
	if err != nil {
		return err
	}
	if w.Top.IsZero() {
		if w.Top = p.newest(); w.Top.After(p.now) {
			w.Top = p.now
		}
	}
	leg, moved, err := w.past(p, 0)
	switch {
	case err != nil:
		return err
	case moved:
		return visit(leg)
	}
	if knot, ordered := newKnot(p.rows); ordered {
		w.Knot, leg.moved = knot, true
		return visit(leg)
	}
	return w.count(ctx, c, dataset, visit)
}

// past moves the walk below a page that is offset rows from the newest one below w.To, unless its rows are all as old as that.
func (w *walk) past(p page, offset int64) (l leg, moved bool, err error) {
	end := offset + int64(len(p.rows))
	l = leg{rows: p.rows, left: max(0, p.total-end)}
	if l.left == 0 && !p.more {
		l.moved, l.ended = true, true
		return l, true, nil
	}
	oldest := p.oldest()
	if oldest.IsZero() {
		return l, false, fmt.Errorf("%w: a page full of rows without created_at leads nowhere", ErrUpstream)
	}
	if to := oldest.Add(tick); w.To.IsZero() || to.Before(w.To) {
		w.To, w.Knot, l.moved = to, nil, true
	}
	return l, l.moved, nil
}
