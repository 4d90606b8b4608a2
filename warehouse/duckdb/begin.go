package duckdb

import (
	"context"
	"database/sql"
)

// Begin starts a transaction. BEGIN is not cancelled with the context: an interrupted BEGIN may have started the
// transaction anyway, and the next user of the connection would be in a transaction without knowing it.
func Begin(ctx context.Context, db interface {
	BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
}) (*sql.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return db.BeginTx(context.WithoutCancel(ctx), nil)
}
