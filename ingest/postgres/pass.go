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
	"github.com/voicory/warehouse/warehouse"
)

// pass is one Pull: a transaction, and what was found in it.
type pass struct {
	*Source
	*deployment
	take func(context.Context, ingest.Portion) error
	tx   pgx.Tx
	now  time.Time // of the snapshot

	done, total int64 // rows
	asked       struct {
		tenant    uuid.UUID
		elsewhere bool
	}
}

// look finds out what there is, and from when on it is to be read; nil: everything.
func (p *pass) look(ctx context.Context, before state) (since *time.Time, err error) {
	if _, err := p.tx.Exec(ctx, statement("begin"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, explain(ctx, "begin the transaction", err)
	}
	if err := p.tx.QueryRow(ctx, "SELECT now()").Scan(&p.now); err != nil {
		return nil, explain(ctx, "take the snapshot", err)
	}
	if p.deployment, err = inspect(ctx, p.tx); err != nil {
		return nil, explain(ctx, "look the platform's tables up", err)
	}
	lacking := p.deployment.missing
	if !slices.Equal(lacking, p.Source.missing) && len(lacking) > 0 {
		p.options.Log.WarnContext(ctx, "the platform's database lacks some of what could be read", "missing", strings.Join(lacking, ", "))
	}
	p.Source.missing = lacking
	regained := slices.ContainsFunc(before.Missing, func(name string) bool { return !slices.Contains(lacking, name) })
	if before.Since.IsZero() || regained {
		for _, t := range tables {
			if p.gives(t) {
				p.total += p.tables[t.name].rows
			}
		}
		return nil, nil
	}
	from := before.Since
	if p.now.Before(from) {
		from = p.now // the database's clock went back, or all of the database did
	}
	from = from.Add(-p.options.Window)
	return &from, nil
}

// run hands out everything since then. The state goes with the last portion: what failed before is repeated.
func (p *pass) run(ctx context.Context, since *time.Time) error {
	if err := p.keys(ctx); err != nil {
		return err
	}
	var given []table
	for _, t := range tables {
		if p.gives(t) {
			given = append(given, t)
		}
	}
	for i, t := range given {
		portion := ingest.Portion{Dataset: t.dataset, Absent: p.absent(t)}
		if i == len(given)-1 {
			var err error
			if portion.State, err = json.Marshal(state{Since: p.now, Missing: p.deployment.missing}); err != nil {
				return err
			}
		}
		if err := p.give(ctx, t, portion, since); err != nil {
			return err
		}
		if t.dataset.Name == warehouse.Customers.Name {
			if err := p.deleted(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// give hands one dataset out, as one portion.
func (p *pass) give(ctx context.Context, t table, portion ingest.Portion, since *time.Time) error {
	if _, err := p.tx.Exec(ctx, "DECLARE page NO SCROLL CURSOR FOR "+p.fill(t.dataset.Name), since); err != nil {
		return explain(ctx, "read "+t.name, err)
	}
	rows, err := openRows(ctx, p.tx.Conn().PgConn(), "page", "read "+t.name, p.count)
	if err != nil {
		return err
	}
	portion.Rows = rows
	if err := p.take(ctx, portion); err != nil {
		return err
	}
	if rows.err != nil && !rows.ended() {
		return rows.err // whatever take made of it
	}
	if err := rows.close(); err != nil {
		return err
	}
	_, err = p.tx.Exec(ctx, "CLOSE page")
	return explain(ctx, "read "+t.name, err)
}

// count tells of rows that were read.
func (p *pass) count(rows int64) {
	p.done += rows
	if p.options.Progress != nil {
		p.options.Progress(p.done, p.total)
	}
}
