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

// An ImportedKey is a key that another system created. Only its digest is known here.
type ImportedKey struct {
	ID, Tenant    uuid.UUID
	Type          KeyType
	Label, Prefix string
	Digest        [sha256.Size]byte // SHA-256 of the key
	CreatedAt     time.Time
	RevokedAt     *time.Time // nil: not revoked
}

// ImportKeys makes the keys of a source match the list. It adds keys that are new, and revokes keys that are revoked at
// the source or are not in the list. A revoked key stays revoked.
func (w *Warehouse) ImportKeys(ctx context.Context, source string, imported []ImportedKey) error {
	for _, key := range imported {
		if err := w.registerTenant(ctx, key.Tenant); err != nil {
			return err
		}
	}
	w.keys.changing.Lock()
	defer w.keys.changing.Unlock()
	tx, err := begin(ctx, w.control)
	if err != nil {
		return fmt.Errorf("import keys of %s: %w", source, err)
	}
	changed, err := w.keys.writeImport(ctx, tx, source, imported)
	if err != nil {
		return errors.Join(fmt.Errorf("import keys of %s: %w", source, err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("import keys of %s: %w", source, err)
	}
	for _, key := range changed {
		key.activate()
	}
	w.keys.put(changed...)
	return nil
}

// writeImport writes the changes of an import to the control database. It returns the new and revoked keys, which the
// caller puts into the keyring after the commit. The caller holds changing.
func (r *keyring) writeImport(
	ctx context.Context, tx *sql.Tx, source string, imported []ImportedKey,
) (changed []*storedKey, err error) {
	revoke := func(key *storedKey) error {
		_, err := tx.ExecContext(ctx, statements.Get("control/revoke_key"),
			sql.Named("id", key.ID.String()), sql.Named("at", *key.RevokedAt))
		return err
	}
	upstream := map[keyDigest]ImportedKey{}
	for _, key := range imported {
		upstream[key.Digest] = key
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, stored := range r.keys {
		key, listed := upstream[stored.digest]
		if stored.Source != source || stored.RevokedAt != nil || listed && key.RevokedAt == nil {
			continue
		}
		revoked := *stored
		revoked.RevokedAt = &now
		if listed {
			revoked.RevokedAt = key.RevokedAt
		}
		if err := revoke(&revoked); err != nil {
			return nil, err
		}
		changed = append(changed, &revoked)
	}
	for digest, key := range upstream {
		if r.keys[digest] != nil {
			continue
		}
		added := &storedKey{digest: digest, Key: Key{
			ID: key.ID, Tenant: key.Tenant, Type: key.Type, Prefix: key.Prefix, Source: source,
			KeySettings: KeySettings{Label: key.Label, Origins: []string{}},
			CreatedAt:   key.CreatedAt.UTC(), RevokedAt: key.RevokedAt,
		}}
		if err := added.insert(ctx, tx); err != nil {
			return nil, err
		}
		if added.RevokedAt != nil {
			if err := revoke(added); err != nil {
				return nil, err
			}
		}
		changed = append(changed, added)
	}
	return changed, nil
}
