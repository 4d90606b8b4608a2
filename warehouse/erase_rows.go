package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/schema"
)

// replaceRows changes the rows of a tenant and writes its file again, publishes the stale partitions, and removes the
// files that were published before.
func (w *Warehouse) replaceRows(ctx context.Context, tenant uuid.UUID, change changeStore) error {
	exists, err := w.storeExists(tenant)
	if err != nil || !exists {
		return err
	}
	err = w.withDetached(ctx, tenant, func() error { return w.rewriteTenant(ctx, tenant, change) })
	if err != nil {
		return err
	}
	if _, err := w.PublishTenant(ctx, tenant); err != nil {
		return err
	}
	return errors.Join(w.removeAllReplaced(ctx, tenant), w.dropExports(ctx, tenant))
}

// eraseRows deletes the rows that the list of the tenant covers, leaves their tombstones, and records their ids. The
// tenant is detached, and its store attached under its id.
func (w *Warehouse) eraseRows(ctx context.Context, store *tenantStore, conn *sql.Conn, report *Erasure) error {
	leave := func(dataset schema.Dataset) string {
		rows := store.main() + "." + statements.Ident(dataset.Name)
		return statements.Fill("erasure/create_leaving", "rows", rows, "expired", "false",
			"covered", coveredRows(erasedList, rows, "true", report.Tenant, dataset))
	}
	leaving := func(ctx context.Context, dataset schema.Dataset) error {
		ids, err := queryTexts(ctx, conn, "SELECT id::VARCHAR FROM leaving")
		if err != nil {
			return err
		}
		keys := make([]erasure.Key, len(ids))
		for i, id := range ids {
			keys[i] = erasure.RowKey(dataset.Name, uuid.MustParse(id))
		}
		return w.recordErased(ctx, report.Tenant, time.Now().UTC().Truncate(time.Microsecond), keys)
	}
	if err := w.deleteRows(ctx, store, conn, report.Rows, leave, leaving); err != nil {
		return err
	}
	return store.inTransaction(ctx, conn, func(tx *sql.Tx) error {
		return eraseRecords(ctx, tx, store.main(), w.erasures.lists.Matcher(report.Tenant))
	})
}

// deleteRows deletes rows of each dataset and leaves their tombstones, in one transaction per dataset. leave returns
// the statement that selects the rows of a dataset to delete into the table leaving. The function leaving, if not nil,
// is called before the rows in the table leaving are deleted. deleteRows adds the number of rows of each dataset to
// counts.
func (w *Warehouse) deleteRows(ctx context.Context, store *tenantStore, conn *sql.Conn, counts map[string]int64,
	leave func(schema.Dataset) string, leaving func(context.Context, schema.Dataset) error,
) error {
	for _, dataset := range schema.Datasets {
		var n int64
		_, err := duckdb.Exec(ctx, conn, leave(dataset))
		if err == nil {
			err = conn.QueryRowContext(ctx, "SELECT count(*) FROM leaving").Scan(&n)
		}
		if err != nil {
			return fmt.Errorf("find the rows of %s: %w", dataset.Name, err)
		}
		counts[dataset.Name] += n
		if n == 0 {
			continue
		}
		if leaving != nil {
			if err := leaving(ctx, dataset); err != nil {
				return err
			}
		}
		months, err := queryTexts(ctx, conn, statements.Get("erasure/select_leaving"))
		if err != nil {
			return err
		}
		var seq int64
		if err := conn.QueryRowContext(ctx, "SELECT seq FROM "+store.main()+".clock").Scan(&seq); err != nil {
			return err
		}
		stale := mergePlan{seq: seq + 1, months: map[string]bool{}}
		for _, month := range months {
			stale.months[monthOf(dataset, month)] = true
		}
		touched, err := stale.stalePartitions(dataset)
		if err != nil {
			return err
		}
		if err := w.folder.createMark(w.unpublishedPath(store.id)); err != nil {
			return err
		}
		next := strconv.FormatInt(seq+1, 10)
		slots := []string{"store", store.main(), "seq", next, "first_seq", next,
			"touched", touched, "epoch", statements.Text(w.epoch.String()),
			"dataset", statements.Ident(dataset.Name), "dataset_name", statements.Text(dataset.Name)}
		err = store.changeRows(ctx, conn, func(tx *sql.Tx) error {
			for _, name := range []string{
				"merge/advance_seq", "merge/insert_epoch", "erasure/insert_tombstones", "erasure/delete_rows",
			} {
				if _, err := tx.ExecContext(ctx, statements.Fill(name, slots...)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A database executes statements: it is a connection or a transaction.
type database interface {
	querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// eraseRecords deletes the idempotency records that name an erased identity, and replaces ids in the states of sources.
// store is the schema of their tables.
func eraseRecords(ctx context.Context, db database, store string, matcher erasure.Matcher) error {
	pushes, err := queryPairs(ctx, db, "SELECT key, outcome::VARCHAR FROM "+store+".pushes")
	if err != nil {
		return err
	}
	for _, push := range pushes {
		if !matcher.Matches(push[0]) && !matcher.Matches(push[1]) {
			continue
		}
		_, err := db.ExecContext(ctx, "DELETE FROM "+store+".pushes WHERE key = $key", sql.Named("key", push[0]))
		if err != nil {
			return err
		}
	}
	return eraseStates(ctx, db, store, matcher)
}

// eraseStates replaces erased ids in the states of sources by an id that no row has. A source that continues at such an
// id reads some rows again.
func eraseStates(ctx context.Context, db database, store string, matcher erasure.Matcher) error {
	ids := erasure.Matcher{Has: func(key erasure.Key) bool {
		return key.IsRow() && matcher.Has(key)
	}}
	states, err := queryPairs(ctx, db, "SELECT source, state::VARCHAR FROM "+store+".source_states")
	if err != nil {
		return err
	}
	for _, state := range states {
		text, changed := ids.Redact(state[1], uuid.Nil.String())
		if !changed {
			continue
		}
		_, err := db.ExecContext(ctx, "UPDATE "+store+".source_states SET state = $state WHERE source = $source",
			sql.Named("state", text), sql.Named("source", state[0]))
		if err != nil {
			return err
		}
	}
	return nil
}

// queryPairs returns the two columns of a query, as texts.
func queryPairs(ctx context.Context, db querier, query string) (pairs [][2]string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var pair [2]string
		if err := rows.Scan(&pair[0], &pair[1]); err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, rows.Err()
}

// eraseRuns removes erased identities from the errors of the last runs of sources, and from the states of the sources
// of many tenants.
func (w *Warehouse) eraseRuns(ctx context.Context, matcher erasure.Matcher) error {
	runs, err := w.Runs(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		var changed bool
		if run.Error, changed = matcher.Redact(run.Error, redacted); changed {
			if err := w.SaveRun(ctx, run); err != nil {
				return err
			}
		}
	}
	return eraseStates(ctx, w.control, "main", matcher)
}
