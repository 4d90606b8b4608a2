package warehouse

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	ID        uuid.UUID  `json:"id"`
	Tenant    uuid.UUID  `json:"tenant_id"`
	Type      KeyType    `json:"type"`
	Label     string     `json:"label"`
	Prefix    string     `json:"prefix"` // its first characters, to recognise it by
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

// keyring holds every key in memory, by digest, so that a request costs no query. Looking a digest up in a map is safe
// against timing: who can choose a key cannot choose its digest.
type keyring struct {
	mu       sync.RWMutex
	byDigest map[[sha256.Size]byte]*Key
}

func (k *keyring) load(ctx context.Context, control *sql.DB) error {
	rows, err := control.QueryContext(ctx, statements.Get("control/keys"))
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	defer rows.Close()
	k.byDigest = map[[sha256.Size]byte]*Key{}
	for rows.Next() {
		var key Key
		var digest []byte
		if err := rows.Scan(&key.ID, &key.Tenant, &key.Type, &key.Label, &key.Prefix, &digest, &key.CreatedAt, &key.RevokedAt); err != nil {
			return fmt.Errorf("load keys: %w", err)
		}
		k.byDigest[[sha256.Size]byte(digest)] = &key
	}
	return rows.Err()
}

// Authenticate finds the key that a request came with. A malformed or unknown one is ErrInvalidKey, a revoked one
// ErrRevokedKey from the moment RevokeKey returned.
func (w *Warehouse) Authenticate(presented string) (Key, error) {
	if !wellFormed(presented) {
		return Key{}, ErrInvalidKey
	}
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	key, ok := w.keys.byDigest[sha256.Sum256([]byte(presented))]
	switch {
	case !ok:
		return Key{}, ErrInvalidKey
	case key.RevokedAt != nil:
		return Key{}, ErrRevokedKey
	}
	return *key, nil
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
func (w *Warehouse) CreateKey(ctx context.Context, tenant uuid.UUID, typ KeyType, label string) (Key, string, error) {
	prefix, ok := map[KeyType]string{Public: "pk_", Secret: "sk_"}[typ]
	if !ok {
		return Key{}, "", fmt.Errorf("%w: key type %q; there are public and secret", ErrInvalid, typ)
	}
	if tenant == uuid.Nil {
		return Key{}, "", fmt.Errorf("%w: a key needs a tenant", ErrInvalid)
	}
	if err := w.registerTenant(ctx, tenant); err != nil {
		return Key{}, "", err
	}
	text := prefix + newSecret()
	digest := sha256.Sum256([]byte(text))
	key := Key{ID: uuid.New(), Tenant: tenant, Type: typ, Label: label, Prefix: text[:8], CreatedAt: time.Now().UTC().Truncate(time.Millisecond)}

	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	if _, err := w.control.ExecContext(ctx, statements.Get("control/add_key"),
		sql.Named("id", key.ID.String()), sql.Named("tenant", tenant.String()), sql.Named("type", string(typ)), sql.Named("label", label),
		sql.Named("prefix", key.Prefix), sql.Named("sha256", digest[:]), sql.Named("created_at", key.CreatedAt)); err != nil {
		return Key{}, "", fmt.Errorf("create key: %w", w.diagnose(err))
	}
	w.keys.byDigest[digest] = &key
	return key, text, nil
}

// Keys lists the keys of all tenants, revoked ones too, oldest first.
func (w *Warehouse) Keys() []Key {
	w.keys.mu.RLock()
	defer w.keys.mu.RUnlock()
	keys := make([]Key, 0, len(w.keys.byDigest))
	for _, key := range w.keys.byDigest {
		keys = append(keys, *key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return keys
}

// RevokeKey ends a key for good; the very next Authenticate refuses it. Revoking twice is no error.
func (w *Warehouse) RevokeKey(ctx context.Context, id uuid.UUID) (Key, error) {
	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	for digest, key := range w.keys.byDigest {
		if key.ID != id {
			continue
		}
		if key.RevokedAt != nil {
			return *key, nil
		}
		at := time.Now().UTC().Truncate(time.Millisecond)
		if _, err := w.control.ExecContext(ctx, statements.Get("control/revoke_key"), sql.Named("id", id.String()), sql.Named("at", at)); err != nil {
			return Key{}, fmt.Errorf("revoke key %s: %w", id, w.diagnose(err))
		}
		revoked := *key
		revoked.RevokedAt = &at
		w.keys.byDigest[digest] = &revoked
		return revoked, nil
	}
	return Key{}, fmt.Errorf("%w: no key %s; `voicory keys list` shows them", ErrNotFound, id)
}
