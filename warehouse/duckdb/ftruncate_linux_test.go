package duckdb

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/internal/faultfs"
)

// If a commit fails and its entries cannot be cut off the log, the process goes on. Later commits of the database fail,
// also when the disk works again, until it has been attached again. Then it has every commit that succeeded.
func TestCommit_LogThatCannotBeCut(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{})
	for _, failing := range [][]faultfs.Op{{faultfs.Write, faultfs.Truncate}, {faultfs.Fsync, faultfs.Truncate}} {
		t.Run(string(failing[0]), func(t *testing.T) {
			db, exec := openOn(t, f)
			attach := "ATTACH '" + filepath.Join(f.Path(), string(failing[0])+".duckdb.unfinished-1") + "' AS one"
			if err := errors.Join(exec(attach), exec("CREATE TABLE one.numbers (number INTEGER)"),
				exec("INSERT INTO one.numbers VALUES (1)")); err != nil {
				t.Fatal(err)
			}
			fault := f.Add(faultfs.Rule{Ops: failing, Path: "*.wal", Errno: syscall.EIO, Short: true})
			if err := exec("INSERT INTO one.numbers VALUES (2)"); !errors.Is(err, ErrIO) {
				t.Fatalf("got %v, want an ErrIO", err)
			}
			fault.Remove()
			if err := exec("INSERT INTO one.numbers VALUES (4)"); failing[0] == faultfs.Fsync && !errors.Is(err, ErrIO) {
				t.Fatalf("got %v of the next commit, want an ErrIO", err)
			}
			_ = exec("CHECKPOINT one") // fails, so that DETACH makes no checkpoint
			if err := errors.Join(exec("DETACH one"), exec(attach), exec("INSERT INTO one.numbers VALUES (8)")); err != nil {
				t.Fatal(err)
			}
			var sum int
			err := db.QueryRowContext(t.Context(), "SELECT sum(number) FROM one.numbers").Scan(&sum)
			if err != nil || sum&9 != 9 {
				t.Fatalf("got the sum %d and error %v, want the rows 1 and 8", sum, err)
			}
		})
	}
}
