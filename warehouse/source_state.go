package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// State is a source's own note of how far it is.
type State struct {
	Source string
	Value  json.RawMessage
}

// slots are those of the statement that keeps it.
func (s State) slots() []string {
	return []string{"source", statements.Text(s.Source), "state", statements.Text(string(s.Value))}
}

// SourceState returns what the source noted last: with rows of the tenant, or, where that is zero, with rows of many. nil: nothing.
func (w *Warehouse) SourceState(ctx context.Context, tenant uuid.UUID, source string) (state json.RawMessage, err error) {
	err = w.withStateDB(ctx, tenant, func(db *sql.DB) error {
		var text string
		err := db.QueryRowContext(ctx, statements.Get("merge/state"), sql.Named("source", source)).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		state = json.RawMessage(text)
		return err
	})
	return state, err
}

// SaveState keeps a state for which no row was merged, or rows of many tenants were; tenant is zero then.
func (w *Warehouse) SaveState(ctx context.Context, tenant uuid.UUID, state State) error {
	return w.withStateDB(ctx, tenant, func(db *sql.DB) error {
		tx, err := begin(ctx, db)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, statements.Fill("merge/save_state", append(state.slots(), "store", "main")...)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	})
}

// withStates does something with the database that holds the states.
func (w *Warehouse) withStateDB(ctx context.Context, tenant uuid.UUID, do func(*sql.DB) error) error {
	db := w.control
	if tenant != uuid.Nil {
		store, release, err := w.tenant(ctx, tenant)
		if err != nil {
			return err
		}
		defer release()
		store.writing.Lock()
		defer store.writing.Unlock()
		db = store.db
	}
	if err := do(db); err != nil {
		return fmt.Errorf("state of source: %w", w.diagnose(err))
	}
	return nil
}
