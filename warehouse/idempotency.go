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

// A Push is the idempotency record of a push. The client chooses its key.
type Push struct {
	Key     string // idempotency key
	Digest  []byte // digest of the request
	Outcome string // response, as JSON
	At      time.Time
}

const (
	// pushRetention is how long records are kept.
	pushRetention = 24 * time.Hour
	// maxPushes bounds the records of a tenant. One key makes fewer pushes in a day at the default rate limit.
	maxPushes = 100_000
)

// FindPush returns the record of a push of the tenant. It returns ErrNotFound if no record has the key, or if the
// record is older than a day.
func (w *Warehouse) FindPush(
	ctx context.Context, tenant uuid.UUID, key string, now time.Time,
) (push Push, err error) {
	push.Key = key
	exists, err := w.storeExists(tenant)
	if err == nil && !exists { // a lookup creates no store
		err = fmt.Errorf("push %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return push, err
	}
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return push, err
	}
	defer release()
	err = store.db.QueryRowContext(ctx, statements.Get("push/select"),
		sql.Named("key", key), sql.Named("since", now.Add(-pushRetention)),
	).Scan(&push.Digest, &push.Outcome, &push.At)
	if errors.Is(err, sql.ErrNoRows) {
		return push, fmt.Errorf("push %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return push, fmt.Errorf("find the record of push %s: %w", key, err)
	}
	return push, nil
}

// RecordPush stores the record of a push whose rows were merged. It also removes records that are too old or too many.
func (w *Warehouse) RecordPush(ctx context.Context, tenant uuid.UUID, push Push) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()
	return store.inTransaction(ctx, store.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statements.Get("push/insert"), sql.Named("key", push.Key),
			sql.Named("digest", push.Digest), sql.Named("outcome", push.Outcome), sql.Named("at", push.At))
		if err == nil {
			_, err = tx.ExecContext(ctx, statements.Get("push/prune"),
				sql.Named("since", push.At.Add(-pushRetention)), sql.Named("most", maxPushes))
		}
		if err != nil {
			return fmt.Errorf("record push %s: %w", push.Key, err)
		}
		return nil
	})
}
