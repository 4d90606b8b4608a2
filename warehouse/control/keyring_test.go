package control

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// Authentication needs keyring.mu on every request, so no change of keys may hold it while it waits for the control
// database, whose one connection may be busy for long.
func TestKeyring_UnlockedDuringControlWrites(t *testing.T) {
	db, d := openTest(t)
	key, _, err := d.CreateKey(t.Context(), uuid.New(), Secret, KeySettings{})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(context.Context) error{
		"update": func(ctx context.Context) error { _, err := d.UpdateKey(ctx, key.ID, KeySettings{}); return err },
		"revoke": func(ctx context.Context) error { _, err := d.RevokeKey(ctx, key.ID); return err },
		"import": func(ctx context.Context) error { return d.ImportKeys(ctx, KeySource{Name: "upstream"}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			busy, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			waiting, done := db.Stats().WaitCount, make(chan error)
			go func() { done <- change(t.Context()) }()
			for look := time.NewTicker(time.Millisecond); db.Stats().WaitCount == waiting; <-look.C {
			}
			if d.keys.mu.TryLock() {
				d.keys.mu.Unlock()
			} else {
				t.Error("keyring.mu is held while the control database is busy")
			}
			if err := errors.Join(busy.Close(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
}

// openTest opens a control database in memory.
func openTest(t *testing.T) (*sql.DB, *DB) {
	t.Helper()
	instance, err := duckdb.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db := instance.DB("")
	db.SetMaxOpenConns(1)
	for _, script := range statements.Migrations("control") {
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(t.Context(), db, db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Close(context.Background()), db.Close(), instance.Close()); err != nil {
			t.Error(err)
		}
	})
	return db, d
}
