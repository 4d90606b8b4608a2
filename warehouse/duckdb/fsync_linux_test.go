package duckdb

import (
	"database/sql"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/internal/faultfs"
)

// A sync that fails with EIO fails the commit of its database, and nothing else.
func TestCommit_FailedSyncFailsOneDatabase(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{})
	db, exec := openOn(t, f)
	for _, name := range []string{"one", "other"} {
		if err := errors.Join(exec("ATTACH '"+filepath.Join(f.Path(), name+".duckdb")+"' AS "+name),
			exec("CREATE TABLE "+name+".numbers (number INTEGER)")); err != nil {
			t.Fatal(err)
		}
	}
	fault := f.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Fsync}, Path: "one.duckdb.wal", Errno: syscall.EIO})
	if err := exec("INSERT INTO one.numbers VALUES (1)"); err == nil {
		t.Fatal("a commit that was not synced succeeded")
	}
	if err := exec("INSERT INTO other.numbers VALUES (1)"); err != nil {
		t.Fatalf("got %v of the other database", err)
	}
	fault.Remove()
	if err := exec("INSERT INTO one.numbers VALUES (2)"); err != nil {
		t.Fatalf("got %v after the fault", err)
	}
	var sum int
	if err := db.QueryRowContext(t.Context(), "SELECT sum(number) FROM one.numbers").Scan(&sum); err != nil || sum != 2 {
		t.Fatalf("got the sum %d and error %v, want only the row of the commit that succeeded", sum, err)
	}
}

// openOn opens an instance until the end of the test, and returns its connections and a function that executes
// statements on them.
func openOn(t *testing.T, f *faultfs.FS) (db *sql.DB, exec func(statement string) error) {
	t.Helper()
	instance, err := Open(t.Context(), f.Path())
	if err != nil {
		t.Fatal(err)
	}
	db = instance.DB("")
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), instance.Close()); err != nil {
			t.Error(err)
		}
	})
	return db, func(statement string) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}
}
