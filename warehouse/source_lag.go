package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// # Sources of a restored tenant
//
// The state of a source of one tenant is in the store of the tenant, so it goes back with the rows. The states of the
// sources of many tenants are in the control database. If one tenant is restored, they stay, because the rows of the
// other tenants stay. But they then cover rows that the restored tenant has lost: the tenant lags behind them. Its lag
// is the state of each source at the time of the backup. The next run of the source reads the rows since that state
// again, and merges those of the lagging tenant only; see [Rereading].

//
// A tenant also lags if its store could not be written when the source brought rows for it, see [Warehouse.Lagging]. So
// one tenant does not stop the source for the others.

// A Lag is a tenant that lacks rows of a source of many tenants.
type Lag struct {
	Tenant uuid.UUID
	Source string
	State  json.RawMessage // of the source when the tenant had all of its rows; nil: the source had none
	Files  []uint64        // files that the source had read then
}

// sourceStatesFile is the file of a backup with the states of the sources of many tenants. It is not a file of the data
// folder.
const sourceStatesFile = "source-states.json"

// A laggingSource is the state that a source of many tenants had at the time of a backup.
type laggingSource struct {
	Source string          `json:"source"`
	State  json.RawMessage `json:"state,omitempty"`
	Files  []uint64        `json:"files,omitempty"`
}

// sourceStates returns the states of the sources of many tenants, in the order of their names.
func (w *Warehouse) sourceStates(ctx context.Context) (states []laggingSource, err error) {
	names, err := queryTexts(ctx, w.control, statements.Get("control/select_source_names"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		state := laggingSource{Source: name}
		if state.State, err = w.SourceState(ctx, uuid.Nil, name); err != nil {
			return nil, err
		}
		files, err := w.SourceFiles(ctx, uuid.Nil, name)
		if err != nil {
			return nil, err
		}
		for hash := range files {
			state.Files = append(state.Files, hash)
		}
		slices.Sort(state.Files)
		states = append(states, state)
	}
	return states, nil
}

// copySourceStates adds the states of the sources of many tenants to a backup.
func (w *Warehouse) copySourceStates(ctx context.Context, out backup.Writer) (file backup.File, err error) {
	states, err := w.sourceStates(ctx)
	if err != nil {
		return file, err
	}
	text, err := json.Marshal(states)
	if err != nil {
		return file, err
	}
	temp, err := os.CreateTemp(w.TempDir(), sourceStatesFile)
	if err != nil {
		return file, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err := temp.Write(text); err != nil {
		return file, err
	}
	return out.Add(ctx, backup.Content{Path: sourceStatesFile, File: temp, Size: int64(len(text))})
}

// readStates reads the states of the sources of many tenants in the staging folder of a plan.
func (r *restore) readStates(plan *restorePlan) (states []laggingSource, err error) {
	text, err := r.folder.readFile(r.folder.join(filepath.Join(plan.staging(), sourceStatesFile)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return states, json.Unmarshal(text, &states)
}

// addLags records that a tenant lags behind the sources of many tenants whose states have changed since the given ones.
func (w *Warehouse) addLags(ctx context.Context, tenant uuid.UUID, then []laggingSource) error {
	now, err := w.sourceStates(ctx)
	if err != nil {
		return err
	}
	former := map[string]laggingSource{}
	for _, state := range then {
		former[state.Source] = state
	}
	tx, err := duckdb.Begin(ctx, w.control)
	if err != nil {
		return err
	}
	for _, state := range now {
		was := former[state.Source]
		was.Source = state.Source
		if string(was.State) == string(state.State) && slices.Equal(was.Files, state.Files) {
			continue
		}
		if _, err := tx.ExecContext(ctx, upsertLag(tenant, was)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// Lagging records that tenants lag behind the stored state of a source of many tenants, because rows that the source
// has brought since were not merged. A tenant that lags already keeps its earlier state. The caller then stores the
// next state of the source. A run that reads rows again records nothing.
func (w *Warehouse) Lagging(ctx context.Context, source string, tenants []uuid.UUID) error {
	if _, ok := rereadingOf(ctx); ok {
		return nil
	}
	lags, err := w.Lags(ctx, source)
	if err != nil {
		return err
	}
	state := laggingSource{Source: source}
	if state.State, err = w.SourceState(ctx, uuid.Nil, source); err != nil {
		return err
	}
	files, err := w.SourceFiles(ctx, uuid.Nil, source)
	if err != nil {
		return err
	}
	state.Files = slices.Sorted(maps.Keys(files))
	for _, tenant := range tenants {
		if slices.ContainsFunc(lags, func(lag Lag) bool { return lag.Tenant == tenant }) {
			continue
		}
		if _, err := w.control.ExecContext(ctx, upsertLag(tenant, state)); err != nil {
			return fmt.Errorf("record that tenant %s lags behind source %s: %w", tenant, source, err)
		}
	}
	return nil
}

// upsertLag returns the statement that records a lag.
func upsertLag(tenant uuid.UUID, state laggingSource) string {
	value := "NULL"
	if state.State != nil {
		value = statements.Text(string(state.State))
	}
	return statements.Fill("control/upsert_lag", "tenant", statements.Text(tenant.String()),
		"source", statements.Text(state.Source), "state", value, "files", hashList(state.Files))
}

// Lags returns the tenants that lag behind a source of many tenants.
func (w *Warehouse) Lags(ctx context.Context, source string) (lags []Lag, err error) {
	rows, err := w.control.QueryContext(ctx, statements.Get("control/select_lags"), sql.Named("source", source))
	if err != nil {
		return nil, fmt.Errorf("lags of source %s: %w", source, err)
	}
	defer rows.Close()
	for rows.Next() {
		lag := Lag{Source: source}
		var state sql.NullString
		var files string
		if err := rows.Scan(&lag.Tenant, &state, &files); err != nil {
			return nil, err
		}
		if state.Valid {
			lag.State = json.RawMessage(state.String)
		}
		if err := json.Unmarshal([]byte(files), &lag.Files); err != nil {
			return nil, err
		}
		lags = append(lags, lag)
	}
	return lags, rows.Err()
}

// EndLag removes a lag whose rows were read again.
func (w *Warehouse) EndLag(ctx context.Context, lag Lag) error {
	_, err := w.control.ExecContext(ctx, statements.Fill("control/delete_lag",
		"tenant", statements.Text(lag.Tenant.String()), "source", statements.Text(lag.Source)))
	return err
}

// rereading is the key under which a context holds a Lag.
type rereading struct{}

// Rereading returns the context of a run of a source that reads the rows again that a lagging tenant has lost. With
// this context, SourceState and SourceFiles return the state of the lag, and batches keep only the rows of the lagging
// tenant. States are not stored, because the stored state of the source is a later one.
func Rereading(ctx context.Context, lag Lag) context.Context {
	return context.WithValue(ctx, rereading{}, lag)
}

// rereadingOf returns the lag of a context of Rereading.
func rereadingOf(ctx context.Context) (lag Lag, ok bool) {
	lag, ok = ctx.Value(rereading{}).(Lag)
	return lag, ok
}

// keepLagging removes the rows of other tenants than the lagging one from a staged batch.
func (s *Staged) keepLagging(ctx context.Context) error {
	lag, ok := rereadingOf(ctx)
	if !ok {
		return nil
	}
	if _, err := s.slot.conn.ExecContext(ctx, "DELETE FROM staged WHERE tenant_id IS DISTINCT FROM "+
		statements.Text(lag.Tenant.String())+"::UUID"); err != nil {
		return err
	}
	s.tenants = slices.DeleteFunc(s.tenants, func(t stagedTenant) bool { return t.id.UUID != lag.Tenant })
	return nil
}

// sourceRun is the key under which a context holds the identity of the store that a source reads for.
type sourceRun struct{}

// SourceRun returns the context of a run of a source that provides rows of the tenant, or of many if tenant is zero.
// With this context, a state is not stored if the tenant was restored since: the state covers rows that the restored
// store does not have.
func (w *Warehouse) SourceRun(ctx context.Context, tenant uuid.UUID) context.Context {
	return context.WithValue(ctx, sourceRun{}, storeIdentity{tenant, w.historyOf(tenant)})
}

// checkSourceRun returns an error if the tenant was restored since the context was made by SourceRun. The caller holds
// the writing lock of the store.
func (w *Warehouse) checkSourceRun(ctx context.Context, tenant uuid.UUID) error {
	began, ok := ctx.Value(sourceRun{}).(storeIdentity)
	if !ok || began.Tenant != tenant || began.History == uuid.Nil || began.History == w.historyOf(tenant) {
		return nil
	}
	return fmt.Errorf("%w: tenant %s was restored during the run; the next run reads its rows again", ErrBusy, tenant)
}
