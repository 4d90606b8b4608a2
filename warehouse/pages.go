package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	// Where the counts are known, or those of a wider filter, no transaction is needed, unless a commit falls between.
	version := store.version.Load()
	if counts, ok := store.pageIndexes.get(version, dataset, listing.Filter); ok {
		if counts, err = counts.cut(ctx, store.db, dataset, listing.Filter); err != nil {
			return page, err
		}
		if page, err = listing.read(ctx, store.db, dataset, counts); err != nil {
			return page, err
		}
		if store.unchanged(version) {
			store.pageIndexes.put(version, dataset, counts)
			return page, nil
		}
	}
	tx, err := begin(ctx, store.db)
	if err != nil {
		return page, err
	}
	defer tx.Rollback() // it only reads
	version = store.version.Load()
	counts, err := buildPageIndex(ctx, tx, dataset, listing.Filter)
	if err != nil {
		return page, err
	}
	if store.unchanged(version) {
		store.pageIndexes.put(version, dataset, counts)
	}
	return listing.read(ctx, tx, dataset, counts)
}

// querier is a database or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// read reads the page. It asks for one row more than it shows, to know whether there is one.
func (l Listing) read(ctx context.Context, db querier, dataset Dataset, counts pageIndex) (page Page, err error) {
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
