package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// Customer says whose customer is meant, and which.
type Customer struct{ Tenant, ID uuid.UUID }

// Compare orders by Tenant, then ID, each by its bytes, which is the order of their texts too.
func (c Customer) Compare(other Customer) int {
	return cmp.Or(bytes.Compare(c.Tenant[:], other.Tenant[:]), bytes.Compare(c.ID[:], other.ID[:]))
}

// deleted hands out the customers that the warehouse knows and the snapshot has not.
func (p *pass) deleted(ctx context.Context) error {
	if p.options.Known == nil {
		return nil
	}
	const doing = "look for deleted customers"
	if _, err := p.tx.Exec(ctx, "DECLARE living NO SCROLL CURSOR FOR "+p.fill("living")); err != nil {
		return explain(ctx, doing, err)
	}
	living := &livingCustomers{tx: p.tx}
	var after Customer
	for {
		known, err := p.options.Known(ctx, after, pageRows)
		if err != nil {
			return err
		}
		if len(known) == 0 {
			_, err := p.tx.Exec(ctx, "CLOSE living")
			return explain(ctx, doing, err)
		}
		var gone bytes.Buffer
		for _, k := range known {
			if k.Compare(after) <= 0 { // a comparison out of order would take living ones for deleted
				return fmt.Errorf("known customers are out of order: %v after %v", k, after)
			}
			after = k
			lives, err := living.has(ctx, k)
			if err == nil && !lives {
				lives, err = p.elsewhere(ctx, k.Tenant)
			}
			if err != nil {
				return explain(ctx, doing, err)
			}
			if !lives {
				fmt.Fprintf(&gone, `{"user_id":%q,"id":%q,"deleted_at":%q}`+"\n", k.Tenant, k.ID, p.now.UTC().Format(time.RFC3339Nano))
			}
		}
		if gone.Len() == 0 {
			continue
		}
		if err := p.take(ctx, ingest.Portion{Dataset: warehouse.Customers, Rows: &gone}); err != nil {
			return err
		}
	}
}

// elsewhere says whether the tenant is none of this database's, so that its customers are nothing to it. It remembers the answer
// for the tenant that it was asked about last.
func (p *pass) elsewhere(ctx context.Context, tenant uuid.UUID) (bool, error) {
	if p.asked.tenant != tenant {
		var ours bool
		if err := p.tx.QueryRow(ctx, p.fill("tenant"), tenant).Scan(&ours); err != nil {
			return false, err
		}
		p.asked.tenant, p.asked.elsewhere = tenant, !ours
	}
	return p.asked.elsewhere, nil
}

// livingCustomers walks through the customers that are there, in order.
type livingCustomers struct {
	tx    pgx.Tx
	page  []Customer
	ended bool
}

// has says whether the customer is there. It must be asked in order.
func (l *livingCustomers) has(ctx context.Context, c Customer) (bool, error) {
	for {
		for len(l.page) > 0 && l.page[0].Compare(c) < 0 {
			l.page = l.page[1:]
		}
		if len(l.page) > 0 {
			return l.page[0] == c, nil
		}
		if l.ended {
			return false, nil
		}
		rows, err := l.tx.Query(ctx, fmt.Sprintf("FETCH %d FROM living", pageRows))
		if err != nil {
			return false, err
		}
		if l.page, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Customer]); err != nil {
			return false, err
		}
		l.ended = len(l.page) < pageRows
	}
}
