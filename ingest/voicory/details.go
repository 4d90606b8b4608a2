package voicory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// history is how far the details of the calls before the window are known.
type history struct {
	Through time.Time `json:"through,omitzero"` // those of all calls created until then
	Walk    *walk     `json:"walk,omitempty"`   // on its way, of those created since
}

// print tells a listed call from what it was when its details were read.
type print struct {
	hash    uint64
	created time.Time
}

var seed = maphash.MakeSeed()

// Details are handed over after that many, or after that long: an interruption repeats no more.
const (
	handfulRows = 50
	handfulTime = 10 * time.Second
)

// note remembers which of the listed calls are to be asked for: of those created since, the new and the changed.
func (p *pull) note(rows []row, since time.Time) {
	for _, r := range rows {
		hash := maphash.String(seed, r.raw)
		if r.created.Before(since) || p.prints[r.id].hash == hash || p.noted[r.id].hash == hash {
			continue
		}
		id := strings.Clone(r.id) // the page is not to be kept
		p.noted[id] = print{hash, r.created}
		p.todo = append(p.todo, row{id: id, created: r.created})
	}
	p.recent = int64(len(p.todo))
}

// recentDetails asks for those of the window.
func (p *pull) recentDetails(ctx context.Context, deadline time.Time) error {
	window := p.state.Lists[warehouse.Calls.Name].Through.Add(-p.Window)
	for id, print := range p.prints {
		if print.created.Before(window) {
			delete(p.prints, id)
		}
	}
	slices.SortStableFunc(p.todo, func(a, b row) int { return b.created.Compare(a.created) })
	for len(p.todo) > 0 {
		if time.Now().After(deadline) {
			return errSliceOver
		}
		n := min(len(p.todo), handfulRows)
		err := p.fetch(ctx, p.todo[:n], &p.recent, func(row) bool { return false }, func(int) json.RawMessage { return p.encode() })
		if err != nil {
			return err
		}
		for _, row := range p.todo[:n] {
			p.prints[row.id] = p.noted[row.id]
		}
		p.todo = p.todo[n:]
	}
	return nil
}

// olderDetails asks for those of the calls that have left the window since it was last done.
func (p *pull) olderDetails(ctx context.Context, deadline time.Time) error {
	if p.state.Details == nil {
		p.state.Details = &history{}
	}
	h := p.state.Details
	last := map[string]bool{} // asked for in the last step: the next begins with some of them
	for {
		if h.Walk == nil {
			newest := p.state.Lists[warehouse.Calls.Name].Through
			window := newest.Add(-p.Window)
			if newest.IsZero() || !window.After(h.Through) {
				p.older = 0
				return nil
			}
			h.Walk = &walk{From: h.Through, To: window, Top: window, Began: time.Now().UTC()}
		}
		if time.Now().After(deadline) {
			return errSliceOver
		}
		w, above := h.Walk, h.Walk.To
		err := w.step(ctx, p.client, warehouse.Calls.Name, func(leg leg) error {
			if leg.left >= 0 {
				p.older = leg.left + int64(len(leg.rows))
			}
			err := p.fetch(ctx, leg.rows, &p.older, func(row row) bool { return last[row.id] }, func(n int) json.RawMessage {
				return h.behind(p, leg, n, above)
			})
			if leg.moved {
				clear(last)
			}
			for _, row := range leg.rows {
				last[row.id] = true
			}
			if len(leg.rows) == 0 && leg.ended {
				return p.hand(ctx, warehouse.Calls, true, nil, h.behind(p, leg, 0, above))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

// behind is the state behind the first n rows of a leg, of which all are created no later than above; nil where none may begin.
func (h *history) behind(p *pull, leg leg, n int, above time.Time) json.RawMessage {
	w := h.Walk
	switch {
	case !leg.moved:
		return nil
	case n == len(leg.rows) && leg.ended:
		h.Through, h.Walk = w.Top, nil
	case n < len(leg.rows):
		part := *w
		if part.To = leg.rows[n-1].created.Add(tick); !part.To.Before(above) {
			return nil
		}
		h.Walk = &part
		defer func() { h.Walk = w }()
	}
	return p.encode()
}

// fetch asks for the details of rows, but for those that are known, and hands them over with the state behind them.
func (p *pull) fetch(ctx context.Context, rows []row, left *int64, known func(row) bool, behind func(n int) json.RawMessage) error {
	var handful []row
	began := time.Now()
	for i, row := range rows {
		*left = max(0, *left-1)
		if row.id != "" && !known(row) {
			detail, err := p.client.detail(ctx, row.id)
			switch {
			case errors.Is(err, errGone): // deleted since it was listed
			case err != nil:
				if len(handful) > 0 && ctx.Err() == nil {
					return cmp.Or(p.hand(ctx, warehouse.Calls, true, handful, behind(i)), err)
				}
				return err
			default:
				handful = append(handful, detail)
			}
		}
		if i == len(rows)-1 || len(handful) == handfulRows || time.Since(began) >= handfulTime {
			if err := p.hand(ctx, warehouse.Calls, true, handful, behind(i+1)); err != nil {
				return err
			}
			handful, began = nil, time.Now()
		}
	}
	return nil
}
