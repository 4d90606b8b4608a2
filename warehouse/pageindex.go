package warehouse

import (
	"context"
	"sort"
	"sync"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A pageIndex holds the number of rows of a filter per hour of created_at, newest hour first. Their sum is the total
// of a list. The hours that contain a page bound the rows that have to be sorted for it, so every page costs the
// same.
//
// An index is either built by a query, or cut from the index of a filter with wider bounds. A cut index shares the
// hours of the wider one, so the bounds of its filter may exclude some rows of the first and the last hour.
type pageIndex struct {
	filter  schema.Filter
	counted bool // true if built by a query, false if cut from another index
	hours   []hourCount
	// Rows of the filter in the first and in the last hour, which may be the same hour.
	firstRows, lastRows int64
	total               int64 // rows of the filter
}

// An hourCount is the number of rows of an hour. Hours are counted from 1970-01-01T00:00Z.
type hourCount struct{ hour, rows int64 }

// hourStart returns the start of an hour.
func hourStart(hour int64) time.Time { return time.Unix(hour*3600, 0).UTC() }

// rows returns the number of rows of the filter in the hour with index i.
func (c pageIndex) rows(i int) int64 {
	switch i {
	case 0:
		return c.firstRows
	case len(c.hours) - 1:
		return c.lastRows
	}
	return c.hours[i].rows
}

// narrow returns the filter with the bounds of the hours that contain the page and the row after it. rest is the
// number of rows within these bounds that precede the page.
func (c pageIndex) narrow(l Listing) (filter schema.Filter, rest int64) {
	filter = l.Filter.Bounded()
	first := 0
	if l.After == nil {
		for rest = l.Offset; first < len(c.hours)-1 && c.rows(first) <= rest; first++ {
			rest -= c.rows(first)
		}
	} else {
		filter = filter.Between(schema.MinCreatedAt, l.After.CreatedAt.Add(time.Microsecond))
		for first < len(c.hours) && !hourStart(c.hours[first].hour).Before(filter.Before) {
			first++
		}
	}
	if first == len(c.hours) {
		return filter, rest
	}
	seen, needed := c.rows(first), rest+l.Limit+1
	if l.After != nil {
		needed += seen // all rows of that hour may precede the page
	}
	last := first
	for ; last < len(c.hours)-1 && seen < needed; seen += c.rows(last) {
		last++
	}
	return filter.Between(hourStart(c.hours[last].hour), hourStart(c.hours[first].hour+1)), rest
}

// covers reports whether the bounds of the filter lie within those of the index. Apart from the bounds, the filters
// are equal.
func (c pageIndex) covers(filter schema.Filter) bool {
	own, bounds := c.filter.Bounded(), filter.Bounded()
	return bounds == bounds.Between(own.From, own.Before)
}

// cut returns the index of a filter that c covers. Hours fully inside the bounds of the filter are reused; only the
// first and the last hour are counted again, if a bound lies within them.
func (c pageIndex) cut(
	ctx context.Context, db querier, dataset schema.Dataset, filter schema.Filter,
) (part pageIndex, err error) {
	if filter == c.filter {
		return c, nil
	}
	old, bounds := c.filter.Bounded(), filter.Bounded()
	begin := sort.Search(len(c.hours), func(i int) bool { return hourStart(c.hours[i].hour).Before(bounds.Before) })
	end := sort.Search(len(c.hours), func(i int) bool { return !hourStart(c.hours[i].hour + 1).After(bounds.From) })
	part.filter = filter
	if begin >= end {
		return part, nil
	}
	part.hours = c.hours[begin:end]
	count := func(i int) (int64, error) {
		start, end := hourStart(c.hours[i].hour), hourStart(c.hours[i].hour+1)
		if bounds.Between(start, end) == old.Between(start, end) {
			return c.rows(i), nil
		}
		return countRows(ctx, db, dataset, bounds.Between(start, end))
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

// countRows returns the number of rows of the filter.
func countRows(ctx context.Context, db querier, dataset schema.Dataset, filter schema.Filter) (n int64, err error) {
	err = db.QueryRowContext(ctx, statements.Page("count", dataset.Name), filter.Args(dataset)...).Scan(&n)
	return n, err
}

// buildPageIndex returns an index of the filter, built by a query.
func buildPageIndex(
	ctx context.Context, db querier, dataset schema.Dataset, filter schema.Filter,
) (index pageIndex, err error) {
	index.filter, index.counted = filter, true
	rows, err := db.QueryContext(ctx, statements.Page("hours", dataset.Name), filter.Args(dataset)...)
	if err != nil {
		return index, err
	}
	defer rows.Close()
	for rows.Next() {
		var h hourCount
		if err := rows.Scan(&h.hour, &h.rows); err != nil {
			return index, err
		}
		index.hours = append(index.hours, h)
		index.total += h.rows
	}
	if n := len(index.hours); n > 0 {
		index.firstRows, index.lastRows = index.hours[0].rows, index.hours[n-1].rows
	}
	return index, rows.Err()
}

// A pageIndexCache holds indexes of one version of a tenant's rows. It is emptied if the version changes or if it is
// full.
type pageIndexCache struct {
	mu      sync.Mutex // guards all fields
	version int64      // value of tenantStore.version that the indexes belong to
	size    int        // size of all indexes, in hours
	indexes map[pageIndexKey]pageIndex
	widest  map[pageIndexKey]pageIndex // last index built by a query, by the filter without its bounds
}

// A pageIndexKey identifies an index in the cache.
type pageIndexKey struct {
	dataset string
	filter  schema.Filter
}

const (
	// maxCachedHours bounds the size of a cache to about 800 KB.
	maxCachedHours = 50_000
	// entryOverhead is the size of an index without its hours, expressed in hours.
	entryOverhead = 32
)

// get returns the index of the filter, or of a filter that covers it.
func (c *pageIndexCache) get(version int64, dataset schema.Dataset, filter schema.Filter) (index pageIndex, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version != version {
		return index, false
	}
	if index, ok = c.indexes[pageIndexKey{dataset.Name, filter}]; !ok {
		index, ok = c.widest[pageIndexKey{dataset.Name, filter.Unbounded()}]
	}
	return index, ok && index.covers(filter)
}

// put adds an index of the version. If the version differs or the cache is full, put empties the cache first.
func (c *pageIndexCache) put(version int64, dataset schema.Dataset, index pageIndex) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, size := pageIndexKey{dataset.Name, index.filter}, entryOverhead
	if index.counted {
		size += len(index.hours)
	}
	if c.indexes == nil || version != c.version || c.size+size > maxCachedHours {
		c.version, c.size = version, 0
		c.indexes, c.widest = map[pageIndexKey]pageIndex{}, map[pageIndexKey]pageIndex{}
	}
	if _, cached := c.indexes[key]; cached {
		return
	}
	c.indexes[key] = index
	c.size += size
	if index.counted {
		c.widest[pageIndexKey{dataset.Name, index.filter.Unbounded()}] = index
	}
}
