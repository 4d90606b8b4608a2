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

	"github.com/voicory/warehouse/warehouse/schema"
)

// A detailHistory is the progress of reading the details of calls older than the window. It is part of the stored
// state.
type detailHistory struct {
	Through time.Time `json:"through,omitzero"` // details of all calls created up to this time have been read
	Scan    *scan     `json:"walk,omitempty"`   // unfinished scan of the calls created later
}

// A fingerprint identifies the content of a listed call at the time its details were read.
type fingerprint struct {
	hash    uint64
	created time.Time
}

var seed = maphash.MakeSeed()

// Details are queued in batches of at most this size and age. An interruption loses at most one batch.
const (
	detailBatchRows = 50
	detailBatchTime = 10 * time.Second
)

// noteCalls adds the rows created at or after since that are new or changed to the calls whose details are to be
// fetched.
func (p *pull) noteCalls(rows []row, since time.Time) {
	for _, r := range rows {
		hash := maphash.String(seed, r.raw)
		if r.createdAt.Before(since) ||
			p.fingerprints[r.id].hash == hash || p.pendingFingerprints[r.id].hash == hash {
			continue
		}
		id := strings.Clone(r.id) // do not keep the page in memory
		p.pendingFingerprints[id] = fingerprint{hash, r.createdAt}
		p.pendingDetails = append(p.pendingDetails, row{id: id, createdAt: r.createdAt})
	}
	p.recentDetails = int64(len(p.pendingDetails))
}

// fetchRecentDetails fetches the details of calls in the window, newest first. It returns errPassDue at the deadline.
func (p *pull) fetchRecentDetails(ctx context.Context, deadline time.Time) error {
	window := p.state.Lists[schema.Calls.Name].Through.Add(-p.Window)
	for id, known := range p.fingerprints {
		if known.created.Before(window) {
			delete(p.fingerprints, id)
		}
	}
	slices.SortStableFunc(p.pendingDetails, func(a, b row) int { return b.createdAt.Compare(a.createdAt) })
	for len(p.pendingDetails) > 0 {
		if time.Now().After(deadline) {
			return errPassDue
		}
		n := min(len(p.pendingDetails), detailBatchRows)
		err := p.fetchDetails(ctx, p.pendingDetails[:n], &p.recentDetails,
			func(row) bool { return false }, func(int) json.RawMessage { return p.encode() })
		if err != nil {
			return err
		}
		for _, row := range p.pendingDetails[:n] {
			p.fingerprints[row.id] = p.pendingFingerprints[row.id]
		}
		p.pendingDetails = p.pendingDetails[n:]
	}
	return nil
}

// fetchOlderDetails fetches the details of the calls that left the window since the last time. It returns errPassDue at
// the deadline.
func (p *pull) fetchOlderDetails(ctx context.Context, deadline time.Time) error {
	if p.state.Details == nil {
		p.state.Details = &detailHistory{}
	}
	history := p.state.Details
	previous := map[string]bool{} // ids of the last page; the next page begins with some of them
	for {
		if history.Scan == nil {
			newest := p.state.Lists[schema.Calls.Name].Through
			window := newest.Add(-p.Window)
			if newest.IsZero() || !window.After(history.Through) {
				p.olderDetails = 0
				return nil
			}
			history.Scan = &scan{From: history.Through, To: window, Top: window, Began: time.Now().UTC()}
		}
		if time.Now().After(deadline) {
			return errPassDue
		}
		current, before := history.Scan, history.Scan.To
		err := current.nextPage(ctx, p.client, schema.Calls.Name, func(read scanPage) error {
			if read.remaining >= 0 {
				p.olderDetails = read.remaining + int64(len(read.rows))
			}
			stateAfter := func(n int) json.RawMessage { return history.stateAfter(p, read, n, before) }
			err := p.fetchDetails(ctx, read.rows, &p.olderDetails,
				func(row row) bool { return previous[row.id] }, stateAfter)
			if read.resumable {
				clear(previous)
			}
			for _, row := range read.rows {
				previous[row.id] = true
			}
			if len(read.rows) == 0 && read.last {
				return p.addRows(ctx, schema.Calls, true, nil, stateAfter(0))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

// stateAfter returns the state to resume from after the first n rows of a page, or nil if a pull cannot resume there.
// before is the upper bound of the scan before it read the page.
func (h *detailHistory) stateAfter(p *pull, read scanPage, n int, before time.Time) json.RawMessage {
	current := h.Scan
	switch {
	case !read.resumable:
		return nil
	case n == len(read.rows) && read.last:
		h.Through, h.Scan = current.Top, nil
	case n < len(read.rows):
		partial := *current
		if partial.To = read.rows[n-1].createdAt.Add(timeResolution); !partial.To.Before(before) {
			return nil
		}
		h.Scan = &partial
		defer func() { h.Scan = current }()
	}
	return p.encode()
}

// fetchDetails fetches the details of rows, except those for which known returns true. It queues them in batches, each
// with the state that stateAfter returns for the rows up to there. It decrements remaining for each row. If a request
// fails, it queues the details fetched so far and returns the error.
func (p *pull) fetchDetails(ctx context.Context, rows []row, remaining *int64, known func(row) bool,
	stateAfter func(n int) json.RawMessage) error {
	var batch []row
	began := time.Now()
	for i, row := range rows {
		*remaining = max(0, *remaining-1)
		if row.id != "" && !known(row) {
			detail, err := p.client.detail(ctx, row.id)
			switch {
			case errors.Is(err, errNotFound): // the call was deleted after it was listed
			case err != nil:
				if len(batch) > 0 && ctx.Err() == nil {
					return cmp.Or(p.addRows(ctx, schema.Calls, true, batch, stateAfter(i)), err)
				}
				return err
			default:
				batch = append(batch, detail)
			}
		}
		if i == len(rows)-1 || len(batch) == detailBatchRows || time.Since(began) >= detailBatchTime {
			if err := p.addRows(ctx, schema.Calls, true, batch, stateAfter(i+1)); err != nil {
				return err
			}
			batch, began = nil, time.Now()
		}
	}
	return nil
}
