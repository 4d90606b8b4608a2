package warehouse

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// KeyType says what a key may do. A public key reads the six endpoints of the documented API and nothing else.
type KeyType string

// The types of key, as the platform names them.
const (
	Public KeyType = "public"
	Secret KeyType = "secret"
)

// Key is what is known of an API key. The key itself is shown once, by CreateKey, and never kept.
type Key struct {
	ID     uuid.UUID `json:"id"`
	Tenant uuid.UUID `json:"tenant_id"`
	Type   KeyType   `json:"type"`
	Prefix string    `json:"prefix"` // its first characters, to recognise it by
	Source string    `json:"source"` // that it was taken over from; "": it was made here
	KeySettings
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	RevokedAt  *time.Time `json:"revoked_at"`
}

// KeySettings are what a key may be given, when it is made and later.
type KeySettings struct {
	Label     string     `json:"label"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: never
	RateLimit string     `json:"rate_limit"` // rules of its own, as 600/1m,50/5s or none; "": the server's
	Origins   []string   `json:"origins"`    // web origins whose pages may use a public key; "*" is any
	// The most that SQL of a secret key may take, each 0: as much as the server allows.
	QueryRows  int64        `json:"query_rows"`    // of a result
	QueryBytes int64        `json:"query_bytes"`   // of a result, in its format
	QueryTime  Milliseconds `json:"query_time_ms"` // of a query, the reading of its result too
}

// Milliseconds are a length of time, in JSON their number.
type Milliseconds int64

// Duration is the same length.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// AllowsOrigin tells whether web pages of an origin may use the key.
func (s KeySettings) AllowsOrigin(origin string) bool {
	return slices.Contains(s.Origins, origin) || slices.Contains(s.Origins, "*")
}

// keyring holds every key in memory, so that a request costs no query.
type keyring struct {
	mu      sync.RWMutex
	buckets map[uint64][]*storedKey // by the first bytes of the digest
}

// storedKey is a key as it is looked up. It is replaced, not changed, when its settings are.
type storedKey struct {
	Key
	digest [sha256.Size]byte
	used   *keyUse
	// valid ends when the key is revoked or expires; its cause says which. revoke ends it also for those who hold the
	// valid of earlier settings.
	valid     context.Context
	stopClock context.CancelFunc // of valid, where the key expires
	alive     context.Context
	revoke    context.CancelCauseFunc
}

// keyUse is when a key was last used, and what of that is written down: Unix milliseconds, 0 for never.
type keyUse struct{ at, saved atomic.Int64 }

// hold starts a key's validity.
func (k *storedKey) hold() {
	if k.alive == nil {
		k.used = new(keyUse)
		if k.LastUsedAt != nil {
			k.used.at.Store(k.LastUsedAt.UnixMilli())
			k.used.saved.Store(k.LastUsedAt.UnixMilli())
		}
		k.alive, k.revoke = context.WithCancelCause(context.Background())
	}
	k.valid, k.stopClock = k.alive, func() {}
	if k.ExpiresAt != nil {
		k.valid, k.stopClock = context.WithDeadlineCause(k.alive, *k.ExpiresAt, ErrExpiredKey)
	}
	if k.RevokedAt != nil {
		k.revoke(ErrRevokedKey)
	}
}

// public is the key as callers see it.
func (k *storedKey) public() Key {
	key := k.Key
	if used := k.used.at.Load(); used != 0 {
		at := time.UnixMilli(used).UTC()
		key.LastUsedAt = &at
	}
	return key
}

func bucket(digest [sha256.Size]byte) uint64 { return binary.LittleEndian.Uint64(digest[:8]) }

func (r *keyring) add(key *storedKey) {
	key.hold()
	r.buckets[bucket(key.digest)] = append(r.buckets[bucket(key.digest)], key)
}

func (r *keyring) load(ctx context.Context, control *sql.DB) error {
	rows, err := control.QueryContext(ctx, statements.Get("control/keys"))
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	defer rows.Close()
	r.buckets = map[uint64][]*storedKey{}
	for rows.Next() {
		var key storedKey
		var digest []byte
		var origins string
		if err := rows.Scan(&key.ID, &key.Tenant, &key.Type, &key.Label, &key.Prefix, &digest, &key.CreatedAt, &key.RevokedAt,
			&key.ExpiresAt, &key.LastUsedAt, &key.RateLimit, &origins, &key.Source, &key.QueryRows, &key.QueryBytes, &key.QueryTime); err != nil {
			return fmt.Errorf("load keys: %w", err)
		}
		if err := json.Unmarshal([]byte(origins), &key.Origins); err != nil {
			return fmt.Errorf("load keys: origins of %s: %w", key.ID, err)
		}
		key.digest = [sha256.Size]byte(digest)
		r.add(&key)
	}
	return rows.Err()
}

// replace puts a changed key in its place.
func (r *keyring) replace(changed *storedKey) {
	changed.hold()
	bucket := r.buckets[bucket(changed.digest)]
	for i, key := range bucket {
		if key.digest == changed.digest {
			bucket[i] = changed
		}
	}
}

// end ends every key's validity, and with it whatever waits for it.
func (r *keyring) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, keys := range r.buckets {
		for _, key := range keys {
			key.revoke(context.Canceled)
			key.stopClock()
		}
	}
}

// Authenticate finds the key that a request came with. A malformed or unknown one is ErrInvalidKey, a revoked one
// ErrRevokedKey from the moment RevokeKey returned, one past its time ErrExpiredKey: these two are returned with the key.
// valid ends when the key does.
func (w *Warehouse) Authenticate(presented string) (key Key, valid context.Context, err error) {
	if !wellFormed(presented) {
		return Key{}, nil, ErrInvalidKey
	}
	digest := sha256.Sum256([]byte(presented))
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	for _, stored := range w.keys.buckets[bucket(digest)] {
		if subtle.ConstantTimeCompare(stored.digest[:], digest[:]) != 1 {
			continue
		}
		if err := context.Cause(stored.valid); err != nil {
			return stored.public(), nil, err
		}
		stored.used.at.Store(time.Now().UnixMilli())
		return stored.public(), stored.valid, nil
	}
	return Key{}, nil, ErrInvalidKey
}

// KeyByID finds a key that somebody vouched for by its id, with the errors of Authenticate.
func (w *Warehouse) KeyByID(id uuid.UUID) (key Key, valid context.Context, err error) {
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	for _, bucket := range w.keys.buckets {
		for _, stored := range bucket {
			if stored.ID != id {
				continue
			}
			if err := context.Cause(stored.valid); err != nil {
				return stored.public(), nil, err
			}
			stored.used.at.Store(time.Now().UnixMilli())
			return stored.public(), stored.valid, nil
		}
	}
	return Key{}, nil, ErrInvalidKey
}

// wellFormed: pk_ or sk_ and then letters and digits, 10 to 128 characters in all (the contract's bounds).
func wellFormed(key string) bool {
	if len(key) < 10 || len(key) > 128 || !strings.HasPrefix(key, "pk_") && !strings.HasPrefix(key, "sk_") {
		return false
	}
	return strings.Trim(key[3:], keyAlphabet) == ""
}

const (
	keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	keyLength   = 32 // characters after the prefix: 190 bits
)

// newSecret draws keyLength characters, each equally likely: bytes past the last whole multiple of the alphabet are drawn again.
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

// CreateKey makes a key for the tenant, which it registers if it is new. The returned text is the key, for once.
func (w *Warehouse) CreateKey(ctx context.Context, tenant uuid.UUID, typ KeyType, settings KeySettings) (Key, string, error) {
	prefix, ok := map[KeyType]string{Public: "pk_", Secret: "sk_"}[typ]
	if !ok {
		return Key{}, "", fmt.Errorf("%w: key type %q; there are public and secret", ErrInvalid, typ)
	}
	if tenant == uuid.Nil {
		return Key{}, "", fmt.Errorf("%w: a key needs a tenant", ErrInvalid)
	}
	if err := settings.check(typ); err != nil {
		return Key{}, "", err
	}
	if err := w.registerTenant(ctx, tenant); err != nil {
		return Key{}, "", err
	}
	text := prefix + newSecret()
	key := &storedKey{digest: sha256.Sum256([]byte(text)), Key: Key{ID: uuid.New(), Tenant: tenant, Type: typ, Prefix: text[:8], KeySettings: settings,
		CreatedAt: time.Now().UTC().Truncate(time.Millisecond)}}

	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	if err := key.insert(ctx, w.control); err != nil {
		return Key{}, "", fmt.Errorf("create key: %w", w.diagnose(err))
	}
	w.keys.add(key)
	return key.public(), text, nil
}

// execer is a database or a transaction in it.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (k *storedKey) insert(ctx context.Context, control execer) error {
	_, err := control.ExecContext(ctx, statements.Get("control/add_key"), append(k.args(),
		sql.Named("id", k.ID.String()), sql.Named("tenant", k.Tenant.String()), sql.Named("type", string(k.Type)), sql.Named("source", k.Source),
		sql.Named("prefix", k.Prefix), sql.Named("sha256", slices.Clone(k.digest[:])), sql.Named("created_at", k.CreatedAt))...)
	return err
}

// check refuses settings that would do nothing or anything.
func (s *KeySettings) check(typ KeyType) error {
	if s.Origins == nil {
		s.Origins = []string{} // a list in JSON, too
	}
	if typ != Public && len(s.Origins) > 0 {
		return fmt.Errorf("%w: only a public key has origins; a secret key never belongs in a web page", ErrInvalid)
	}
	if s.QueryRows < 0 || s.QueryBytes < 0 || s.QueryTime < 0 {
		return fmt.Errorf("%w: a limit of queries is below 0", ErrInvalid)
	}
	if typ != Secret && (s.QueryRows > 0 || s.QueryBytes > 0 || s.QueryTime > 0) {
		return fmt.Errorf("%w: only a secret key runs queries, and has limits of them", ErrInvalid)
	}
	for _, origin := range s.Origins {
		if at, err := url.Parse(origin); origin != "*" && (err != nil || at.Scheme == "" || at.Host == "" || at.Scheme+"://"+at.Host != origin) {
			return fmt.Errorf("%w: %q is no web origin; https://app.example.com is one", ErrInvalid, origin)
		}
	}
	if s.ExpiresAt != nil {
		at := s.ExpiresAt.UTC().Truncate(time.Millisecond)
		s.ExpiresAt = &at
	}
	return nil
}

func (s *KeySettings) args() []any {
	origins, err := json.Marshal(s.Origins)
	if err != nil {
		panic(err) // texts are always JSON
	}
	var expires any // the driver takes no nil pointer
	if s.ExpiresAt != nil {
		expires = *s.ExpiresAt
	}
	return []any{sql.Named("label", s.Label), sql.Named("expires_at", expires), sql.Named("rate_limit", s.RateLimit), sql.Named("origins", string(origins)),
		sql.Named("query_rows", s.QueryRows), sql.Named("query_bytes", s.QueryBytes), sql.Named("query_time_ms", int64(s.QueryTime))}
}

// OriginKnown tells whether any key that is good allows web pages of the origin.
func (w *Warehouse) OriginKnown(origin string) bool {
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	for _, bucket := range w.keys.buckets {
		for _, key := range bucket {
			if key.AllowsOrigin(origin) && key.valid.Err() == nil {
				return true
			}
		}
	}
	return false
}

// Keys lists the keys of all tenants, revoked ones too, oldest first.
func (w *Warehouse) Keys() []Key {
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	keys := []Key{}
	for _, bucket := range w.keys.buckets {
		for _, key := range bucket {
			keys = append(keys, key.public())
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return keys
}

// UpdateKey gives a key other settings, from the next request on.
func (w *Warehouse) UpdateKey(ctx context.Context, id uuid.UUID, settings KeySettings) (Key, error) {
	return w.changeKey(id, func(key *storedKey) error {
		if err := settings.check(key.Type); err != nil {
			return err
		}
		key.KeySettings = settings
		_, err := w.control.ExecContext(ctx, statements.Get("control/update_key"), append(settings.args(), sql.Named("id", id.String()))...)
		return err
	})
}

// RevokeKey ends a key for good; the very next Authenticate refuses it. Revoking twice is no error.
func (w *Warehouse) RevokeKey(ctx context.Context, id uuid.UUID) (Key, error) {
	return w.changeKey(id, func(key *storedKey) error {
		if key.RevokedAt != nil {
			return nil
		}
		at := time.Now().UTC().Truncate(time.Millisecond)
		key.RevokedAt = &at
		_, err := w.control.ExecContext(ctx, statements.Get("control/revoke_key"), sql.Named("id", id.String()), sql.Named("at", at))
		return err
	})
}

// changeKey has change make a copy of the key what it is to be, in the control database too; then the copy takes its place.
func (w *Warehouse) changeKey(id uuid.UUID, change func(*storedKey) error) (Key, error) {
	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	for _, bucket := range w.keys.buckets {
		for _, stored := range bucket {
			if stored.ID != id {
				continue
			}
			changed := *stored
			if err := change(&changed); err != nil {
				return Key{}, fmt.Errorf("change key %s: %w", id, w.diagnose(err))
			}
			w.keys.replace(&changed)
			return changed.public(), nil
		}
	}
	return Key{}, fmt.Errorf("%w: no key %s; `voicory keys list` shows them", ErrNotFound, id)
}

// saveUses writes down when keys were last used, as far as that has changed.
func (w *Warehouse) saveKeyUses(ctx context.Context) error {
	type use struct {
		ID   uuid.UUID `json:"id"`
		At   time.Time `json:"used_at"`
		used *keyUse
	}
	var uses []use
	w.keys.mu.RLock()
	for _, bucket := range w.keys.buckets {
		for _, key := range bucket {
			if at := key.used.at.Load(); at != key.used.saved.Load() {
				uses = append(uses, use{key.ID, time.UnixMilli(at).UTC(), key.used})
			}
		}
	}
	w.keys.mu.RUnlock()
	if len(uses) == 0 {
		return nil
	}
	text, err := json.Marshal(uses)
	if err != nil {
		return err
	}
	if _, err := w.control.ExecContext(ctx, statements.Get("control/used_keys"), sql.Named("used", string(text))); err != nil {
		return fmt.Errorf("save uses of keys: %w", w.diagnose(err))
	}
	for _, use := range uses {
		use.used.saved.Store(use.At.UnixMilli())
	}
	return nil
}
