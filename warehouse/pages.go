package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Listing selects a page of a list. Lists are ordered by created_at descending, then by id ascending.
type Listing struct {
	Filter schema.Filter
	Limit  int64     // maximum number of rows of the page
	Offset int64     // number of rows before the page; ignored if After is set
	After  *Position // position that the page starts after; nil: use Offset
}

// A Position identifies the place of a row in a list.
type Position struct {
	CreatedAt time.Time // to the microsecond
	ID        uuid.UUID
}

// A Page is a page of a list.
type Page struct {
	Items []string // JSON objects in the format of the API
	Last  Position // position of the last item
	More  bool     // whether there are rows after Last
	Total int64    // number of rows on all pages
}

// List returns a page. Its items and its total come from one snapshot. The cost of a page does not depend on its
// position, see pageIndex.
func (w *Warehouse) List(
	ctx context.Context, tenant uuid.UUID, dataset schema.Dataset, listing Listing,
) (page Page, err error) {
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
	// With a cached index of this filter, or of a wider one, the page is read without a transaction. If a commit happened
	// meanwhile, the page may mix two states, so it is discarded and read in a transaction.
	version := store.version.Load()
	if index, ok := store.pageIndexes.get(version, dataset, listing.Filter); ok {
		if index, err = index.cut(ctx, store.db, dataset, listing.Filter); err != nil {
			return page, err
		}
		page, err = listing.read(ctx, store.db, dataset, index, maxPageBytes)
		if err != nil && !errors.Is(err, ErrNoMemory) {
			return page, err
		}
		if err == nil && store.unchanged(version) {
			store.pageIndexes.put(version, dataset, index)
			return listing.complete(page)
		}
	}
	return inChunks(listing.Limit, func(chunk int64) (Page, error) {
		return w.listChunks(ctx, store, dataset, listing, chunk)
	})
}

// maxPageBytes is the maximum size of the items of a page. A server has memory for a number of such pages.
const maxPageBytes = 64 << 20

// inChunks calls read with the number of rows to be read by one statement. A statement holds its rows in the memory of
// DuckDB several times, so large rows are read in smaller chunks if the memory is full.
func inChunks[T any](limit int64, read func(chunk int64) (T, error)) (T, error) {
	for chunk := limit; ; chunk = max(1, chunk/4) {
		page, err := read(chunk)
		if !errors.Is(err, ErrNoMemory) || chunk <= 1 {
			return page, err
		}
	}
}

// listChunks returns a page that it reads in chunks, in one transaction. A page after a position ends early if its
// items are too large. It returns ErrTooLarge for a page with a number, because the next page begins after all of its
// rows.
func (w *Warehouse) listChunks(
	ctx context.Context, store *tenantStore, dataset schema.Dataset, listing Listing, chunk int64,
) (page Page, err error) {
	tx, err := duckdb.Begin(ctx, store.db)
	if err != nil {
		return page, err
	}
	defer tx.Rollback() // the transaction only reads
	version := store.version.Load()
	index, err := buildPageIndex(ctx, tx, dataset, listing.Filter)
	if err != nil {
		return page, err
	}
	if store.unchanged(version) {
		store.pageIndexes.put(version, dataset, index)
	}
	for size, part := 0, listing; ; part.After = &page.Last {
		part.Limit = min(chunk, listing.Limit-int64(len(page.Items)))
		next, err := part.read(ctx, tx, dataset, index, maxPageBytes-size)
		if err != nil {
			return page, err
		}
		for _, item := range next.Items {
			size += len(item)
		}
		ended := !next.More || int64(len(next.Items)) < part.Limit || size >= maxPageBytes
		next.Items = append(page.Items, next.Items...)
		if page = next; ended || int64(len(page.Items)) == listing.Limit {
			return listing.complete(page)
		}
	}
}

// complete returns the page. It returns ErrTooLarge for a page with a number that ended early.
func (l Listing) complete(page Page) (Page, error) {
	if l.After == nil && page.More && int64(len(page.Items)) < l.Limit {
		return Page{}, fmt.Errorf("%w: the page has more than %d MiB", ErrTooLarge, maxPageBytes>>20)
	}
	return page, nil
}

// A querier is a database, or a transaction or connection of one.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read reads the page, up to a number of bytes but at least one row. It selects one row beyond the limit to find out
// whether there are more.
func (l Listing) read(
	ctx context.Context, db querier, dataset schema.Dataset, index pageIndex, maxBytes int,
) (page Page, err error) {
	page.Total = index.total
	if l.After == nil && l.Offset >= index.total {
		return page, nil
	}
	filter, offset := index.narrow(l)
	args := append(filter.Args(dataset), sql.Named("limit", l.Limit+1), sql.Named("offset", offset))
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
		var item string
		var last Position
		if int64(len(page.Items)) == l.Limit {
			page.More = true
			break
		}
		if err := rows.Scan(&item, &last.CreatedAt, &last.ID); err != nil {
			return page, err
		}
		if maxBytes -= len(item); maxBytes < 0 && len(page.Items) > 0 {
			page.More = true
			break
		}
		page.Items, page.Last = append(page.Items, item), last
	}
	return page, rows.Err()
}

// Get returns a row of the tenant with all its details, as a JSON object. It returns ErrNotFound if the tenant has no
// such row.
func (w *Warehouse) Get(
	ctx context.Context, tenant uuid.UUID, dataset schema.Dataset, id uuid.UUID,
) (item string, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return "", err
	}
	defer release()
	detail := statements.Page("detail", dataset.Name)
	err = store.db.QueryRowContext(ctx, detail, sql.Named("id", id.String())).Scan(&item)
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("get %s %s: %w", dataset.Name, id, err)
	}
	return item, nil
}
