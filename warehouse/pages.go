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

// Filter narrows a list. Values that are empty do not filter; a value a dataset has no column for is not used by it.
type Filter struct {
	From, Before              time.Time // bounds of created_at: inclusive, exclusive; zero: none
	Status, Direction, Source string
	Search                    string // substring of name, email or phone number, in any case
	PhoneNumber               string // compared by its digits
	AssistantID, CustomerID   uuid.NullUUID
}

// Page is one page of a list.
type Page struct {
	Items []string // each a JSON object as the API shows it
	Total int64    // rows of the filter on all pages
}

// List reads the rows offset … offset+limit of a filter, newest created_at first, id breaking ties. Rows and total are
// of one snapshot. A page costs about the same wherever it lies: see dayCounts.
func (w *Warehouse) List(ctx context.Context, tenant uuid.UUID, dataset Dataset, filter Filter, limit, offset int64) (page Page, err error) {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return page, err
	}
	defer release()
	tx, err := store.db.BeginTx(ctx, nil)
	if err != nil {
		return page, fmt.Errorf("list %s: %w", dataset.Name, err)
	}
	defer tx.Rollback() // it only reads

	counts, err := store.counts.of(ctx, tx, dataset, filter)
	if err != nil {
		return page, fmt.Errorf("count %s: %w", dataset.Name, err)
	}
	page.Total = counts.total
	if offset >= counts.total {
		return page, nil
	}
	filter.From, filter.Before, offset = counts.narrow(filter, limit, offset)
	args := append(filter.args(dataset), sql.Named("limit", limit), sql.Named("offset", offset))
	rows, err := tx.QueryContext(ctx, statements.Page("list", dataset.Name), args...)
	if err != nil {
		return page, fmt.Errorf("list %s: %w", dataset.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var item string
		if err := rows.Scan(&item); err != nil {
			return page, fmt.Errorf("list %s: %w", dataset.Name, err)
		}
		page.Items = append(page.Items, item)
	}
	return page, rows.Err()
}

// Get reads one row with all its details, as a JSON object; a row that is not the tenant's does not exist: ErrNotFound.
func (w *Warehouse) Get(ctx context.Context, tenant uuid.UUID, dataset Dataset, id uuid.UUID) (item string, err error) {
	store, release, err := w.tenant(ctx, tenant)
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

// The widest bounds that a created_at can have (see the staging of rows).
var (
	firstMoment = time.Unix(0, 0).UTC()
	lastMoment  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// bounded fills in open bounds, so that a filter always has both.
func (f Filter) bounded() Filter {
	if f.From.IsZero() {
		f.From = firstMoment
	}
	if f.Before.IsZero() {
		f.Before = lastMoment
	}
	return f
}

// args are the parameters of the dataset's WHERE clause.
func (f Filter) args(dataset Dataset) []any {
	text := func(name, value string) sql.NamedArg {
		if value == "" {
			return sql.Named(name, nil)
		}
		return sql.Named(name, value)
	}
	id := func(name string, value uuid.NullUUID) sql.NamedArg {
		if !value.Valid {
			return sql.Named(name, nil)
		}
		return sql.Named(name, value.UUID.String())
	}
	f = f.bounded()
	args := []any{sql.Named("from", f.From), sql.Named("before", f.Before)}
	switch dataset.Name {
	case Calls.Name:
		return append(args, text("status", f.Status), text("direction", f.Direction), id("assistant_id", f.AssistantID), text("phone_number", f.PhoneNumber))
	case Customers.Name:
		return append(args, text("source", f.Source), text("search", f.Search))
	default:
		return append(args, text("direction", f.Direction), id("customer_id", f.CustomerID), text("phone_number", f.PhoneNumber))
	}
}

// dayCounts says how many rows of a filter each day has, newest first. Its sum is the total; and the days that a page
// lies in bound the rows that have to be sorted for it, so that page 40,000 costs no more than the first.
type dayCounts struct {
	days  []dayCount
	total int64
}

type dayCount struct{ day, rows int64 } // day: since 1970-01-01, UTC

// narrow returns tighter bounds of created_at that hold the rows offset … offset+limit, and their offset within those.
func (c dayCounts) narrow(filter Filter, limit, offset int64) (from, before time.Time, rest int64) {
	filter = filter.bounded()
	from, before = filter.From, filter.Before
	var skipped int64
	first := 0
	for first < len(c.days)-1 && skipped+c.days[first].rows <= offset {
		skipped += c.days[first].rows
		first++
	}
	last, seen := first, skipped+c.days[first].rows
	for last < len(c.days)-1 && seen < offset+limit {
		last++
		seen += c.days[last].rows
	}
	if newest := startOf(c.days[first].day + 1); newest.Before(before) {
		before = newest
	}
	if oldest := startOf(c.days[last].day); oldest.After(from) {
		from = oldest
	}
	return from, before, offset - skipped
}

func startOf(day int64) time.Time { return firstMoment.AddDate(0, 0, int(day)) }

// countCache keeps the counts of the filters asked for last, for as long as the tenant's rows do not change.
type countCache struct {
	mu     sync.Mutex
	seq    int64 // the commit that counts are of
	counts map[countKey]dayCounts
}

type countKey struct {
	dataset string
	filter  Filter
}

// maxKeptCounts bounds the cache; an entry has at most one number per day that has rows.
const maxKeptCounts = 64

// of returns the counts of filter in tx's snapshot.
func (c *countCache) of(ctx context.Context, tx *sql.Tx, dataset Dataset, filter Filter) (counts dayCounts, err error) {
	var seq int64
	if err := tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&seq); err != nil {
		return counts, err
	}
	key := countKey{dataset.Name, filter}
	if kept, ok := c.kept(seq, key); ok {
		return kept, nil
	}
	rows, err := tx.QueryContext(ctx, statements.Page("days", dataset.Name), filter.args(dataset)...)
	if err != nil {
		return counts, err
	}
	defer rows.Close()
	for rows.Next() {
		var d dayCount
		if err := rows.Scan(&d.day, &d.rows); err != nil {
			return counts, err
		}
		counts.days = append(counts.days, d)
		counts.total += d.rows
	}
	if err := rows.Err(); err != nil {
		return counts, err
	}
	c.keep(seq, key, counts)
	return counts, nil
}

func (c *countCache) kept(seq int64, key countKey) (dayCounts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts, ok := c.counts[key]
	return counts, ok && c.seq == seq
}

func (c *countCache) keep(seq int64, key countKey, counts dayCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil || seq > c.seq || len(c.counts) >= maxKeptCounts {
		c.seq, c.counts = seq, map[countKey]dayCounts{}
	}
	if seq == c.seq {
		c.counts[key] = counts
	}
}
