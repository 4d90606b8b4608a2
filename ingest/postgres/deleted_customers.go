package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Customer identifies a customer of a tenant.
type Customer struct {
	Tenant, ID uuid.UUID
	Deleted    bool // deleted in the warehouse, because an earlier pull did not find it
}

// Compare compares two customers by Tenant and then ID, each by its bytes. That is also the order of their texts.
func (c Customer) Compare(other Customer) int {
	return cmp.Or(bytes.Compare(c.Tenant[:], other.Tenant[:]), bytes.Compare(c.ID[:], other.ID[:]))
}

// A customerComparison lists the differences between the customers of the warehouse and those of the snapshot.
type customerComparison struct {
	missing []Customer // to be deleted: the snapshot has no such customer of the tenant
	again   []string   // ids to be read again whatever their time: of customers that came back or changed their tenant
}

// maxAgain is the maximum number of ids that a statement reads again. If there are more, all customers are read.
const maxAgain = 10_000

// compareCustomers compares the customers of the warehouse with those of the snapshot. It returns
// schema.ErrTooManyDeletions if the snapshot lacks an implausible share of them.
func (p *syncRun) compareCustomers(ctx context.Context) (found customerComparison, err error) {
	if p.options.Known == nil || !p.hasDataset(customersTable) {
		return found, nil
	}
	live, err := p.mergeCustomers(ctx, &found)
	if err != nil {
		return found, p.explainError(ctx, "look for deleted customers", err)
	}
	moved, err := p.movedCustomers(ctx, found.missing)
	if err != nil {
		return found, p.explainError(ctx, "look for customers of other tenants", err)
	}
	var gone, foreign int64
	missing := found.missing[:0]
	for _, customer := range found.missing {
		if id := customer.ID.String(); moved[id] {
			found.again, missing = append(found.again, id), append(missing, customer)
			continue
		}
		unknown, err := p.isForeign(ctx, customer.Tenant)
		if err != nil {
			return found, p.explainError(ctx, "look for deleted customers", err)
		}
		if unknown {
			foreign++
			continue
		}
		gone, missing = gone+1, append(missing, customer)
	}
	found.missing = missing
	return found, p.options.MaxDeleted.Check("customers", gone, live-foreign)
}

// mergeCustomers merges the sorted lists of the customers of the warehouse and of the snapshot. It adds those that the
// snapshot lacks to missing, and those that were deleted in the warehouse and that the snapshot has to again. It
// returns the number of customers that the warehouse has.
func (p *syncRun) mergeCustomers(ctx context.Context, found *customerComparison) (live int64, err error) {
	declare := "DECLARE current_customers NO SCROLL CURSOR FOR " + p.render("current_customers")
	if _, err := p.tx.Exec(ctx, declare); err != nil {
		return 0, err
	}
	current := &customerCursor{tx: p.tx}
	var after Customer
	for {
		known, err := p.options.Known(ctx, after, pageRows)
		if err != nil {
			return 0, err
		}
		if len(known) == 0 {
			_, err := p.tx.Exec(ctx, "CLOSE current_customers")
			return live, err
		}
		for _, customer := range known {
			if customer.Compare(after) <= 0 { // otherwise existing customers would look deleted
				return 0, fmt.Errorf("known customers are out of order: %v after %v", customer, after)
			}
			after = customer
			exists, err := current.contains(ctx, customer)
			switch {
			case err != nil:
				return 0, err
			case customer.Deleted && exists:
				found.again = append(found.again, customer.ID.String())
			case !customer.Deleted:
				live++
				if !exists {
					found.missing = append(found.missing, customer)
				}
			}
		}
	}
}

// movedCustomers returns the ids of the missing customers that the snapshot has under another tenant.
func (p *syncRun) movedCustomers(ctx context.Context, missing []Customer) (map[string]bool, error) {
	moved := map[string]bool{}
	for chunk := range slices.Chunk(missing, pageRows) {
		ids := make([]string, len(chunk))
		for i, customer := range chunk {
			ids[i] = customer.ID.String()
		}
		rows, err := p.tx.Query(ctx, p.render("existing_customers"), ids)
		if err != nil {
			return nil, err
		}
		var id string
		if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { moved[id] = true; return nil }); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// emitDeleted emits customers as deleted at the time of the snapshot.
func (p *syncRun) emitDeleted(ctx context.Context, missing []Customer) error {
	for chunk := range slices.Chunk(missing, pageRows) {
		var deletions bytes.Buffer // NDJSON
		for _, customer := range chunk {
			fmt.Fprintf(&deletions, `{"user_id":%q,"id":%q,"deleted_at":%q}`+"\n",
				customer.Tenant, customer.ID, p.now.UTC().Format(time.RFC3339Nano))
		}
		if err := p.take(ctx, ingest.Portion{Dataset: schema.Customers, Rows: &deletions, Inferred: true}); err != nil {
			return err
		}
	}
	return nil
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
			return l.page[0].Compare(c) == 0, nil
		}
		if l.ended {
			return false, nil
		}
		rows, err := l.tx.Query(ctx, fmt.Sprintf("FETCH %d FROM current_customers", pageRows))
		if err != nil {
			return false, err
		}
		if l.page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Customer, err error) {
			return c, row.Scan(&c.Tenant, &c.ID)
		}); err != nil {
			return false, err
		}
		l.ended = len(l.page) < pageRows
	}
}
