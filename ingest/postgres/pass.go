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
	var readers []*rowReader
	for _, t := range tables {
		if !p.gives(t) {
			continue
		}
		if t.dataset.Name == warehouse.Customers.Name {
			if err := p.deleted(ctx); err != nil {
				return err
			}
		}
		reader, err := p.read(ctx, t, since)
		if err != nil {
			return err
		}
		if len(readers) > 0 {
			readers[len(readers)-1].next = reader
		}
		given, readers = append(given, t), append(readers, reader)
	}
	for i, t := range given {
		portion := ingest.Portion{Dataset: t.dataset, Absent: p.absent(t), Rows: readers[i]}
		if i == len(given)-1 {
			var err error
			if portion.State, err = json.Marshal(state{Since: p.now, Missing: p.deployment.missing}); err != nil {
				return err
			}
		}
		if err := p.take(ctx, portion); err != nil {
			return err
		}
		if err := readers[i].err; err != nil && !readers[i].ended() {
			return err // whatever take made of it
		}
		if err := readers[i].close(); err != nil {
			return err
		}
	}
	return nil
}

// read makes the rows of the table ready to be read.
func (p *pass) read(ctx context.Context, t table, since *time.Time) (*rowReader, error) {
	doing, cursor := "read "+t.name, pgx.Identifier{t.name + "_page"}.Sanitize()
	if _, err := p.tx.Exec(ctx, "DECLARE "+cursor+" NO SCROLL CURSOR FOR "+p.fill(t.dataset.Name), since); err != nil {
		return nil, explain(ctx, doing, err)
	}
	return openRows(ctx, p.tx.Conn().PgConn(), cursor, doing, p.count)
}

// count tells of rows that were read.
func (p *pass) count(rows int64) {
	p.done += rows
	if p.options.Progress != nil {
		p.options.Progress(p.done, p.total)
	}
}
