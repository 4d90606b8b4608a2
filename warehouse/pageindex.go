package warehouse

import (
	"context"
	"sort"
	"sync"
	"time"

	statements "github.com/voicory/warehouse/sql"
)

// hourCounts says how many rows of a filter each hour has, newest first. Its sum is the total; and the hours that a page
// lies in bound the rows that have to be sorted for it, so that page 40,000 costs no more than the first.
type pageIndex struct {
	filter  Filter
	counted bool // from rows; else hours are some of those of a wider filter, of which the bounds may part the first and the last
	hours   []hourCount
	// Rows of the filter in the first and the last of hours, which may be the same one.
	firstRows, lastRows int64
	total               int64
}

type hourCount struct{ hour, rows int64 } // hour: since 1970-01-01T00:00Z

func hourStart(hour int64) time.Time { return time.Unix(hour*3600, 0).UTC() }

// rows is how many rows of the filter the hour at i has.
func (c pageIndex) rows(i int) int64 {
	switch i {
	case 0:
		return c.firstRows
	case len(c.hours) - 1:
		return c.lastRows
	}
	return c.hours[i].rows
}

// narrow returns the filter with tighter bounds of created_at, which hold the page and the row after it, and how many
// rows within them come before the page.
func (c pageIndex) narrow(l Listing) (filter Filter, rest int64) {
	filter = l.Filter.bounded()
	first := 0
	if l.After == nil {
		for rest = l.Offset; first < len(c.hours)-1 && c.rows(first) <= rest; first++ {
			rest -= c.rows(first)
		}
	} else {
		filter = filter.between(minCreatedAt, l.After.CreatedAt.Add(time.Microsecond))
		for first < len(c.hours) && !hourStart(c.hours[first].hour).Before(filter.Before) {
			first++
		}
	}
	if first == len(c.hours) {
		return filter, rest
	}
	seen, needed := c.rows(first), rest+l.Limit+1
	if l.After != nil {
		needed += seen // all rows of that hour may come before the page
	}
	last := first
	for ; last < len(c.hours)-1 && seen < needed; seen += c.rows(last) {
		last++
	}
	return filter.between(hourStart(c.hours[last].hour), hourStart(c.hours[first].hour+1)), rest
}

// covers tells whether the filter, which differs by its bounds at most, has none that are wider.
func (c pageIndex) covers(filter Filter) bool {
	own, bounds := c.filter.bounded(), filter.bounded()
	return bounds == bounds.between(own.From, own.Before)
}

// within returns the counts of a filter that c covers. An hour within its bounds has as many rows as it had, so that only those that a
// bound parts are counted.
func (c pageIndex) cut(ctx context.Context, db querier, dataset Dataset, filter Filter) (part pageIndex, err error) {
	if filter == c.filter {
		return c, nil
	}
	old, bounds := c.filter.bounded(), filter.bounded()
	begin := sort.Search(len(c.hours), func(i int) bool { return hourStart(c.hours[i].hour).Before(bounds.Before) })
	end := sort.Search(len(c.hours), func(i int) bool { return !hourStart(c.hours[i].hour + 1).After(bounds.From) })
	part.filter = filter
	if begin >= end {
		return part, nil
	}
	part.hours = c.hours[begin:end]
	count := func(i int) (int64, error) {
		start, end := hourStart(c.hours[i].hour), hourStart(c.hours[i].hour+1)
		if bounds.between(start, end) == old.between(start, end) {
			return c.rows(i), nil
		}
		return countRows(ctx, db, dataset, bounds.between(start, end))
	}
	if part.firstRows, err = count(begin); err != nil {
		return part, err
	}
	if part.lastRows = part.firstRows; len(part.hours) > 1 {
		part.lastRows, err = count(end - 1)
	}
	for i := range part.hours {
		part.total += part.rows(i)
	}
	return part, err
}

// countRows counts the rows of the filter.
func countRows(ctx context.Context, db querier, dataset Dataset, filter Filter) (n int64, err error) {
	err = db.QueryRowContext(ctx, statements.Page("count", dataset.Name), filter.args(dataset)...).Scan(&n)
	return n, err
}

// countHours counts them by the hour.
func buildPageIndex(ctx context.Context, db querier, dataset Dataset, filter Filter) (counts pageIndex, err error) {
	counts.filter, counts.counted = filter, true
	rows, err := db.QueryContext(ctx, statements.Page("hours", dataset.Name), filter.args(dataset)...)
	if err != nil {
		return counts, err
	}
	defer rows.Close()
	for rows.Next() {
		var h hourCount
		if err := rows.Scan(&h.hour, &h.rows); err != nil {
			return counts, err
		}
		counts.hours = append(counts.hours, h)
		counts.total += h.rows
	}
	if n := len(counts.hours); n > 0 {
		counts.firstRows, counts.lastRows = counts.hours[0].rows, counts.hours[n-1].rows
	}
	return counts, rows.Err()
}

// countCache keeps the counts of the filters asked for last, for as long as the tenant's rows do not change.
type pageIndexCache struct {
	mu      sync.Mutex
	version int64 // of the rows that the counts are of: see tenantStore
	size    int   // of all of counts, in hours
	indexes map[pageIndexKey]pageIndex
	widest  map[pageIndexKey]pageIndex // by the filter without its bounds: those that were counted last
}

type pageIndexKey struct {
	dataset string
	filter  Filter
}

const (
	// maxKeptHours bounds the cache, to some 800 KB.
	maxCachedHours = 50_000
	// entryHours is what counts take beside their hours, or without any of their own.
	entryOverhead = 32
)

// kept returns counts that cover the filter: its own, where they are known.
func (c *pageIndexCache) get(version int64, dataset Dataset, filter Filter) (counts pageIndex, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version != version {
		return counts, false
	}
	if counts, ok = c.indexes[pageIndexKey{dataset.Name, filter}]; !ok {
		counts, ok = c.widest[pageIndexKey{dataset.Name, filter.unbounded()}]
	}
	return counts, ok && counts.covers(filter)
}

func (c *pageIndexCache) put(version int64, dataset Dataset, counts pageIndex) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, size := pageIndexKey{dataset.Name, counts.filter}, entryOverhead
	if counts.counted {
		size += len(counts.hours)
	}
	if c.indexes == nil || version != c.version || c.size+size > maxCachedHours {
		c.version, c.size, c.indexes, c.widest = version, 0, map[pageIndexKey]pageIndex{}, map[pageIndexKey]pageIndex{}
	}
	if _, known := c.indexes[key]; known {
		return
	}
	c.indexes[key] = counts
	c.size += size
	if counts.counted {
		c.widest[pageIndexKey{dataset.Name, counts.filter.unbounded()}] = counts
	}
}
