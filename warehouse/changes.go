package warehouse

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A FeedPosition is a place in the change feed of a tenant, after the row with ID and the sequence number Seq. The zero
// value is the start of the feed.
type FeedPosition struct {
	Seq int64
	ID  uuid.UUID
	// Epoch identifies the process that committed Seq. It is valid as long as the store has that commit: a store that
	// was restored from a copy has other epochs after the copy. AnyEpoch is not checked.
	Epoch uuid.UUID
	// Loaded is the sequence number at which the reader began. Rows up to it that do not match the filter were never
	// sent, so they are left out.
	Loaded int64
}

// AnyEpoch is the epoch of a position whose epoch is not known.
var AnyEpoch = uuid.Max

// lostEpoch is the epoch in a store of the commits that a restore has lost.
var lostEpoch = uuid.Max

// AfterCommit returns the position after all rows with the sequence number seq and lower ones.
func AfterCommit(seq int64) FeedPosition { return FeedPosition{seq, uuid.Max, AnyEpoch, seq} }

// A Feed is a page of the changes of a dataset.
type Feed struct {
	// Items are JSON objects in the format of lists. A deleted row is {"id":…,"deleted":true,"deleted_at":"2026-…Z"}. A
	// row that does not match the filter now, but may have matched it before, has this form too, with "deleted_at":null.
	Items []string
	Next  FeedPosition // position after the last item; the requested position if there are no items
	More  bool         // whether there are changes after Next
	Seq   int64        // highest sequence number in the snapshot of the page; a large commit has several
}

// Changes returns at most limit changes after a position, ordered by sequence number and id, and fewer if they are
// large. Each row appears once, with its current values, at the sequence number of the commit that last changed it.
// The filter does not apply to deleted rows, because they have no values to compare. Changes returns ErrPositionLost
// for a position that the store does not have, because it was restored from a copy. A client that follows Next until
// More is false, and continues from there later, misses no change: a row that changes in the meantime appears again at
// a higher sequence number.
func (w *Warehouse) Changes(
	ctx context.Context, tenant uuid.UUID, dataset schema.Dataset, filter schema.Filter, after FeedPosition, limit int64,
) (feed Feed, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return feed, err
	}
	defer release()
	defer func() {
		if err != nil {
			err = fmt.Errorf("changes of %s: %w", dataset.Name, err)
		}
	}()
	return inChunks(limit, func(chunk int64) (Feed, error) {
		return changes(ctx, store, dataset, filter, after, chunk)
	})
}

// changes reads a page of a feed in one transaction.
func changes(ctx context.Context, store *tenantStore, dataset schema.Dataset, filter schema.Filter, after FeedPosition,
	limit int64) (feed Feed, err error) {
	tx, err := duckdb.Begin(ctx, store.db)
	if err != nil {
		return feed, err
	}
	defer tx.Rollback() // the transaction only reads

	if err := tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&feed.Seq); err != nil {
		return feed, err
	}
	if err := checkPosition(ctx, tx, after, feed.Seq); err != nil {
		return feed, err
	}
	if after.Seq == 0 {
		after.Loaded = feed.Seq
	}
	feed.Next = after
	args := append(filter.Args(dataset),
		sql.Named("seq", after.Seq), sql.Named("id", after.ID.String()), sql.Named("limit", limit+1),
		sql.Named("loaded", after.Loaded))
	rows, err := tx.QueryContext(ctx, statements.Page("changes", dataset.Name), args...)
	if err != nil {
		return feed, err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		if int64(len(feed.Items)) == limit {
			feed.More = true
			break
		}
		var item string
		next := feed.Next
		if err := rows.Scan(&next.Seq, &next.ID, &item); err != nil {
			return feed, err
		}
		if size += len(item); size > maxPageBytes && len(feed.Items) > 0 {
			feed.More = true
			break
		}
		feed.Items, feed.Next = append(feed.Items, item), next
	}
	if err := rows.Err(); err != nil {
		return feed, err
	}
	feed.Next.Epoch, err = epochOf(ctx, tx, feed.Next.Seq)
	return feed, err
}

// checkPosition returns ErrPositionLost unless the store has the commit of a position. newest is its newest commit.
func checkPosition(ctx context.Context, tx *sql.Tx, position FeedPosition, newest int64) error {
	if position.Seq > newest {
		return fmt.Errorf("%w: commit %d is after the newest one, %d", ErrPositionLost, position.Seq, newest)
	}
	if position.Seq == 0 {
		return nil
	}
	epoch, err := epochOf(ctx, tx, position.Seq)
	if err == nil && (epoch == lostEpoch || epoch != position.Epoch && position.Epoch != AnyEpoch) {
		err = fmt.Errorf("%w: commit %d is of another history", ErrPositionLost, position.Seq)
	}
	return err
}

// epochOf returns the epoch of a sequence number.
func epochOf(ctx context.Context, tx *sql.Tx, seq int64) (epoch uuid.UUID, err error) {
	err = tx.QueryRowContext(ctx, statements.Get("pages/epoch"), sql.Named("seq", seq)).Scan(&epoch)
	return epoch, err
}
