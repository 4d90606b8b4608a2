package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A State is the checkpoint of a source: the position from which its next run continues. Only the source interprets
// it.
type State struct {
	Source string
	Value  json.RawMessage // replaces the stored value; nil: the stored value stays
	Files  []uint64        // hashes of files that were read, which are added to those of [Warehouse.SourceFiles]
}

// statementNames returns the statements that store the state.
func (s State) statementNames() (names []string) {
	if s.Value != nil {
		names = append(names, "merge/upsert_source_state")
	}
	if len(s.Files) > 0 {
		names = append(names, "merge/insert_source_files")
	}
	return names
}

// slots returns the names and values of the slots of these statements, in pairs.
func (s State) slots() []string {
	return []string{"source", statements.Text(s.Source), "state", statements.Text(string(s.Value)),
		"files", hashList(s.Files)}
}

// hashList returns a literal of a list of hashes.
func hashList(hashes []uint64) string {
	texts := make([]string, len(hashes))
	for i, hash := range hashes {
		texts[i] = strconv.FormatUint(hash, 10)
	}
	return "[" + strings.Join(texts, ",") + "]::UBIGINT[]"
}

// SourceState returns the last stored value of the state of a source, or nil. tenant is the tenant whose rows the
// source provides, or zero if the source provides rows of many tenants.
func (w *Warehouse) SourceState(
	ctx context.Context, tenant uuid.UUID, source string,
) (state json.RawMessage, err error) {
	if lag, ok := rereadingOf(ctx); ok {
		return lag.State, nil
	}
	if exists, err := w.hasStates(tenant); err != nil || !exists {
		return nil, err
	}
	err = w.readState(ctx, tenant, func(db *sql.DB) error {
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

// SourceFiles returns the hashes of the files that a source has read. A source should remove those of files that no
// longer exist with ForgetSourceFiles, so that the set stays bounded.
func (w *Warehouse) SourceFiles(
	ctx context.Context, tenant uuid.UUID, source string,
) (files map[uint64]bool, err error) {
	files = map[uint64]bool{}
	if lag, ok := rereadingOf(ctx); ok {
		for _, hash := range lag.Files {
			files[hash] = true
		}
		return files, nil
	}
	if exists, err := w.hasStates(tenant); err != nil || !exists {
		return files, err
	}
	err = w.readState(ctx, tenant, func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, statements.Get("merge/select_source_files"), sql.Named("source", source))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var hash uint64
			if err := rows.Scan(&hash); err != nil {
				return err
			}
			files[hash] = true
		}
		return rows.Err()
	})
	return files, err
}

// hasStates reports whether the database of the states of a tenant exists. Reading a state creates no tenant.
func (w *Warehouse) hasStates(tenant uuid.UUID) (bool, error) {
	if tenant == uuid.Nil {
		return true, nil
	}
	return w.storeExists(tenant)
}

// ForgetSourceFiles removes hashes from those of SourceFiles.
func (w *Warehouse) ForgetSourceFiles(ctx context.Context, tenant uuid.UUID, source string, files []uint64) error {
	return w.changeState(ctx, tenant, State{Source: source, Files: files}, "merge/delete_source_files")
}

// SaveState stores a state outside of a merge: after a run without rows, or after rows of many tenants were merged.
// tenant is zero for a source of many tenants.
func (w *Warehouse) SaveState(ctx context.Context, tenant uuid.UUID, state State) error {
	return w.changeState(ctx, tenant, state, state.statementNames()...)
}

// changeState executes statements with the slots of the state, in one transaction of the database that holds the
// states: the tenant's, or the control database if tenant is zero.
func (w *Warehouse) changeState(ctx context.Context, tenant uuid.UUID, state State, names ...string) (err error) {
	if _, ok := rereadingOf(ctx); ok {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("state of source: %w", err)
		}
	}()
	execute := func(tx *sql.Tx) error {
		slots := append(state.slots(), "store", "main")
		for _, name := range names {
			if _, err := tx.ExecContext(ctx, statements.Fill(name, slots...)); err != nil {
				return err
			}
		}
		return nil
	}
	if tenant != uuid.Nil {
		store, release, err := w.tenantFor(ctx, tenant, smallBlock)
		if err != nil {
			return err
		}
		defer release()
		store.writing.Lock()
		defer store.writing.Unlock()
		if err := w.checkSourceRun(ctx, tenant); err != nil {
			return err
		}
		return store.inTransaction(ctx, store.db, execute)
	}
	tx, err := duckdb.Begin(ctx, w.control)
	if err != nil {
		return err
	}
	if err := execute(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// readState calls read with the database that holds the states.
func (w *Warehouse) readState(ctx context.Context, tenant uuid.UUID, read func(*sql.DB) error) error {
	db := w.control
	if tenant != uuid.Nil {
		store, release, err := w.tenant(ctx, tenant)
		if err != nil {
			return fmt.Errorf("state of source: %w", err)
		}
		defer release()
		db = store.db
	}
	if err := read(db); err != nil {
		return fmt.Errorf("state of source: %w", err)
	}
	return nil
}
