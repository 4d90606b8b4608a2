package control

import (
	"context"
	"database/sql"

	"github.com/voicory/warehouse/warehouse/journal"
)

// A DB is an open control database. It is safe for concurrent use. The caller closes it before the connections.
type DB struct {
	db         *sql.DB          // one connection
	reading    *sql.DB          // connections for long queries
	journal    *journal.Journal // of keys; nil until UseJournal; guarded by keys.changing
	keys       keyring
	requests   requestLog
	deleted    deletedTenants
	retentions retentions
	clock      logClock
}

// Open loads the keys and retentions from a control database, which has the current schema. db has one connection,
// which serializes the writes; they would conflict otherwise. reading has other connections of the same database, for
// long queries, which would block the writes.
func Open(ctx context.Context, db, reading *sql.DB) (*DB, error) {
	d := &DB{db: db, reading: reading}
	if err := d.keys.load(ctx, db); err != nil {
		return nil, err
	}
	tenants, err := d.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	d.retentions.load(tenants)
	d.clock, err = loadLogClock(ctx, db)
	return d, err
}

// Close ends the validity of all keys, and saves the request log and the last uses of keys.
func (d *DB) Close(ctx context.Context) error {
	d.keys.end()
	return d.SaveRequests(ctx)
}

// Ping reads from the control database and returns the error, if any.
func (d *DB) Ping(ctx context.Context) error {
	var version int
	return d.db.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version)
}
