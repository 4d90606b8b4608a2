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

// A State is the checkpoint of a source: the position from which its next run continues. Only the source interprets
// Value.
type State struct {
	Source string
	Value  json.RawMessage
}

// slots returns the names and values of the slots of merge/save_state, in pairs.
func (s State) slots() []string {
	return []string{"source", statements.Text(s.Source), "state", statements.Text(string(s.Value))}
}

// SourceState returns the last stored state of a source, or nil. tenant is the tenant whose rows the source provides,
// or zero if the source provides rows of many tenants.
func (w *Warehouse) SourceState(
	ctx context.Context, tenant uuid.UUID, source string,
) (state json.RawMessage, err error) {
	err = w.withStateDB(ctx, tenant, func(db *sql.DB) error {
		var text string
		err := db.QueryRowContext(ctx, statements.Get("merge/select_source_state"), sql.Named("source", source)).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		state = json.RawMessage(text)
		return err
	})
	return state, err
}

// SaveState stores a state outside of a merge: after a run without rows, or after rows of many tenants were merged.
// tenant is zero for a source of many tenants.
func (w *Warehouse) SaveState(ctx context.Context, tenant uuid.UUID, state State) error {
	return w.withStateDB(ctx, tenant, func(db *sql.DB) error {
		tx, err := begin(ctx, db)
		if err != nil {
			return err
		}
		slots := append(state.slots(), "store", "main")
		if _, err := tx.ExecContext(ctx, statements.Fill("merge/upsert_source_state", slots...)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	})
}

// withStateDB calls do with the database that holds the states: the tenant's, or the control database if tenant is
// zero. It holds the writing lock of the tenant.
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
