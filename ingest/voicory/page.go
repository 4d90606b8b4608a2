package voicory

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
)

const (
	pageRows = 100 // the most that the API gives
	// The API shows times to the millisecond.
	tick      = time.Millisecond
	boundForm = "2006-01-02T15:04:05.000Z"
)

// row is one row as it came.
type row struct {
	raw     string
	id      string
	created time.Time // to the millisecond, UTC; zero if the row says none, or an absurd one
}

// page is one page of a listing.
type page struct {
	rows  []row
	total int64     // rows within the bounds, as the API counts them
	more  bool      // the API says that there are more pages
	now   time.Time // the upstream's clock
}

// newest and oldest are of the rows that have a time; zero if there are none.
func (p page) newest() (at time.Time) {
	for _, row := range p.rows {
		if row.created.After(at) {
			at = row.created
		}
	}
	return at
}

func (p page) oldest() time.Time {
	for i := len(p.rows) - 1; i >= 0; i-- {
		if at := p.rows[i].created; !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// lines reads rows as NDJSON, their values as they came.
type lines struct {
	rows []row
	at   int // in the text of the first
}

func (l *lines) Read(into []byte) (int, error) {
	n := 0
	for n < len(into) {
		if len(l.rows) == 0 {
			if n == 0 {
				return 0, io.EOF
			}
			break
		}
		if text := l.rows[0].raw; l.at < len(text) {
			copied := copy(into[n:], text[l.at:])
			n, l.at = n+copied, l.at+copied
			continue
		}
		into[n] = '\n'
		n, l.at, l.rows = n+1, 0, l.rows[1:]
	}
	return n, nil
}

// listAddress is that of one page of the rows created from..to, both inclusive, zero meaning no bound.
func listAddress(dataset string, from, to time.Time, number, limit int) string {
	query := url.Values{"limit": {strconv.Itoa(limit)}, "page": {strconv.Itoa(number)}}
	if !from.IsZero() {
		query.Set("from", from.UTC().Format(boundForm))
	}
	if !to.IsZero() {
		query.Set("to", to.UTC().Format(boundForm))
	}
	return "/" + dataset + "?" + query.Encode()
}

// list reads such a page.
func (c *client) list(ctx context.Context, dataset string, from, to time.Time, number, limit int) (page, error) {
	p, err := get(ctx, c, listAddress(dataset, from, to, number, limit), func(a answer) (page, error) {
		body, err := a.json()
		if err != nil {
			return page{}, err
		}
		p, err := parsePage(body, to)
		if err == nil && len(p.rows) == 0 && number == 1 && p.total > 0 {
			err = errors.New("the answer counts rows and has none")
		}
		p.now = a.now
		return p, err
	})
	if errors.Is(err, errGone) {
		err = c.wrongBase("404 NOT_FOUND")
	}
	return p, err
}

// parsePage takes a page from valid JSON; to is the bound that was asked for, or zero.
func parsePage(body gjson.Result, to time.Time) (page, error) {
	p, last := page{total: -1}, to
	if !to.IsZero() {
		last = to.Add(tick)
	}
	listed, err := false, error(nil)
	body.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "meta":
			if total := value.Get("total"); total.Type == gjson.Number {
				p.total, p.more = total.Int(), value.Get("has_more").Bool()
			}
		case "data":
			listed = value.IsArray()
			p.rows = make([]row, 0, pageRows)
			value.ForEach(func(_, value gjson.Result) bool {
				var r row
				if r, err = newRow(value); err != nil {
					return false
				}
				if at := r.created; !at.IsZero() {
					if !last.IsZero() && at.After(last) {
						err = errors.New("the rows are not sorted by created_at, newest first, within the bounds asked for")
						return false
					}
					last = at
				}
				p.rows = append(p.rows, r)
				return true
			})
		}
		return err == nil
	})
	if err == nil && (!listed || p.total < 0) {
		err = errors.New("the answer is not a page of rows")
	}
	return p, err
}

// detail reads one call with the fields that no list has; errGone if it is not there any more.
func (c *client) detail(ctx context.Context, id string) (row, error) {
	return get(ctx, c, "/calls/"+url.PathEscape(id), func(a answer) (row, error) {
		body, err := a.json()
		if err != nil {
			return row{}, err
		}
		r, err := newRow(body.Get("data"))
		if err == nil && r.id != id {
			err = errors.New("the answer is another row")
		}
		return r, err
	})
}

// newRow takes a row from valid JSON on one line.
func newRow(value gjson.Result) (row, error) {
	if !value.IsObject() {
		return row{}, errors.New("the answer has something else where a row should be")
	}
	r := row{raw: value.Raw}
	value.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			r.id = value.String()
		case "created_at":
			r.created, _ = parseTime(value.Str)
		}
		return r.id == "" || r.created.IsZero()
	})
	return r, nil
}

// parseTime takes a time to the millisecond, if it is one of this era.
func parseTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1000 || at.Year() >= 9999 {
		return time.Time{}, false
	}
	return at.UTC().Truncate(tick), true
}
