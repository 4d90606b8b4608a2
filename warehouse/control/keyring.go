package control

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// A keyring holds every key in memory, so that authentication needs no query.
//
// Authentication takes mu on every request, so mu is never held while the control database is written. A change of keys
// holds changing from start to end: it reads the keyring, writes the control database, and then takes mu to swap in the
// new keys. Lock order: changing, then mu.
type keyring struct {
	changing sync.Mutex   // serializes changes of keys; held while the control database is written
	mu       sync.RWMutex // guards keys; the holder of changing may read keys without it
	keys     map[keyDigest]*storedKey
	damaged  map[uuid.UUID]error // rows that load could not read, until UseJournal replaces them; guarded by changing
}

// load reads all keys from the control database. A damaged row makes only its own key unknown. load is called once,
// before the keyring is shared.
func (r *keyring) load(ctx context.Context, control *sql.DB) error {
	rows, err := control.QueryContext(ctx, statements.Get("control/select_keys"))
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	defer rows.Close()
	r.keys, r.damaged = map[keyDigest]*storedKey{}, map[uuid.UUID]error{}
	for rows.Next() {
		var key storedKey
		var digest []byte
		var origins string
		if err := rows.Scan(&key.ID, &key.Tenant, &key.Type, &key.Label, &key.Prefix, &digest, &key.CreatedAt,
			&key.RevokedAt, &key.ExpiresAt, &key.LastUsedAt, &key.RateLimit, &origins, &key.Source,
			&key.QueryRows, &key.QueryBytes, &key.QueryTime, &key.revocationInferred, &key.AllowErase); err != nil {
			return fmt.Errorf("load keys: %w", err)
		}
		if err := json.Unmarshal([]byte(origins), &key.Origins); err != nil {
			r.damaged[key.ID] = fmt.Errorf("key %s: origins: %w", key.ID, err)
			continue
		}
		if len(digest) != len(key.digest) {
			r.damaged[key.ID] = fmt.Errorf("key %s: its hash has %d bytes instead of %d", key.ID, len(digest),
				len(key.digest))
			continue
		}
		key.digest = keyDigest(digest)
		key.activate()
		r.keys[key.digest] = &key
	}
	return rows.Err()
}

// put adds keys, or replaces those with the same digest. The caller holds changing and has activated the keys.
func (r *keyring) put(keys ...*storedKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		r.keys[key.digest] = key
	}
}

// find returns the key with the id, or nil. The caller holds mu or changing.
func (r *keyring) find(id uuid.UUID) *storedKey {
	for _, key := range r.keys {
		if key.ID == id {
			return key
		}
	}
	return nil
}

// remove removes the keys of a tenant and invalidates them. The caller holds changing.
func (r *keyring) remove(tenant uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for digest, key := range r.keys {
		if key.Tenant == tenant {
			key.revoke(ErrInvalidKey)
			delete(r.keys, digest)
		}
	}
}

// end invalidates every key, which cancels the contexts that Authenticate returned.
func (r *keyring) end() {
	r.changing.Lock()
	defer r.changing.Unlock()
	for _, key := range r.keys {
		key.revoke(context.Canceled)
	}
}

// A keyDigest is the SHA-256 of a key.
type keyDigest [sha256.Size]byte

// A storedKey is a key of the keyring. It is immutable except for used; a change of its settings replaces it.
type storedKey struct {
	Key
	digest             keyDigest
	revocationInferred bool // revoked only because its source no longer listed it
	used               *keyUse
	// alive is done when the key is revoked, also for requests that began under earlier settings of the key.
	alive  context.Context
	revoke context.CancelCauseFunc
	expiry *keyExpiry // nil if the key never expires
}

// keyUse records the last use of a key and the part of it that is in the control database. Both are Unix
// milliseconds; 0 means never.
type keyUse struct{ at, saved atomic.Int64 }

// activate sets up the contexts of the key. It must be called before the key is put into the keyring.
func (k *storedKey) activate() {
	if k.alive == nil {
		k.used = new(keyUse)
		if k.LastUsedAt != nil {
			k.used.at.Store(k.LastUsedAt.UnixMilli())
			k.used.saved.Store(k.LastUsedAt.UnixMilli())
		}
		k.alive, k.revoke = context.WithCancelCause(context.Background())
	}
	k.expiry = nil
	if k.ExpiresAt != nil {
		k.expiry = newKeyExpiry(k.alive, *k.ExpiresAt, time.Now)
	}
	if k.RevokedAt != nil {
		k.revoke(ErrRevokedKey)
	}
}

// public returns the key as callers see it, with the time of its last use.
func (k *storedKey) public() Key {
	key := k.Key
	if used := k.used.at.Load(); used != 0 {
		at := time.UnixMilli(used).UTC()
		key.LastUsedAt = &at
	}
	return key
}

// valid returns a context that is done when the key is revoked or expires; its cause is ErrRevokedKey or ErrExpiredKey.
func (k *storedKey) valid() context.Context {
	if k.expiry == nil {
		return k.alive
	}
	return k.expiry.context()
}

// authenticate records a use of the key and returns it, or returns it with ErrRevokedKey or ErrExpiredKey.
func (k *storedKey) authenticate() (key Key, valid context.Context, err error) {
	valid = k.valid()
	if err := context.Cause(valid); err != nil {
		return k.public(), nil, err
	}
	k.used.at.Store(time.Now().UnixMilli())
	return k.public(), valid, nil
}

// insert inserts the key into the control database.
func (k *storedKey) insert(ctx context.Context, control execer) error {
	_, err := control.ExecContext(ctx, statements.Get("control/insert_key"), append(k.args(),
		idArg(k.ID),
		sql.Named("tenant", k.Tenant.String()),
		sql.Named("type", string(k.Type)),
		sql.Named("source", k.Source),
		sql.Named("prefix", k.Prefix),
		sql.Named("sha256", slices.Clone(k.digest[:])),
		sql.Named("created_at", k.CreatedAt))...)
	return err
}
