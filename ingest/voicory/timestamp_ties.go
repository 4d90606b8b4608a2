package voicory

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// A timeTie is the progress of reading a tie: rows of one millisecond that do not fit on a page. The API sorts these
// rows by id.
type timeTie struct {
	Offset     int64     `json:"offset"`          // rows read below the bound; approximate, because rows come and go
	At         time.Time `json:"at"`              // created_at of the last row read
	ID         string    `json:"id"`              // id of the last row read
	Descending bool      `json:"falls,omitempty"` // ids are sorted in descending order
}

// newTimeTie returns a tie that continues after rows. It returns false if rows are not sorted by id.
func newTimeTie(rows []row) (*timeTie, bool) {
	for _, descending := range []bool{false, true} {
		last := rows[len(rows)-1]
		t := &timeTie{Offset: int64(len(rows)), At: last.createdAt, ID: last.id, Descending: descending}
		if t.isSorted(rows) {
			return t, true
		}
	}
	return nil, false
}

// order compares two rows by their position in the listing.
func (t *timeTie) order(a, b row) int {
	ids := cmp.Compare(a.id, b.id)
	if t.Descending {
		ids = -ids
	}
	return cmp.Or(b.createdAt.Compare(a.createdAt), ids)
}

// isSorted reports whether rows are in strictly ascending order.
func (t *timeTie) isSorted(rows []row) bool {
	for i := range len(rows) - 1 {
		if t.order(rows[i], rows[i+1]) >= 0 {
			return false
		}
	}
	return true
}

// readOrderedTie reads a page of a sorted tie. The page begins with a row that was read before, so that no row between
// two pages can be missed. The page size is chosen to read few rows twice.
func (s *scan) readOrderedTie(ctx context.Context, c *client, dataset string, visit func(scanPage) error) error {
	tie := *s.Tie
	last := row{createdAt: tie.At, id: tie.ID}
	for overlap := int64(1); ; overlap *= 8 {
		number, limit := pageAt(max(0, tie.Offset-overlap))
		offset := (number - 1) * limit
		p, err := c.listPage(ctx, dataset, s.From, s.To, int(number), int(limit))
		if err != nil {
			return err
		}
		if offset > 0 && (len(p.rows) == 0 || tie.order(p.rows[0], last) > 0) {
			continue // rows above were deleted, and the page begins after the last row read
		}
		if !tie.isSorted(p.rows) {
			s.Tie = nil
			return s.readUnorderedTie(ctx, c, dataset, visit)
		}
		read, advanced, err := s.advance(p, offset)
		if err != nil {
			return err
		}
		if !advanced {
			if end := p.rows[len(p.rows)-1]; tie.order(end, last) > 0 {
				last = end
			}
			s.Tie, read.resumable = &timeTie{
				Offset: offset + int64(len(p.rows)), At: last.createdAt, ID: last.id, Descending: tie.Descending,
			}, true
		}
		return visit(read)
	}
}

// pageAt returns the number and size of the page that begins at or before offset and ends farthest after it.
func pageAt(offset int64) (number, limit int64) {
	for size := int64(pageRows); size > pageRows/2; size-- {
		if n := offset/size + 1; n*size > number*limit {
			number, limit = n, size
		}
	}
	return number, limit
}

// maxRounds is the maximum number of times that an unordered tie is read.
const maxRounds = 100

// readUnorderedTie reads the rows of a tie that are not sorted. It repeats this until the number of known ids equals
// the count of the API, both before and after one reading. Then it reads the page that holds the last of them and older
// rows. It returns ErrUpstream if the rows changed during each of maxRounds readings.
func (s *scan) readUnorderedTie(ctx context.Context, c *client, dataset string, visit func(scanPage) error) error {
	from := s.To.Add(-timeResolution)
	if from.Before(s.From) {
		from = s.From
	}
	ids := map[string]bool{} // ids of the rows read since the total last changed
	previous := int64(-1)    // total of the last reading; -1: unknown
	for range maxRounds {
		total, stable, err := readAll(ctx, c, dataset, from, s.To, ids, visit)
		if err != nil {
			return err
		}
		if !stable || previous >= 0 && total != previous {
			clear(ids) // ids of deleted rows would hide that other rows are missing
			previous = -1
			continue
		}
		previous = total
		if int64(len(ids)) < total {
			continue
		}
		number, limit := pageAt(max(0, total-1))
		offset := (number - 1) * limit
		p, err := c.listPage(ctx, dataset, s.From, s.To, int(number), int(limit))
		if err != nil {
			return err
		}
		if offset > 0 && (len(p.rows) == 0 || p.rows[0].createdAt.Before(from)) {
			continue // rows were deleted since the total was read
		}
		read, advanced, err := s.advance(p, offset)
		if err != nil {
			return err
		}
		if advanced {
			return visit(read)
		}
	}
	return fmt.Errorf("%w: read %s created at %s: the rows are not sorted and changed during each of %d attempts",
		ErrUpstream, dataset, s.To.Format(boundLayout), maxRounds)
}

// readAll reads a listing by page number and adds the ids of its rows to ids. It returns the number of rows that the
// API counts, and stable = true if that number was the same on every page.
func readAll(ctx context.Context, c *client, dataset string, from, to time.Time, ids map[string]bool,
	visit func(scanPage) error) (total int64, stable bool, err error) {
	read := int64(0)
	for number := 1; ; number++ {
		p, err := c.listPage(ctx, dataset, from, to, number, pageRows)
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
		if err := visit(scanPage{rows: p.rows, remaining: -1}); err != nil {
			return total, false, err
		}
		if read += int64(len(p.rows)); len(p.rows) == 0 || read >= total {
			return total, true, nil
		}
	}
}
