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
		if page, err = listing.read(ctx, store.db, dataset, index); err != nil {
			return page, err
		}
		if store.unchanged(version) {
			store.pageIndexes.put(version, dataset, index)
			return page, nil
		}
	}
	tx, err := duckdb.Begin(ctx, store.db)
	if err != nil {
		return page, err
	}
	defer tx.Rollback() // the transaction only reads
	version = store.version.Load()
	index, err := buildPageIndex(ctx, tx, dataset, listing.Filter)
	if err != nil {
		return page, err
	}
	if store.unchanged(version) {
		store.pageIndexes.put(version, dataset, index)
	}
	return listing.read(ctx, tx, dataset, index)
}

// A querier is a database, or a transaction or connection of one.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read reads the page. It selects one row beyond the limit to find out whether there are more.
func (l Listing) read(ctx context.Context, db querier, dataset schema.Dataset, index pageIndex) (page Page, err error) {
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
