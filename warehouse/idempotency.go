package warehouse

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
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
	// The records of a store are pruned when it has been attached, and then once in pruneEvery, or after prunePushes new
	// records.
	pruneEvery  = time.Hour
	prunePushes = 1000
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
	conn, err := store.db.Conn(ctx)
	if err != nil {
		return push, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rows, err := duckdb.Select(ctx, conn, statements.Fill("push/select", "key", statements.Text(key),
		"since", sqlTime(now.Add(-pushRetention))))
	if err != nil {
		return push, fmt.Errorf("find the record of push %s: %w", key, err)
	}
	if len(rows) == 0 {
		return push, fmt.Errorf("push %s: %w", key, ErrNotFound)
	}
	var digest string
	var at sql.NullTime
	if err := scanTexts(rows[0], &digest, &push.Outcome, &at); err != nil {
		return push, err
	}
	push.At = at.Time
	push.Digest, err = hex.DecodeString(digest)
	return push, err
}

// sqlTime returns a literal of a time.
func sqlTime(at time.Time) string {
	return "make_timestamptz(" + strconv.FormatInt(at.UnixMicro(), 10) + ")"
}

// RecordPush stores the record of a push whose rows were merged. Once in pruneEvery, and after prunePushes new records,
// it also removes records that are too old or exceed maxPushes.
func (w *Warehouse) RecordPush(ctx context.Context, tenant uuid.UUID, push Push) (err error) {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()
	conn, err := store.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	prune := push.At.Sub(store.pruned.at).Abs() >= pruneEvery || store.pruned.records >= prunePushes
	err = store.inTransaction(ctx, conn, func(*sql.Tx) error {
		// The values are literals, because DuckDB plans a statement with parameters twice.
		_, err := duckdb.Exec(ctx, conn, statements.Fill("push/insert", "key", statements.Text(push.Key),
			"digest", statements.Text(hex.EncodeToString(push.Digest)), "outcome", statements.Text(push.Outcome),
			"at", sqlTime(push.At)))
		if err == nil && prune {
			_, err = duckdb.Exec(ctx, conn, statements.Fill("push/prune",
				"since", sqlTime(push.At.Add(-pushRetention)), "most", strconv.Itoa(maxPushes)))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record push %s: %w", push.Key, err)
	}
	if prune {
		store.pruned.at, store.pruned.records = push.At, 0
	}
	store.pruned.records++
	return nil
}
