package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// KeyType determines what a key may do. A public key reads the six endpoints of the documented API and nothing else.
type KeyType string

// The types of key, as the platform names them.
const (
	Public KeyType = "public"
	Secret KeyType = "secret"
)

// A Key is the record of an API key. CreateKey returns the text of the key once; only its digest is stored.
type Key struct {
	ID     uuid.UUID `json:"id"`
	Tenant uuid.UUID `json:"tenant_id"`
	Type   KeyType   `json:"type"`
	Prefix string    `json:"prefix"` // first characters of the key, for display
	Source string    `json:"source"` // source that the key was imported from; "" if created here
	KeySettings
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	RevokedAt  *time.Time `json:"revoked_at"`
}

// DamagedKeys returns the faults of rows of keys that cannot be read and that the journal does not have. These keys are
// unknown, and all others are valid.
func (d *DB) DamagedKeys() (faults []error) {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	return slices.Collect(maps.Values(d.keys.damaged))
}

// Authenticate returns the key whose text is presented, and a context that ends with the validity of the key. It
// returns ErrInvalidKey if the text is malformed or unknown. It returns the key with ErrRevokedKey once RevokeKey has
// returned, and with ErrExpiredKey once the key has expired.
func (d *DB) Authenticate(presented string) (key Key, valid context.Context, err error) {
	if !wellFormed(presented) {
		return Key{}, nil, ErrInvalidKey
	}
	// The map is indexed by digest, so the time of a lookup depends on the digest and reveals nothing about stored keys.
	digest := keyDigest(sha256.Sum256([]byte(presented)))
	d.keys.mu.RLock()
	stored := d.keys.keys[digest]
	d.keys.mu.RUnlock()
	if stored == nil {
		return Key{}, nil, ErrInvalidKey
	}
	return stored.authenticate()
}

// KeyByID returns the key with the id, with the same errors as Authenticate. The caller has verified that the client
// may use this key, for example by a signature.
func (d *DB) KeyByID(id uuid.UUID) (key Key, valid context.Context, err error) {
	d.keys.mu.RLock()
	stored := d.keys.find(id)
	d.keys.mu.RUnlock()
	if stored == nil {
		return Key{}, nil, ErrInvalidKey
	}
	return stored.authenticate()
}

// OriginKnown reports whether any valid key of the type allows web pages of the origin. It does not reveal which one.
func (d *DB) OriginKnown(origin string, typ KeyType) bool {
	d.keys.mu.RLock()
	defer d.keys.mu.RUnlock()
	for _, key := range d.keys.keys {
		if key.Type == typ && key.AllowsOrigin(origin) && key.valid().Err() == nil {
			return true
		}
	}
	return false
}

// wellFormed reports whether the key is pk_ or sk_ followed by letters and digits, 10 to 128 characters in total. These
// are the bounds of the documented API.
func wellFormed(key string) bool {
	if len(key) < 10 || len(key) > 128 || !strings.HasPrefix(key, "pk_") && !strings.HasPrefix(key, "sk_") {
		return false
	}
	return strings.Trim(key[3:], keyAlphabet) == ""
}

const (
	keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	keyLength   = 32 // characters after the prefix, 190 bits of entropy
)

// newSecret returns keyLength random characters, each equally likely. It discards bytes above the largest multiple of
// the alphabet's length, which would favour the first characters of the alphabet.
func newSecret() string {
	secret := make([]byte, 0, keyLength)
	for buf := make([]byte, 64); len(secret) < keyLength; {
		rand.Read(buf) // never fails
		for _, b := range buf {
			if int(b) < 256/len(keyAlphabet)*len(keyAlphabet) && len(secret) < keyLength {
				secret = append(secret, keyAlphabet[int(b)%len(keyAlphabet)])
			}
		}
	}
	return string(secret)
}

// CreateKey creates a key for the tenant and registers the tenant if it is new. It returns the text of the key, which
// cannot be retrieved later. Settings that do not fit the type of key are schema.ErrInvalid.
func (d *DB) CreateKey(
	ctx context.Context, tenant uuid.UUID, typ KeyType, settings KeySettings,
) (Key, string, error) {
	prefix, ok := map[KeyType]string{Public: "pk_", Secret: "sk_"}[typ]
	if !ok {
		return Key{}, "", fmt.Errorf("%w: key type %q (want public or secret)", schema.ErrInvalid, typ)
	}
	if tenant == uuid.Nil {
		return Key{}, "", fmt.Errorf("%w: a key requires a tenant", schema.ErrInvalid)
	}
	if err := settings.normalize(typ); err != nil {
		return Key{}, "", err
	}
	if err := d.RegisterTenant(ctx, tenant); err != nil {
		return Key{}, "", err
	}
	text := prefix + newSecret()
	key := &storedKey{digest: sha256.Sum256([]byte(text)), Key: Key{
		ID: uuid.New(), Tenant: tenant, Type: typ, Prefix: text[:8], KeySettings: settings,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}}

	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	err := d.record(key)
	if err == nil {
		err = key.insert(ctx, d.db)
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("create key: %w", err)
	}
	key.activate()
	d.keys.put(key)
	return key.public(), text, nil
}

// An execer is a database, or a transaction of one.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// idArg returns the id of a key as a parameter.
func idArg(id uuid.UUID) sql.NamedArg { return sql.Named("id", id.String()) }

// Keys returns the keys of all tenants, oldest first, including revoked and expired ones.
func (d *DB) Keys() []Key {
	d.keys.mu.RLock()
	defer d.keys.mu.RUnlock()
	keys := []Key{}
	for _, key := range d.keys.keys {
		keys = append(keys, key.public())
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return keys
}

// UpdateKey replaces the settings of a key. Requests authenticated after it returns use the new settings.
func (d *DB) UpdateKey(ctx context.Context, id uuid.UUID, settings KeySettings) (Key, error) {
	return d.changeKey(id, func(key *storedKey) error {
		if err := settings.normalize(key.Type); err != nil {
			return err
		}
		key.KeySettings = settings
		if err := d.record(key); err != nil {
			return err
		}
		_, err := d.db.ExecContext(ctx, statements.Get("control/update_key"),
			append(settings.args(), sql.Named("id", id.String()))...)
		return err
	})
}

// RevokeKey revokes a key permanently. Once it returns, Authenticate refuses the key, and the contexts that
// Authenticate returned for it are done, even if it returns an error because the revocation could not be stored.
// Revoking a revoked key has no effect.
func (d *DB) RevokeKey(ctx context.Context, id uuid.UUID) (Key, error) {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	stored := d.keys.find(id)
	if stored == nil {
		return Key{}, unknownKey(id)
	}
	if stored.RevokedAt != nil && !stored.revocationInferred {
		return stored.public(), nil
	}
	key, at := *stored, time.Now().UTC().Truncate(time.Millisecond)
	key.RevokedAt, key.revocationInferred = &at, false
	key.activate()
	d.keys.put(&key)
	recorded := d.record(&key)
	_, updated := d.db.ExecContext(ctx, statements.Get("control/revoke_key"),
		sql.Named("id", id.String()), sql.Named("at", at))
	if recorded != nil && updated != nil { // the next start reads the journal and the control database
		return Key{}, fmt.Errorf("revoke key %s: revoked until this process ends, but not stored: %w",
			id, errors.Join(recorded, updated))
	}
	return key.public(), nil
}

func unknownKey(id uuid.UUID) error {
	return fmt.Errorf("%w: no key %s; `voicory keys list` shows them", schema.ErrNotFound, id)
}

// changeKey calls change with a copy of the key. If change has modified the copy and written it to the control
// database, the copy replaces the key in the keyring.
func (d *DB) changeKey(id uuid.UUID, change func(*storedKey) error) (Key, error) {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	stored := d.keys.find(id)
	if stored == nil {
		return Key{}, unknownKey(id)
	}
	changed := *stored
	if err := change(&changed); err != nil {
		return Key{}, fmt.Errorf("change key %s: %w", id, err)
	}
	changed.activate()
	d.keys.put(&changed)
	return changed.public(), nil
}

// saveKeyUses writes the times of last use that have changed to the control database.
func (d *DB) saveKeyUses(ctx context.Context) error {
	type use struct {
		ID   uuid.UUID `json:"id"`
		At   time.Time `json:"used_at"`
		used *keyUse
	}
	var uses []use
	d.keys.mu.RLock()
	for _, key := range d.keys.keys {
		if at := key.used.at.Load(); at != key.used.saved.Load() {
			uses = append(uses, use{key.ID, time.UnixMilli(at).UTC(), key.used})
		}
	}
	d.keys.mu.RUnlock()
	if len(uses) == 0 {
		return nil
	}
	text, err := json.Marshal(uses)
	if err != nil {
		return err
	}
	_, err = d.db.ExecContext(ctx, statements.Get("control/touch_keys"), sql.Named("used", string(text)))
	if err != nil {
		return fmt.Errorf("save the last uses of keys: %w", err)
	}
	for _, use := range uses {
		use.used.saved.Store(use.At.UnixMilli())
	}
	return nil
}
