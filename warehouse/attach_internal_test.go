package warehouse

import (
	"path/filepath"
	"testing"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A transaction keeps the file of a detached database in use. The next ATTACH waits until it has ended.
func TestExecAttach_WaitsForDetachedDatabase(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	instance, err := duckdb.Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.Close() })
	db, user := instance.DB(""), instance.DB("")
	t.Cleanup(func() { _, _ = db.Close(), user.Close() })
	path := statements.Text(filepath.Join(t.TempDir(), "store.duckdb"))
	if err := execAttach(ctx, db, "ATTACH "+path+" AS former"); err != nil {
		t.Fatal(err)
	}
	tx, err := user.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE former.t AS SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "DETACH former"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "ATTACH "+path+" AS next"); !duckdb.IsFileInUse(err) {
		t.Fatalf("the file is not in use: %v", err)
	}
	ended := make(chan error)
	time.AfterFunc(10*releasePause, func() { ended <- tx.Rollback() })
	if err := execAttach(ctx, db, "ATTACH "+path+" AS next"); err != nil {
		t.Errorf("attach: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
