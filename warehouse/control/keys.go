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
	"sync"
	"sync/atomic"
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

// KeySettings are the properties of a key that can be set when it is created, and changed later.
type KeySettings struct {
	Label     string     `json:"label"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: never
	RateLimit string     `json:"rate_limit"` // for example 600/1m,50/5s or none; "": the server's limit
	// Web origins whose pages may use a public key, or read files by the signed URLs of a secret key; "*" allows any.
	Origins []string `json:"origins"`
	// Limits for SQL run with a secret key. 0 means the server's limit.
	QueryRows  int64        `json:"query_rows"`    // rows of a result
	QueryBytes int64        `json:"query_bytes"`   // bytes of a result, in its output format
	QueryTime  Milliseconds `json:"query_time_ms"` // duration of a query, including reading its result
	AllowErase bool         `json:"allow_erase"`   // the secret key may erase customers
}

// Milliseconds is a duration that JSON represents as a number of milliseconds.
type Milliseconds int64

// Duration returns m as a time.Duration.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// AllowsOrigin reports whether web pages of the origin may use the key, or its signed URLs if it is secret.
func (s KeySettings) AllowsOrigin(origin string) bool {
	return slices.Contains(s.Origins, origin) || slices.Contains(s.Origins, anyOrigin)
}

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

// DamagedKeys returns the faults of rows of keys that cannot be read and that the journal does not have. These keys are
// unknown, and all others are valid.
func (d *DB) DamagedKeys() (faults []error) {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	return slices.Collect(maps.Values(d.keys.damaged))
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

// idArg returns the id of a key as a parameter.
func idArg(id uuid.UUID) sql.NamedArg { return sql.Named("id", id.String()) }

// normalize brings the settings into the form in which they are stored. It returns schema.ErrInvalid for settings that
// have no effect on a key of the type, or that are malformed.
func (s *KeySettings) normalize(typ KeyType) error {
	if s.QueryRows < 0 || s.QueryBytes < 0 || s.QueryTime < 0 {
		return fmt.Errorf("%w: query limits must not be negative", schema.ErrInvalid)
	}
	if typ != Secret && (s.QueryRows > 0 || s.QueryBytes > 0 || s.QueryTime > 0) {
		return fmt.Errorf("%w: only a secret key has query limits; a public key cannot run queries", schema.ErrInvalid)
	}
	if typ != Secret && s.AllowErase {
		return fmt.Errorf("%w: only a secret key may erase customers", schema.ErrInvalid)
	}
	origins := make([]string, len(s.Origins)) // a new list, not nil: it is encoded in JSON as []
	for i, text := range s.Origins {
		if origins[i] = text; text == anyOrigin {
			continue
		}
		origin, err := parseOrigin(text)
		if err != nil {
			return err
		}
		origins[i] = origin
	}
	s.Origins = origins
	if s.ExpiresAt != nil {
		at := s.ExpiresAt.UTC().Truncate(time.Millisecond)
		s.ExpiresAt = &at
	}
	return nil
}

// args returns the settings as parameters of control/add_key and control/update_key.
func (s *KeySettings) args() []any {
	origins, err := json.Marshal(s.Origins)
	if err != nil {
		panic(err) // marshalling strings cannot fail
	}
	var expires any // the driver rejects a nil pointer
	if s.ExpiresAt != nil {
		expires = *s.ExpiresAt
	}
	return []any{
		sql.Named("label", s.Label),
		sql.Named("expires_at", expires),
		sql.Named("rate_limit", s.RateLimit),
		sql.Named("origins", string(origins)),
		sql.Named("query_rows", s.QueryRows),
		sql.Named("query_bytes", s.QueryBytes),
		sql.Named("query_time_ms", int64(s.QueryTime)),
		sql.Named("allow_erase", s.AllowErase),
	}
}

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
