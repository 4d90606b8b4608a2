package postgres

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/warehouse"
)

// Key is one of the platform's API keys, without the key: PostgreSQL computes the digest, and the key never leaves it.
type Key struct {
	ID        uuid.UUID
	Tenant    uuid.UUID
	Type      warehouse.KeyType // secret where the platform says private; what is neither is public, which may do less
	Label     string
	Prefix    string // its first 8 characters
	Digest    [sha256.Size]byte
	CreatedAt time.Time
	RevokedAt *time.Time // nil: it is good; where the platform does not say when, the time of the snapshot
}

// keys hands all keys out, where they can be read.
func (p *pass) keys(ctx context.Context) error {
	if _, ok := p.tables["api_keys"]; p.options.Keys == nil || !ok {
		return nil
	}
	rows, err := p.tx.Query(ctx, p.fill("keys"))
	if err != nil {
		return explain(ctx, "read api_keys", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
		var typ string
		var digest []byte
		if err := row.Scan(&k.ID, &k.Tenant, &k.Label, &typ, &k.Prefix, &digest, &k.CreatedAt, &k.RevokedAt); err != nil {
			return k, err
		}
		k.Digest, k.Type = [sha256.Size]byte(digest), warehouse.Public
		if typ == "private" || typ == "secret" {
			k.Type = warehouse.Secret
		}
		return k, nil
	})
	if err != nil {
		return explain(ctx, "read api_keys", err)
	}
	return p.options.Keys(ctx, keys)
}
