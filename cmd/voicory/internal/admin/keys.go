package admin

import (
	"context"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/control"
)

// NewKey is the request of CreateKey.
type NewKey struct {
	Tenant   uuid.UUID           `json:"tenant_id"`
	Type     control.KeyType     `json:"type"`
	Settings control.KeySettings `json:"settings"`
}

// CreatedKey is a new key with its text. The text is returned only once; the warehouse stores its hash.
type CreatedKey struct {
	control.Key
	Text string `json:"key"`
}

// KeyUpdate is the request of UpdateKey.
type KeyUpdate struct {
	ID       uuid.UUID           `json:"id"`
	Settings control.KeySettings `json:"settings"`
}

// CreateKey creates an API key.
var CreateKey = operation("keys/create", func(ctx context.Context, l *Local, r NewKey) (CreatedKey, error) {
	key, text, err := l.Warehouse.CreateKey(ctx, r.Tenant, r.Type, r.Settings)
	return CreatedKey{key, text}, err
})

// ListKeys returns the keys of all tenants, without their text.
var ListKeys = operation("keys/list", func(_ context.Context, l *Local, _ None) ([]control.Key, error) {
	return l.Warehouse.Keys(), nil
})

// UpdateKey replaces the settings of a key and returns the key.
var UpdateKey = operation("keys/update", func(ctx context.Context, l *Local, r KeyUpdate) (control.Key, error) {
	return l.Warehouse.UpdateKey(ctx, r.ID, r.Settings)
})

// RevokeKey revokes the key with the id and returns it.
var RevokeKey = operation("keys/revoke", func(ctx context.Context, l *Local, id uuid.UUID) (control.Key, error) {
	return l.Warehouse.RevokeKey(ctx, id)
})
