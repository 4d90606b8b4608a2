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
	pageRows       = 100                        // maximum number of rows that the API returns per page
	timeResolution = time.Millisecond           // resolution of times in responses
	boundLayout    = "2006-01-02T15:04:05.000Z" // layout of from and to in requests
)

// A row is one row of a response.
type row struct {
	raw       string // JSON on one line
	id        string
	createdAt time.Time // in UTC, resolution 1 ms; zero if missing or out of range
}

// A page is one page of a listing.
type page struct {
	rows  []row
	total int64     // number of rows within the bounds, as the API counts them
	more  bool      // more pages follow, according to the API
	now   time.Time // time of the response by the API's clock
}

// newest returns the latest created_at of the rows, or zero if no row has one.
func (p page) newest() (at time.Time) {
	for _, row := range p.rows {
		if row.createdAt.After(at) {
			at = row.createdAt
		}
	}
	return at
}

// oldest returns the created_at of the last row that has one, or zero.
func (p page) oldest() time.Time {
	for i := len(p.rows) - 1; i >= 0; i-- {
		if at := p.rows[i].createdAt; !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// A rowReader reads rows as NDJSON. It does not change their values.
type rowReader struct {
	rows   []row
	offset int // bytes of the first row that have been read
}

func (l *rowReader) Read(into []byte) (int, error) {
	n := 0
	for n < len(into) {
		if len(l.rows) == 0 {
			if n == 0 {
				return 0, io.EOF
			}
			break
		}
		if text := l.rows[0].raw; l.offset < len(text) {
			copied := copy(into[n:], text[l.offset:])
			n, l.offset = n+copied, l.offset+copied
			continue
		}
		into[n] = '\n'
		n, l.offset, l.rows = n+1, 0, l.rows[1:]
	}
	return n, nil
}

// listAddress returns the path and query of one page of the rows created between from and to, both inclusive. A zero
// time stands for no bound.
func listAddress(dataset string, from, to time.Time, number, limit int) string {
	query := url.Values{"limit": {strconv.Itoa(limit)}, "page": {strconv.Itoa(number)}}
	if !from.IsZero() {
		query.Set("from", from.UTC().Format(boundLayout))
	}
	if !to.IsZero() {
		query.Set("to", to.UTC().Format(boundLayout))
	}
	return "/" + dataset + "?" + query.Encode()
}

// listPage reads one page of the rows created between from and to. It returns ErrUpstream and ErrInvalid as get does.
func (c *client) listPage(ctx context.Context, dataset string, from, to time.Time, number, limit int) (page, error) {
	p, err := get(ctx, c, listAddress(dataset, from, to, number, limit), func(a apiResponse) (page, error) {
		body, err := a.json()
		if err != nil {
			return page{}, err
		}
		p, err := parsePage(body, to)
		if err == nil && len(p.rows) == 0 && number == 1 && p.total > 0 {
			err = errors.New("the response counts rows but has none")
		}
		p.now = a.date
		return p, err
	})
	if errors.Is(err, errNotFound) {
		err = c.wrongBase("404 NOT_FOUND")
	}
	return p, err
}

// parsePage parses a page. body must be valid JSON, and to is the requested upper bound, or zero. It returns an error
// if the response is not a page, or if its rows are not sorted or exceed the bound.
func parsePage(body gjson.Result, to time.Time) (page, error) {
	p, last := page{total: -1}, to
	if !to.IsZero() {
		last = to.Add(timeResolution)
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
				if at := r.createdAt; !at.IsZero() {
					if !last.IsZero() && at.After(last) {
						err = errors.New("the rows are not sorted by created_at, newest first, within the requested bounds")
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
		err = errors.New("the response is not a page of rows")
	}
	return p, err
}

// detail reads one call with the fields that are missing in lists. It returns errNotFound if the call was deleted.
func (c *client) detail(ctx context.Context, id string) (row, error) {
	return get(ctx, c, "/calls/"+url.PathEscape(id), func(a apiResponse) (row, error) {
		body, err := a.json()
		if err != nil {
			return row{}, err
		}
		r, err := newRow(body.Get("data"))
		if err == nil && r.id != id {
			err = errors.New("the response is a different row")
		}
		return r, err
	})
}

// newRow returns a row of a response. value must be valid JSON on one line.
func newRow(value gjson.Result) (row, error) {
	if !value.IsObject() {
		return row{}, errors.New("the response has a value that is not an object in place of a row")
	}
	r := row{raw: value.Raw}
	value.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			r.id = value.String()
		case "created_at":
			r.createdAt, _ = parseTime(value.Str)
		}
		return r.id == "" || r.createdAt.IsZero()
	})
	return r, nil
}

// parseTime parses an RFC 3339 time and truncates it to the millisecond. It returns false if the text is invalid or the
// year is not between 1000 and 9998.
func parseTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1000 || at.Year() >= 9999 {
		return time.Time{}, false
	}
	return at.UTC().Truncate(timeResolution), true
}
