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

// Push is the note of rows that a client has pushed under a key of its own making.
type Push struct {
	Key     string
	Digest  []byte // of all that the client sent
	Outcome string // what it was answered, as JSON
	At      time.Time
}

const (
	// pushesKept is how long a push is remembered.
	pushRetention = 24 * time.Hour
	// maxPushes bounds the pushes that are remembered of a tenant: more than one key makes in a day at the usual limit.
	maxPushes = 100_000
)

// Pushed returns the note of a tenant's push; ErrNotFound where there is none of that key since now less a day.
func (w *Warehouse) FindPush(ctx context.Context, tenant uuid.UUID, key string, now time.Time) (push Push, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return push, err
	}
	defer release()
	push.Key = key
	err = store.db.QueryRowContext(ctx, statements.Get("push/noted"), sql.Named("key", key), sql.Named("since", now.Add(-pushRetention))).
		Scan(&push.Digest, &push.Outcome, &push.At)
	if errors.Is(err, sql.ErrNoRows) {
		return push, fmt.Errorf("push %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return push, fmt.Errorf("read notes of pushes: %w", w.diagnose(err))
	}
	return push, nil
}

// NotePush remembers a push whose rows are merged, and forgets old ones.
func (w *Warehouse) RecordPush(ctx context.Context, tenant uuid.UUID, push Push) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock()
	defer store.writing.Unlock()
	tx, err := begin(ctx, store.db)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statements.Get("push/note"), sql.Named("key", push.Key), sql.Named("digest", push.Digest),
		sql.Named("outcome", push.Outcome), sql.Named("at", push.At))
	if err == nil {
		_, err = tx.ExecContext(ctx, statements.Get("push/forget"), sql.Named("since", push.At.Add(-pushRetention)), sql.Named("most", maxPushes))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("note push: %w", w.diagnose(err)), tx.Rollback())
	}
	return w.diagnose(tx.Commit())
}
