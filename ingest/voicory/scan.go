package voicory

import (
	"context"
	"fmt"
	"time"
)

// A scan is the progress of reading a listing from its newest row down. Times are in UTC, with a resolution of a
// millisecond. It is part of the stored state; the names in JSON must not change.
type scan struct {
	From  time.Time `json:"from,omitzero"`  // lower bound of created_at, inclusive; zero: no bound
	To    time.Time `json:"to,omitzero"`    // all rows created later have been read; zero: no row has
	Tie   *timeTie  `json:"knot,omitempty"` // set while the rows created at To do not fit on a page
	Top   time.Time `json:"top,omitzero"`   // created_at of the newest row, or the API's clock if that was earlier
	Began time.Time `json:"began"`          // by the local clock
	New   bool      `json:"new,omitempty"`  // the scan does not cover the window
}

// A scanPage holds rows that one step of a scan read.
type scanPage struct {
	rows      []row
	resumable bool  // the scan has advanced past these rows, so that its state may be stored with them
	last      bool  // no rows follow
	remaining int64 // number of rows that follow; -1: unknown
}

// nextPage reads the next page, advances the scan and calls visit with the page. For a tie without order it calls visit
// with every page of the tie. The caller may store the scan with a page if resumable is set and visit returned nil.
func (s *scan) nextPage(ctx context.Context, c *client, dataset string, visit func(scanPage) error) error {
	if s.Tie != nil {
		return s.readOrderedTie(ctx, c, dataset, visit)
	}
	p, err := c.listPage(ctx, dataset, s.From, s.To, 1, pageRows)
	if err != nil {
		return err
	}
	if s.Top.IsZero() {
		if s.Top = p.newest(); s.Top.After(p.now) {
			s.Top = p.now
		}
	}
	read, advanced, err := s.advance(p, 0)
	switch {
	case err != nil:
		return err
	case advanced:
		return visit(read)
	}
	if tie, ordered := newTimeTie(p.rows); ordered {
		s.Tie, read.resumable = tie, true
		return visit(read)
	}
	return s.readUnorderedTie(ctx, c, dataset, visit)
}

// advance moves the scan past page p, which begins offset rows after the newest row in the bounds. It returns advanced
// = false if all rows of the page are as old as the bound, so that the next request would return the same page.
func (s *scan) advance(p page, offset int64) (read scanPage, advanced bool, err error) {
	end := offset + int64(len(p.rows))
	read = scanPage{rows: p.rows, remaining: max(0, p.total-end)}
	if read.remaining == 0 && !p.more {
		read.resumable, read.last = true, true
		return read, true, nil
	}
	oldest := p.oldest()
	if oldest.IsZero() {
		return read, false, fmt.Errorf("%w: the rows of a full page have no created_at, so the next page is unknown",
			ErrUpstream)
	}
	if to := oldest.Add(timeResolution); s.To.IsZero() || to.Before(s.To) {
		s.To, s.Tie, read.resumable = to, nil, true
	}
	return read, read.resumable, nil
}
