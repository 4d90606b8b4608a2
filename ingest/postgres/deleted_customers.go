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
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Customer identifies a customer of a tenant.
type Customer struct{ Tenant, ID uuid.UUID }

// Compare compares two customers by Tenant and then ID, each by its bytes. That is also the order of their texts.
func (c Customer) Compare(other Customer) int {
	return cmp.Or(bytes.Compare(c.Tenant[:], other.Tenant[:]), bytes.Compare(c.ID[:], other.ID[:]))
}

// findDeleted emits the customers that the warehouse has and the snapshot does not.
func (p *syncRun) findDeleted(ctx context.Context) error {
	if p.options.Known == nil {
		return nil
	}
	const action = "look for deleted customers"
	declare := "DECLARE current_customers NO SCROLL CURSOR FOR " + p.render("current_customers")
	if _, err := p.tx.Exec(ctx, declare); err != nil {
		return explainError(ctx, action, err)
	}
	current := &customerCursor{tx: p.tx}
	var after Customer
	for {
		known, err := p.options.Known(ctx, after, pageRows)
		if err != nil {
			return err
		}
		if len(known) == 0 {
			_, err := p.tx.Exec(ctx, "CLOSE current_customers")
			return explainError(ctx, action, err)
		}
		var deletions bytes.Buffer // NDJSON
		for _, customer := range known {
			if customer.Compare(after) <= 0 { // otherwise existing customers would look deleted
				return fmt.Errorf("known customers are out of order: %v after %v", customer, after)
			}
			after = customer
			exists, err := current.contains(ctx, customer)
			if err == nil && !exists {
				exists, err = p.isForeign(ctx, customer.Tenant)
			}
			if err != nil {
				return explainError(ctx, action, err)
			}
			if !exists {
				fmt.Fprintf(&deletions, `{"user_id":%q,"id":%q,"deleted_at":%q}`+"\n",
					customer.Tenant, customer.ID, p.now.UTC().Format(time.RFC3339Nano))
			}
		}
		if deletions.Len() == 0 {
			continue
		}
		if err := p.take(ctx, ingest.Portion{Dataset: schema.Customers, Rows: &deletions}); err != nil {
			return err
		}
	}
}

// isForeign reports whether the database has no rows of the tenant, so that nothing can be said about its customers. It
// caches the result for the last tenant.
func (p *syncRun) isForeign(ctx context.Context, tenant uuid.UUID) (bool, error) {
	if p.foreignCache.tenant != tenant {
		var exists bool
		if err := p.tx.QueryRow(ctx, p.render("tenant_exists"), tenant).Scan(&exists); err != nil {
			return false, err
		}
		p.foreignCache.tenant, p.foreignCache.foreign = tenant, !exists
	}
	return p.foreignCache.foreign, nil
}

// A customerCursor reads the customers of the snapshot in the order of Customer.Compare.
type customerCursor struct {
	tx    pgx.Tx
	page  []Customer
	ended bool
}

// contains reports whether the customer exists. Customers must be passed in ascending order.
func (l *customerCursor) contains(ctx context.Context, c Customer) (bool, error) {
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
		rows, err := l.tx.Query(ctx, fmt.Sprintf("FETCH %d FROM current_customers", pageRows))
		if err != nil {
			return false, err
		}
		if l.page, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Customer]); err != nil {
			return false, err
		}
		l.ended = len(l.page) < pageRows
	}
}
