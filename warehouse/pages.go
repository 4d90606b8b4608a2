package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Listing says which rows of a list a page shows, newest created_at first, id breaking ties.
type Listing struct {
	Filter Filter
	Limit  int64     // rows of a page
	Offset int64     // rows before the page, where After is not given
	After  *Position // the page begins after this place
}

// Position is a row's place in a list.
type Position struct {
	CreatedAt time.Time // to the microsecond
	ID        uuid.UUID
}

// Page is one page of a list.
type Page struct {
	Items []string // each a JSON object as the API shows it
	Last  Position // of the last of Items
	More  bool     // there are rows after it
	Total int64    // rows of the filter on all pages
}

// List reads one page. Rows and total are of one snapshot, and a page costs about the same wherever it lies: see hourCounts.
func (w *Warehouse) List(ctx context.Context, tenant uuid.UUID, dataset Dataset, listing Listing) (page Page, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return page, err
	}
	defer release()
	defer func() {
		if err != nil {
			err = fmt.Errorf("list %s: %w", dataset.Name, err)
		}
	}()
	// Where the counts are known, one statement does, unless a commit falls between.
	version := store.version.Load()
	if counts, ok := store.counts.kept(version, countKey{dataset.Name, listing.Filter}); ok {
		if page, err = listing.read(ctx, store.db, dataset, counts); err != nil || store.unchanged(version) {
			return page, err
		}
	}
	tx, err := begin(ctx, store.db)
	if err != nil {
		return page, err
	}
	defer tx.Rollback() // it only reads
	version = store.version.Load()
	counts, err := countHours(ctx, tx, dataset, listing.Filter)
	if err != nil {
		return page, err
	}
	if store.unchanged(version) {
		store.counts.keep(version, countKey{dataset.Name, listing.Filter}, counts)
	}
	return listing.read(ctx, tx, dataset, counts)
}

// querier is a database or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// read reads the page. It asks for one row more than it shows, to know whether there is one.
func (l Listing) read(ctx context.Context, db querier, dataset Dataset, counts hourCounts) (page Page, err error) {
	page.Total = counts.total
	if l.After == nil && l.Offset >= counts.total {
		return page, nil
	}
	filter, offset := counts.narrow(l)
	args := append(filter.args(dataset), sql.Named("limit", l.Limit+1), sql.Named("offset", offset))
	if l.After == nil {
		args = append(args, sql.Named("after", nil), sql.Named("after_id", nil))
	} else {
		args = append(args, sql.Named("after", l.After.CreatedAt), sql.Named("after_id", l.After.ID.String()))
	}
	rows, err := db.QueryContext(ctx, statements.Page("list", dataset.Name), args...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	for rows.Next() {
		if int64(len(page.Items)) == l.Limit {
			page.More = true
			break
		}
		var item string
		if err := rows.Scan(&item, &page.Last.CreatedAt, &page.Last.ID); err != nil {
			return page, err
		}
		page.Items = append(page.Items, item)
	}
	return page, rows.Err()
}

// Get reads one row with all its details, as a JSON object; a row that is not the tenant's does not exist: ErrNotFound.
func (w *Warehouse) Get(ctx context.Context, tenant uuid.UUID, dataset Dataset, id uuid.UUID) (item string, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return "", err
	}
	defer release()
	err = store.db.QueryRowContext(ctx, statements.Page("detail", dataset.Name), sql.Named("id", id.String())).Scan(&item)
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("get %s %s: %w", dataset.Name, id, err)
	}
	return item, nil
}

// hourCounts says how many rows of a filter each hour has, newest first. Its sum is the total; and the hours that a page
// lies in bound the rows that have to be sorted for it, so that page 40,000 costs no more than the first.
type hourCounts struct {
	hours []hourCount
	total int64
}

type hourCount struct{ hour, rows int64 } // hour: since 1970-01-01T00:00Z

// narrow returns the filter with tighter bounds of created_at, which hold the page and the row after it, and how many
// rows within them come before the page.
func (c hourCounts) narrow(l Listing) (filter Filter, rest int64) {
	filter = l.Filter.bounded()
	first := 0
	if l.After == nil {
		for rest = l.Offset; first < len(c.hours)-1 && c.hours[first].rows <= rest; first++ {
			rest -= c.hours[first].rows
		}
	} else {
		if after := l.After.CreatedAt.Add(time.Microsecond); after.Before(filter.Before) {
			filter.Before = after
		}
		for first < len(c.hours) && !startOf(c.hours[first].hour).Before(filter.Before) {
			first++
		}
	}
	if first == len(c.hours) {
		return filter, rest
	}
	seen, needed := c.hours[first].rows, rest+l.Limit+1
	if l.After != nil {
		needed += seen // all rows of that hour may come before the page
	}
	last := first
	for ; last < len(c.hours)-1 && seen < needed; seen += c.hours[last].rows {
		last++
	}
	if newest := startOf(c.hours[first].hour + 1); newest.Before(filter.Before) {
		filter.Before = newest
	}
	if oldest := startOf(c.hours[last].hour); oldest.After(filter.From) {
		filter.From = oldest
	}
	return filter, rest
}

func startOf(hour int64) time.Time { return time.Unix(hour*3600, 0).UTC() }

// countHours counts the rows of the filter.
func countHours(ctx context.Context, db querier, dataset Dataset, filter Filter) (counts hourCounts, err error) {
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
	return counts, rows.Err()
}

// countCache keeps the counts of the filters asked for last, for as long as the tenant's rows do not change.
type countCache struct {
	mu      sync.Mutex
	version int64 // of the rows that the counts are of: see tenantStore
	hours   int   // in all of counts
	counts  map[countKey]hourCounts
}

type countKey struct {
	dataset string
	filter  Filter
}

// maxKeptHours bounds the cache, to some 800 KB.
const maxKeptHours = 50_000

func (c *countCache) kept(version int64, key countKey) (hourCounts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts, ok := c.counts[key]
	return counts, ok && c.version == version
}

func (c *countCache) keep(version int64, key countKey, counts hourCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil || version != c.version || c.hours+len(counts.hours) > maxKeptHours {
		c.version, c.hours, c.counts = version, 0, map[countKey]hourCounts{}
	}
	c.counts[key] = counts
	c.hours += len(counts.hours) + 1 // none is an entry, too
}
