package voicory

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// knot is how far the rows of a millisecond have been read that do not fit on a page, where the API keeps them in the order of their
// ids.
type knot struct {
	Offset int64     `json:"offset"` // rows from the newest one below the bound, roughly: they come and go
	At     time.Time `json:"at"`     // of the last row that was read
	ID     string    `json:"id"`
	Falls  bool      `json:"falls,omitempty"` // the ids do
}

// newKnot is one behind the rows, if they are in order.
func newKnot(rows []row) (*knot, bool) {
	for _, falls := range []bool{false, true} {
		last := rows[len(rows)-1]
		if k := (&knot{Offset: int64(len(rows)), At: last.created, ID: last.id, Falls: falls}); k.sorts(rows) {
			return k, true
		}
	}
	return nil, false
}

// order is the order of two rows in the listing.
func (k *knot) order(a, b row) int {
	ids := cmp.Compare(a.id, b.id)
	if k.Falls {
		ids = -ids
	}
	return cmp.Or(b.created.Compare(a.created), ids)
}

func (k *knot) sorts(rows []row) bool {
	for i := range len(rows) - 1 {
		if k.order(rows[i], rows[i+1]) >= 0 {
			return false
		}
	}
	return true
}

// slide reads a page that begins with rows that have been read, so that nothing can be missing between; its size is chosen so that few
// are read twice.
func (w *walk) slide(ctx context.Context, c *client, dataset string, visit func(leg) error) error {
	k := *w.Knot
	last := row{created: k.At, id: k.ID}
	for back := int64(1); ; back *= 8 {
		number, limit := pageAt(max(0, k.Offset-back))
		offset := (number - 1) * limit
		p, err := c.list(ctx, dataset, w.From, w.To, int(number), int(limit))
		if err != nil {
			return err
		}
		if offset > 0 && (len(p.rows) == 0 || k.order(p.rows[0], last) > 0) {
			continue // rows above were deleted: it begins behind the last one
		}
		if !k.sorts(p.rows) {
			w.Knot = nil
			return w.count(ctx, c, dataset, visit)
		}
		leg, moved, err := w.past(p, offset)
		if err != nil {
			return err
		}
		if !moved {
			if end := p.rows[len(p.rows)-1]; k.order(end, last) > 0 {
				last = end
			}
			w.Knot, leg.moved = &knot{Offset: offset + int64(len(p.rows)), At: last.created, ID: last.id, Falls: k.Falls}, true
		}
		return visit(leg)
	}
}

// pageAt is the page, with its size, that begins at the offset or before and reaches farthest.
func pageAt(offset int64) (number, limit int64) {
	for size := int64(pageRows); size > pageRows/2; size-- {
		if n := offset/size + 1; n*size > number*limit {
			number, limit = n, size
		}
	}
	return number, limit
}

// maxRounds bounds how often a knot without order is read.
const maxRounds = 100

// count reads the rows of a knot that are in no order until as many are known as the API counts, before and after, and then the page
// that the last of them shares with older rows.
func (w *walk) count(ctx context.Context, c *client, dataset string, visit func(leg) error) error {
	from := w.To.Add(-tick)
	if from.Before(w.From) {
		from = w.From
	}
	seen, known := map[string]bool{}, int64(-1) // ids, of as many rows
	for range maxRounds {
		total, steady, err := readAll(ctx, c, dataset, from, w.To, seen, visit)
		if err != nil {
			return err
		}
		if !steady || known >= 0 && total != known {
			clear(seen) // it may hold rows that are no more, which would count for some that were missed
			known = -1
			continue
		}
		known = total
		if int64(len(seen)) < total {
			continue
		}
		number, limit := pageAt(max(0, total-1))
		offset := (number - 1) * limit
		p, err := c.list(ctx, dataset, w.From, w.To, int(number), int(limit))
		if err != nil {
			return err
		}
		if offset > 0 && (len(p.rows) == 0 || p.rows[0].created.Before(from)) {
			continue // rows were deleted just now
		}
		leg, moved, err := w.past(p, offset)
		if err != nil {
			return err
		}
		if moved {
			return visit(leg)
		}
	}
	return fmt.Errorf("%w: %s created at %s, in no order, were not the same for as long as reading them takes, %d times",
		ErrUpstream, dataset, w.To.Format(boundForm), maxRounds)
}

// readAll reads a listing page by page and notes the ids. It is steady if the API counted as many rows, total, from the first page
// to the last.
func readAll(ctx context.Context, c *client, dataset string, from, to time.Time, ids map[string]bool, visit func(leg) error) (total int64, steady bool, err error) {
	read := int64(0)
	for number := 1; ; number++ {
		p, err := c.list(ctx, dataset, from, to, number, pageRows)
		if err != nil {
			return total, false, err
		}
		if number > 1 && p.total != total {
			return total, false, nil
		}
		total = p.total
		for _, row := range p.rows {
			ids[cmp.Or(row.id, row.raw)] = true
		}
		if err := visit(leg{rows: p.rows, left: -1}); err != nil {
			return total, false, err
		}
		if read += int64(len(p.rows)); len(p.rows) == 0 || read >= total {
			return total, true, nil
		}
	}
}
