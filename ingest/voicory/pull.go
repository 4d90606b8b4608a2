package voicory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A sourceState is the state that the warehouse stores for the source: JSON of some hundred bytes that does not grow.
// The names in JSON of this and the following types must not change.
type sourceState struct {
	Read json.RawMessage `json:"read"` // a readState
	Pace *paceState      `json:"pace,omitempty"`
	// Key is a digest of the API key, and Sample the path of a row that the key could read. If the API key was replaced,
	// they show whether the new key belongs to the same account, so that the rest of the state applies.
	Key    string `json:"key,omitempty"`
	Sample string `json:"sample,omitempty"`
}

// A readState records which rows have been read.
type readState struct {
	Lists   map[string]*listState `json:"lists"`
	Details *detailHistory        `json:"details,omitempty"`
}

// A listState is the progress of reading one dataset.
type listState struct {
	Through time.Time `json:"through,omitzero"` // all rows created up to this time have been read
	Reread  time.Time `json:"reread,omitzero"`  // Through of the last pass that covered the window
	Scan    *scan     `json:"walk,omitempty"`   // unfinished scan of a pass
	Rescan  *scan     `json:"again,omitempty"`  // unfinished scan of all rows

	CompleteAt   time.Time     `json:"complete,omitzero"` // time at which the last scan of all rows ended
	CompleteTook time.Duration `json:"took,omitempty"`    // duration of that scan
}

const (
	// All customers are read again after nine times the duration of the last such scan, within these bounds.
	minRescanInterval, maxRescanInterval = time.Hour, 24 * time.Hour
	// Background work is interrupted by a pass after this time, or after four times the duration of a pass if that is
	// more.
	minBackgroundTime = 5 * time.Minute
)

// A pull is the state of one call of Source.Pull. It belongs to the goroutine that calls run.
type pull struct {
	*Source
	state readState
	queue *batchQueue

	otherKey            bool                   // the state was stored by a pull with another API key
	sample              string                 // path of a row of the account; "": none
	lastState           json.RawMessage        // encoded state that was queued last
	rows                int64                  // number of rows queued
	remaining           map[string]int64       // number of rows that follow, by listing
	counted             bool                   // remaining has an entry for each dataset
	pendingDetails      []row                  // calls of the window whose details are to be fetched; ids and times only
	pendingFingerprints map[string]fingerprint // fingerprints of pendingDetails, by id
	recentDetails       int64                  // number of details to be fetched of calls in the window
	olderDetails        int64                  // number of details to be fetched of older calls
}

// restore loads the stored state. It returns ErrInvalid if the state cannot be parsed.
func (p *pull) restore(known json.RawMessage) error {
	if len(known) == 0 {
		known = encode(sourceState{Read: p.encode()})
	}
	var stored sourceState
	err := json.Unmarshal(known, &stored)
	if err == nil {
		err = json.Unmarshal(stored.Read, &p.state) // fails if Read is missing
	}
	if err != nil {
		return fmt.Errorf("%w: parse the state of %s: %w", warehouse.ErrInvalid, p.Name(), err)
	}
	p.otherKey, p.sample = stored.Key != "" && stored.Key != p.client.keyDigest(), stored.Sample
	p.fillLists()
	if stored.Pace != nil {
		if wait := p.client.limiter.resume(*stored.Pace); wait > 0 {
			p.Log.Info("wait, because the last pull made requests with this key just before",
				slog.Duration("wait", wait.Round(time.Second)))
		}
	}
	p.lastState = p.encode()
	return nil
}

// fillLists adds the datasets that the state lacks.
func (p *pull) fillLists() {
	if p.state.Lists == nil {
		p.state.Lists = map[string]*listState{}
	}
	for _, dataset := range schema.Datasets {
		if p.state.Lists[dataset.Name] == nil {
			p.state.Lists[dataset.Name] = &listState{}
		}
	}
}

// checkAccount reads all rows again if the API key belongs to another account than the state. It asks for a row that
// the former key could read: the API shows a row to its own account only. If that row was deleted, rows are read twice.
func (p *pull) checkAccount(ctx context.Context) error {
	if !p.otherKey {
		return nil
	}
	err := errNotFound
	if p.sample != "" {
		_, err = get(ctx, p.client, "/"+p.sample, func(a apiResponse) (json.RawMessage, error) {
			_, err := a.json()
			return nil, err
		})
	}
	if errors.Is(err, errNotFound) {
		p.Log.Warn("the API key may belong to another account than before; all rows are read")
		p.state, p.sample = readState{}, ""
		p.fillLists()
		return nil
	}
	return err
}

// run makes passes and does background work until everything has been read.
func (p *pull) run(ctx context.Context) error {
	if err := p.checkAccount(ctx); err != nil {
		return err
	}
	window := true
	for {
		began := time.Now()
		resumed, filled, err := p.runPass(ctx, window)
		if err != nil {
			return err
		}
		// A resumed or long pass may have missed rows created since it began, so another pass follows. It leaves out the
		// window, unless it has to list calls again because the earlier pull listed them and did not fetch their details.
		if resumed || filled && time.Since(began) > time.Minute {
			window = resumed && p.Details
			continue
		}
		window = true
		deadline := time.Now().Add(max(minBackgroundTime, 4*time.Since(began)))
		if err := p.runBackground(ctx, deadline); !errors.Is(err, errPassDue) {
			return err
		}
		p.pendingDetails, p.pendingFingerprints = nil, map[string]fingerprint{} // the next pass finds them again
	}
}

// runPass reads the new rows of each dataset and, if window is set, the rows of the window again. If an earlier pull
// left unfinished scans, it finishes those, reads datasets that were never read, and returns resumed = true. It returns
// filled = true if it read the first rows of a dataset.
func (p *pull) runPass(ctx context.Context, window bool) (resumed, filled bool, err error) {
	var fresh []*listState
	for _, l := range p.state.Lists {
		resumed = resumed || l.Scan != nil
	}
	for _, l := range p.state.Lists {
		if l.Through.IsZero() {
			fresh = append(fresh, l)
		}
		if l.Scan != nil || resumed && !l.Through.IsZero() {
			continue
		}
		l.Scan = &scan{Began: time.Now().UTC(), From: l.Through, New: !window}
		if window && !l.Reread.IsZero() {
			l.Scan.From = l.Reread.Add(-p.Window)
		}
	}
	// The first page of each dataset comes first, because it also contains the number of rows.
	for _, newest := range []bool{true, false} {
		for _, dataset := range schema.Datasets {
			for more := true; more && p.state.Lists[dataset.Name].Scan != nil; more = !newest {
				if err := p.readPage(ctx, dataset); err != nil {
					return resumed, false, err
				}
			}
		}
		p.counted = true
	}
	for _, l := range fresh {
		filled = filled || !l.Through.IsZero()
	}
	return resumed, filled, nil
}

// readPage reads the next page of a dataset's scan and queues it.
func (p *pull) readPage(ctx context.Context, dataset schema.Dataset) error {
	l := p.state.Lists[dataset.Name]
	current := l.Scan
	return current.nextPage(ctx, p.client, dataset.Name, func(read scanPage) error {
		if dataset.Name == schema.Calls.Name && p.Details {
			p.noteCalls(read.rows, current.Top.Add(-p.Window))
			if p.state.Details == nil && read.resumable {
				// The estimate is all calls, until the first scan of older details provides a better one.
				p.olderDetails = max(p.olderDetails, read.remaining+int64(len(read.rows))-p.recentDetails)
			}
		}
		if read.last {
			l.Scan = nil
			if !current.Top.IsZero() {
				l.Through = current.Top
			}
			if !current.New || current.From.IsZero() {
				l.Reread = l.Through
			}
			if current.From.IsZero() && !current.Top.IsZero() {
				l.setComplete(current)
			}
		}
		return p.addPage(ctx, dataset, dataset.Name, read)
	})
}

// setComplete records that the scan has read all rows.
func (l *listState) setComplete(done *scan) {
	l.CompleteAt = time.Now().UTC()
	l.CompleteTook = max(0, l.CompleteAt.Sub(done.Began))
}

// rescanDue reports whether all rows are to be read again.
func (l *listState) rescanDue() bool {
	if l.Through.IsZero() {
		return false // the dataset has no rows
	}
	rested := time.Since(l.CompleteAt)
	return l.Rescan != nil || rested < 0 || rested >= min(max(minRescanInterval, 9*l.CompleteTook), maxRescanInterval)
}

// addPage queues the rows of a page, with the state if a later pull can resume after them.
func (p *pull) addPage(ctx context.Context, dataset schema.Dataset, listing string, read scanPage) error {
	if read.remaining >= 0 {
		p.remaining[listing] = read.remaining
	}
	var state json.RawMessage
	if read.resumable {
		state = p.encode()
	}
	return p.addRows(ctx, dataset, false, read.rows, state)
}

// addRows queues rows and the state to store with them; a nil state leaves the stored state unchanged. It does nothing
// if there are no rows and the state has not changed.
func (p *pull) addRows(
	ctx context.Context, dataset schema.Dataset, details bool, rows []row, state json.RawMessage,
) error {
	if len(rows) == 0 && (state == nil || bytes.Equal(state, p.lastState)) {
		return nil
	}
	p.rows += int64(len(rows))
	if len(rows) > 0 && (p.sample == "" || dataset.Name != schema.Customers.Name) { // customers are deleted more often
		p.sample = dataset.Name + "/" + url.PathEscape(rows[0].id)
	}
	var record json.RawMessage
	if state != nil {
		p.lastState = state
		record = encode(sourceState{Read: state, Pace: p.client.limiter.snapshot(), Key: p.client.keyDigest(),
			Sample: p.sample})
	}
	return p.queue.add(ctx, dataset, details, rows, record, p.progress())
}

func (p *pull) encode() json.RawMessage { return encode(p.state) }

// encode returns v as JSON. It panics if v cannot be encoded.
func encode(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only a year without four digits could cause that, and parseTime rejects such times
	}
	return text
}

// progress returns the progress of the pull, or nil until the number of rows of each dataset is known.
func (p *pull) progress() *Progress {
	if !p.counted {
		return nil
	}
	requests := p.recentDetails + p.olderDetails
	total := p.rows + requests
	for _, left := range p.remaining {
		total += left
		requests += (left + pageRows - 2) / (pageRows - 1) // one row of each page is read twice
	}
	return &Progress{Rows: p.rows, Total: total, Left: p.client.limiter.duration(requests)}
}

// errPassDue is returned by background work at its deadline. It is not shown to users.
var errPassDue = errors.New("pass due")

// runBackground fetches details and reads all customers again if that is due. It returns errPassDue at the deadline.
func (p *pull) runBackground(ctx context.Context, deadline time.Time) error {
	if p.Details {
		if err := p.fetchRecentDetails(ctx, deadline); err != nil {
			return err
		}
	}
	l := p.state.Lists[schema.Customers.Name]
	for l.rescanDue() {
		if time.Now().After(deadline) {
			return errPassDue
		}
		if l.Rescan == nil {
			l.Rescan = &scan{Began: time.Now().UTC()}
		}
		current := l.Rescan
		err := current.nextPage(ctx, p.client, schema.Customers.Name, func(read scanPage) error {
			if read.last {
				l.Rescan = nil
				l.setComplete(current)
			}
			return p.addPage(ctx, schema.Customers, "customers again", read)
		})
		if err != nil {
			return err
		}
	}
	if p.Details {
		return p.fetchOlderDetails(ctx, deadline)
	}
	return nil
}
