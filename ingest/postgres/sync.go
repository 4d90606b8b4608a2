package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A syncRun is one call of Source.Pull: a transaction and the tables found in it.
type syncRun struct {
	*Source
	*deployment
	take func(context.Context, ingest.Portion) error
	tx   pgx.Tx
	now  time.Time // time of the snapshot

	done, total  int64 // rows read, and an estimate of all rows; total is 0 if unknown
	foreignCache struct {
		tenant  uuid.UUID
		foreign bool
	}
}

// prepare begins the transaction and inspects the tables. It returns the time from which rows are to be read, or nil if
// all rows are.
func (p *syncRun) prepare(ctx context.Context, previous state) (since *time.Time, err error) {
	if _, err := p.tx.Exec(ctx, statement("session_settings"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, explainError(ctx, "begin the transaction", err)
	}
	if err := p.tx.QueryRow(ctx, "SELECT now()").Scan(&p.now); err != nil {
		return nil, explainError(ctx, "take the snapshot", err)
	}
	if p.deployment, err = inspect(ctx, p.tx); err != nil {
		return nil, explainError(ctx, "inspect the platform's tables", err)
	}
	missing := p.deployment.missing
	if !slices.Equal(missing, p.Source.missing) && len(missing) > 0 {
		p.options.Log.WarnContext(ctx, "tables or columns are missing in the platform's database",
			"missing", strings.Join(missing, ", "))
	}
	p.Source.missing = missing
	recovered := slices.ContainsFunc(previous.Missing, func(name string) bool { return !slices.Contains(missing, name) })
	if previous.Since.IsZero() || recovered {
		for _, t := range tables {
			if p.hasDataset(t) {
				p.total += p.tables[t.name].rows
			}
		}
		return nil, nil
	}
	from := previous.Since
	if p.now.Before(from) {
		from = p.now // the database's clock was set back, or the database was restored
	}
	from = from.Add(-p.options.Window)
	return &from, nil
}

// readAll emits the keys, the deleted customers and all rows since the given time. The last portion contains the state,
// so that a pull that fails earlier is repeated.
func (p *syncRun) readAll(ctx context.Context, since *time.Time) error {
	if err := p.importKeys(ctx); err != nil {
		return err
	}
	var readable []table
	var readers []*rowReader
	for _, t := range tables {
		if !p.hasDataset(t) {
			continue
		}
		if t.dataset.Name == schema.Customers.Name {
			if err := p.findDeleted(ctx); err != nil {
				return err
			}
		}
		reader, err := p.openTable(ctx, t, since)
		if err != nil {
			return err
		}
		if len(readers) > 0 {
			readers[len(readers)-1].next = reader
		}
		readable, readers = append(readable, t), append(readers, reader)
	}
	for i, t := range readable {
		portion := ingest.Portion{Dataset: t.dataset, Absent: p.missingFields(t), Rows: readers[i]}
		if i == len(readable)-1 {
			var err error
			if portion.State, err = json.Marshal(state{Since: p.now, Missing: p.deployment.missing}); err != nil {
				return err
			}
		}
		if err := p.take(ctx, portion); err != nil {
			return err
		}
		if err := readers[i].err; err != nil && !readers[i].complete() {
			return err // even if take ignored it
		}
		if err := readers[i].close(); err != nil {
			return err
		}
	}
	return nil
}

// openTable declares a cursor over the table and returns a reader of its rows.
func (p *syncRun) openTable(ctx context.Context, t table, since *time.Time) (*rowReader, error) {
	action, cursor := "read "+t.name, pgx.Identifier{t.name + "_page"}.Sanitize()
	if _, err := p.tx.Exec(ctx, "DECLARE "+cursor+" NO SCROLL CURSOR FOR "+p.render(t.dataset.Name), since); err != nil {
		return nil, explainError(ctx, action, err)
	}
	return openRows(ctx, p.tx.Conn().PgConn(), cursor, action, p.addProgress)
}

// addProgress reports that further rows have been read.
func (p *syncRun) addProgress(rows int64) {
	p.done += rows
	if p.options.Progress != nil {
		p.options.Progress(p.done, p.total)
	}
}
