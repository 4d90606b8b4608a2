package warehouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// TakenKey is a key that another system made, without its text.
type TakenKey struct {
	ID, Tenant    uuid.UUID
	Type          KeyType
	Label, Prefix string
	Digest        [sha256.Size]byte // SHA-256 of the key
	CreatedAt     time.Time
	RevokedAt     *time.Time // nil: it is good
}

// TakeKeys takes over all keys of a source: those that are new are good here, too, and those that are revoked there, or not
// there any more, are revoked here. A key that is revoked stays so.
func (w *Warehouse) TakeKeys(ctx context.Context, source string, taken []TakenKey) error {
	for _, key := range taken {
		if err := w.registerTenant(ctx, key.Tenant); err != nil {
			return err
		}
	}
	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	tx, err := begin(ctx, w.control)
	if err != nil {
		return fmt.Errorf("take keys of %s: %w", source, err)
	}
	done, err := w.keys.take(ctx, tx, source, taken)
	if err != nil {
		return errors.Join(fmt.Errorf("take keys of %s: %w", source, w.diagnose(err)), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("take keys of %s: %w", source, w.diagnose(err))
	}
	done()
	return nil
}

// take writes what is to change; done changes the keyring accordingly.
func (r *keyring) take(ctx context.Context, tx *sql.Tx, source string, taken []TakenKey) (done func(), err error) {
	there := map[[sha256.Size]byte]TakenKey{}
	for _, key := range taken {
		there[key.Digest] = key
	}
	var add, revoke []*storedKey
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, bucket := range r.buckets {
		for _, key := range bucket {
			upstream, listed := there[key.digest]
			delete(there, key.digest) // it is here already
			if key.Source != source || key.RevokedAt != nil || listed && upstream.RevokedAt == nil {
				continue
			}
			at := now
			if listed {
				at = *upstream.RevokedAt
			}
			if _, err := tx.ExecContext(ctx, statements.Get("control/revoke_key"), sql.Named("id", key.ID.String()), sql.Named("at", at)); err != nil {
				return nil, err
			}
			changed := *key
			changed.RevokedAt = &at
			revoke = append(revoke, &changed)
		}
	}
	for _, upstream := range taken {
		if _, missing := there[upstream.Digest]; !missing {
			continue
		}
		delete(there, upstream.Digest)
		key := &storedKey{digest: upstream.Digest, Key: Key{ID: upstream.ID, Tenant: upstream.Tenant, Type: upstream.Type, Prefix: upstream.Prefix, Source: source,
			KeySettings: KeySettings{Label: upstream.Label, Origins: []string{}}, CreatedAt: upstream.CreatedAt.UTC(), RevokedAt: upstream.RevokedAt}}
		if err := key.insert(ctx, tx); err != nil {
			return nil, err
		}
		if key.RevokedAt != nil {
			if _, err := tx.ExecContext(ctx, statements.Get("control/revoke_key"), sql.Named("id", key.ID.String()), sql.Named("at", *key.RevokedAt)); err != nil {
				return nil, err
			}
		}
		add = append(add, key)
	}
	return func() {
		for _, key := range add {
			r.add(key)
		}
		for _, key := range revoke {
			r.replace(key)
		}
	}, nil
}

// Customer says whose customer is meant, and which.
type Customer struct{ Tenant, ID uuid.UUID }

// CustomersAfter lists customers of all tenants by tenant, then id, both by their bytes: up to limit that come after one.
func (w *Warehouse) CustomersAfter(ctx context.Context, after Customer, limit int) ([]Customer, error) {
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tenants, func(a, b Tenant) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var found []Customer
	for _, tenant := range tenants {
		switch bytes.Compare(tenant.ID[:], after.Tenant[:]) {
		case -1:
			continue
		case 1:
			after = Customer{Tenant: tenant.ID}
		}
		ids, err := w.customerIDs(ctx, after, limit-len(found))
		if err != nil {
			return nil, fmt.Errorf("customers of tenant %s: %w", tenant.ID, err)
		}
		for _, id := range ids {
			found = append(found, Customer{tenant.ID, id})
		}
		if len(found) == limit {
			break
		}
	}
	return found, nil
}

func (w *Warehouse) customerIDs(ctx context.Context, after Customer, limit int) (ids []uuid.UUID, err error) {
	if _, err := os.Stat(w.tenantPath(after.Tenant)); errors.Is(err, os.ErrNotExist) {
		return nil, nil // it has a key, and no rows: the first of these are to make its file
	}
	store, release, err := w.tenant(ctx, after.Tenant)
	if err != nil {
		return nil, err
	}
	defer release()
	rows, err := store.db.QueryContext(ctx, statements.Get("pages/customer_ids"), sql.Named("id", after.ID.String()), sql.Named("limit", limit))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
