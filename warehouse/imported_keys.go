package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// TakenKey is a key that another system made, without its text.
type ImportedKey struct {
	ID, Tenant    uuid.UUID
	Type          KeyType
	Label, Prefix string
	Digest        [sha256.Size]byte // SHA-256 of the key
	CreatedAt     time.Time
	RevokedAt     *time.Time // nil: it is good
}

// TakeKeys takes over all keys of a source: those that are new are good here, too, and those that are revoked there, or not
// there any more, are revoked here. A key that is revoked stays so.
func (w *Warehouse) ImportKeys(ctx context.Context, source string, taken []ImportedKey) error {
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
	done, err := w.keys.planImport(ctx, tx, source, taken)
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
func (r *keyring) planImport(ctx context.Context, tx *sql.Tx, source string, taken []ImportedKey) (done func(), err error) {
	there := map[[sha256.Size]byte]ImportedKey{}
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
