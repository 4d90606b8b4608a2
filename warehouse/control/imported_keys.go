package control

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
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

// A KeySource is a source of keys.
type KeySource struct {
	Name   string               // recorded with its keys
	Former string               // name in earlier versions, which may be recorded with its keys; "": none
	Limit  schema.DeletionLimit // share of the valid keys that one import may revoke because they are missing
}

// owns reports whether the key was imported from the source.
func (s KeySource) owns(key *storedKey) bool {
	return key.Source != "" && (key.Source == s.Name || key.Source == s.Former)
}

// ImportKeys makes the keys of a source match the list. It adds keys that are new, moves keys to their present tenant,
// and revokes keys that are revoked at the source or are not in the list. The revocation of a missing key is inferred:
// the key is valid again once a source lists it. Every other revocation is permanent. ImportKeys returns
// ErrTooManyDeletions and changes nothing if more keys are missing than the limit allows. Keys of deleted tenants are
// left out.
func (d *DB) ImportKeys(ctx context.Context, source KeySource, imported []ImportedKey) error {
	imported = slices.DeleteFunc(slices.Clone(imported), func(key ImportedKey) bool {
		return d.CheckDeleted(key.Tenant) != nil
	})
	for _, key := range imported {
		if err := d.RegisterTenant(ctx, key.Tenant); err != nil {
			return err
		}
	}
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	changes, err := d.keys.compare(source, imported)
	if err != nil {
		return fmt.Errorf("import keys of %s: %w", source.Name, err)
	}
	records := make([]*storedKey, len(changes))
	for i, change := range changes {
		records[i] = change.key
	}
	if err := d.record(records...); err != nil {
		return fmt.Errorf("import keys of %s: %w", source.Name, err)
	}
	tx, err := duckdb.Begin(ctx, d.db)
	if err != nil {
		return fmt.Errorf("import keys of %s: %w", source.Name, err)
	}
	for _, change := range changes {
		if err := change.write(ctx, tx); err != nil {
			return errors.Join(fmt.Errorf("import keys of %s: %w", source.Name, err), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("import keys of %s: %w", source.Name, err)
	}
	for _, change := range changes {
		change.key.activate()
		d.keys.put(change.key)
		if change.stored != nil {
			change.stored.revoke(ErrRevokedKey) // requests under way have the rights of the former record
		}
	}
	return nil
}

// A keyChange replaces a stored key by another record of it.
type keyChange struct {
	key    *storedKey
	stored *storedKey // nil: the key is new
}

// compare returns the changes that an import makes, or ErrTooManyDeletions. The caller holds changing.
func (r *keyring) compare(source KeySource, imported []ImportedKey) (changes []keyChange, err error) {
	upstream := map[keyDigest]ImportedKey{}
	for _, key := range imported {
		upstream[key.Digest] = key
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	ids := map[uuid.UUID]bool{}
	var valid, missing int64
	for _, stored := range r.keys {
		ids[stored.ID] = true
		key := &storedKey{digest: stored.digest, Key: stored.public(), revocationInferred: stored.revocationInferred}
		listed, ok := upstream[stored.digest]
		own := source.owns(stored)
		if own && stored.RevokedAt == nil {
			valid++
		}
		switch {
		case ok && (own || stored.Source != "" && stored.revocationInferred):
			key.adopt(source, listed)
		case !ok && own && stored.RevokedAt == nil:
			missing++
			key.RevokedAt, key.revocationInferred = &now, true
		}
		if key.differs(stored) {
			changes = append(changes, keyChange{key, stored})
		}
	}
	for digest, key := range upstream {
		if r.keys[digest] == nil {
			if ids[key.ID] { // the text of the key was replaced, and the former text keeps the id
				key.ID = uuid.New()
			}
			ids[key.ID] = true
			added := &storedKey{digest: digest, Key: Key{
				ID: key.ID, Tenant: key.Tenant, Type: key.Type, Prefix: key.Prefix, Source: source.Name,
				KeySettings: KeySettings{Label: key.Label, Origins: []string{}},
				CreatedAt:   key.CreatedAt.UTC(), RevokedAt: key.RevokedAt,
			}}
			changes = append(changes, keyChange{key: added})
		}
	}
	return changes, source.Limit.Check("API keys", missing, valid)
}

// adopt changes the key to the record that its source lists. A revocation that was not inferred stays.
func (k *storedKey) adopt(source KeySource, listed ImportedKey) {
	k.Source, k.Tenant = source.Name, listed.Tenant
	if k.Type != listed.Type {
		k.Type = listed.Type
		k.KeySettings = KeySettings{Label: k.Label, ExpiresAt: k.ExpiresAt, RateLimit: k.RateLimit, Origins: []string{}}
	}
	if k.RevokedAt == nil || k.revocationInferred {
		k.RevokedAt, k.revocationInferred = listed.RevokedAt, false
	}
}

// differs reports whether an import changed the key.
func (k *storedKey) differs(stored *storedKey) bool {
	return k.Source != stored.Source || k.Tenant != stored.Tenant || k.Type != stored.Type ||
		(k.RevokedAt == nil) != (stored.RevokedAt == nil) || k.revocationInferred != stored.revocationInferred
}

// write writes the change to the control database.
func (c keyChange) write(ctx context.Context, tx *sql.Tx) error {
	if c.stored == nil {
		if err := c.key.insert(ctx, tx); err != nil {
			return err
		}
	} else if c.key.Type != c.stored.Type {
		_, err := tx.ExecContext(ctx, statements.Get("control/update_key"),
			append(c.key.args(), sql.Named("id", c.key.ID.String()))...)
		if err != nil {
			return err
		}
	}
	var revokedAt any // the driver rejects a nil pointer
	if c.key.RevokedAt != nil {
		revokedAt = *c.key.RevokedAt
	}
	_, err := tx.ExecContext(ctx, statements.Get("control/adopt_key"), sql.Named("id", c.key.ID.String()),
		sql.Named("tenant", c.key.Tenant.String()), sql.Named("type", string(c.key.Type)),
		sql.Named("source", c.key.Source), sql.Named("revoked_at", revokedAt),
		sql.Named("inferred", c.key.revocationInferred))
	return err
}
