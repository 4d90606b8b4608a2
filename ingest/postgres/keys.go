package postgres

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/warehouse/control"
)

// A Key describes one of the platform's API keys. PostgreSQL computes the digest, so the key itself never leaves it.
type Key struct {
	ID        uuid.UUID
	Tenant    uuid.UUID
	Type      control.KeyType // secret if the platform's type is private or secret, else public, which has fewer rights
	Label     string
	Prefix    string            // first 8 characters of the key
	Digest    [sha256.Size]byte // SHA-256 of the key
	CreatedAt time.Time
	RevokedAt *time.Time // nil: not revoked; time of the snapshot if the platform did not record the time
}

// importKeys calls Options.Keys with all keys. It does nothing if the keys cannot be read.
func (p *syncRun) importKeys(ctx context.Context) error {
	if _, ok := p.tables["api_keys"]; p.options.Keys == nil || !ok {
		return nil
	}
	rows, err := p.tx.Query(ctx, p.render("keys"))
	if err != nil {
		return p.explainError(ctx, "read api_keys", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
		var typ string
		var digest []byte
		if err := row.Scan(&k.ID, &k.Tenant, &k.Label, &typ, &k.Prefix, &digest, &k.CreatedAt, &k.RevokedAt); err != nil {
			return k, err
		}
		k.Digest, k.Type = [sha256.Size]byte(digest), control.Public
		k.Label, k.Prefix = p.decoder.text(k.Label), p.decoder.text(k.Prefix)
		if typ == "private" || typ == "secret" {
			k.Type = control.Secret
		}
		return k, nil
	})
	if err != nil {
		return p.explainError(ctx, "read api_keys", err)
	}
	return p.options.Keys(ctx, keys)
}
