package duckdb_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// execute runs statements on the file, and leaves its log.
func execute(t *testing.T, path string, statements ...string) *sql.DB {
	t.Helper()
	connector, err := driver.NewConnector(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// TestReadWAL_PrefixHoldsEveryCommitBeforeTheDamage damages each part of a log. DuckDB opens the database with the
// prefix of the log that ReadWAL returns, and finds the rows of its commits.
func TestReadWAL_PrefixHoldsEveryCommitBeforeTheDamage(t *testing.T) {
	t.Parallel()
	const commits = 4
	dir := t.TempDir()
	live := filepath.Join(dir, "live.duckdb")
	statements := []string{"ATTACH '" + live + "' AS live (STORAGE_VERSION 'v1.5.0')", "USE live",
		"CREATE TABLE t (n BIGINT, text VARCHAR)", "CHECKPOINT"}
	for i := range commits {
		statements = append(statements, fmt.Sprintf(
			"INSERT INTO live.t SELECT %d, repeat('x', 40 + i::INTEGER) FROM range(100) AS r(i)", i))
	}
	db := execute(t, "", statements...)
	defer db.Close()
	file, err := os.ReadFile(live)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(live + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	read := func(log []byte) duckdb.WAL {
		t.Helper()
		wal, err := duckdb.ReadWAL(bytes.NewReader(log), int64(len(log)))
		if err != nil {
			t.Fatal(err)
		}
		return wal
	}
	if wal := read(log); wal.Commits != commits || wal.Fault != "" || wal.Torn || wal.Good != int64(len(log)) {
		t.Fatalf("sound log: got %+v, want %d commits", wal, commits)
	}
	cases := map[string]struct {
		damage    func([]byte) []byte
		isDamaged bool
	}{
		"last byte cut": {func(l []byte) []byte { return l[:len(l)-1] }, false},
		"cut in half":   {func(l []byte) []byte { return l[:len(l)/2] }, false},
		"emptied":       {func([]byte) []byte { return nil }, false},
		"zeros behind":  {func(l []byte) []byte { return append(l, make([]byte, 100)...) }, true},
		"flipped in the first entry": {func(l []byte) []byte {
			l[2] ^= 1
			return l
		}, true},
		"flipped in the middle": {func(l []byte) []byte {
			l[len(l)/2] ^= 1
			return l
		}, true},
		"flipped at the end": {func(l []byte) []byte {
			l[len(l)-2] ^= 1
			return l
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			damaged := c.damage(bytes.Clone(log))
			wal := read(damaged)
			if noticed := wal.Fault != ""; noticed != c.isDamaged {
				t.Errorf("got %+v, want damage: %v", wal, c.isDamaged)
			}
			path := filepath.Join(t.TempDir(), "copy.duckdb")
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".wal", damaged[:wal.Good], 0o600); err != nil {
				t.Fatal(err)
			}
			copied := execute(t, path)
			defer copied.Close()
			var rows int
			if err := copied.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if rows != 100*wal.Commits {
				t.Errorf("got %d rows of %d commits", rows, wal.Commits)
			}
		})
	}
}

// TestReadWAL_DamagedLengthIsNoTornEnd flips bits of the length of each entry of a log. DuckDB takes a length that
// exceeds the file for the end of a torn log. A log that was cut at any byte is torn and not damaged.
func TestReadWAL_DamagedLengthIsNoTornEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "live.duckdb")
	statements := []string{"ATTACH '" + path + "' AS live (STORAGE_VERSION 'v1.5.0')", "USE live",
		"CREATE TABLE t (n BIGINT, text VARCHAR)", "CHECKPOINT"}
	for i := range 4 {
		statements = append(statements, fmt.Sprintf("INSERT INTO t VALUES (%d, 'some text')", i))
	}
	db := execute(t, "", statements...)
	defer db.Close()
	log, err := os.ReadFile(path + ".wal")
	if err != nil {
		t.Fatal(err)
	}
	read := func(log []byte) duckdb.WAL {
		t.Helper()
		wal, err := duckdb.ReadWAL(bytes.NewReader(log), int64(len(log)))
		if err != nil {
			t.Fatal(err)
		}
		return wal
	}
	var ends []int // of the prefixes that are sound
	for n := range log {
		wal := read(log[:n])
		if wal.Fault != "" {
			t.Errorf("log cut at byte %d of %d: got %+v, want no damage", n, len(log), wal)
		}
		if n > 0 && int(wal.Good) == n {
			ends = append(ends, n)
		}
	}
	if len(ends) != 4 { // the first entry, and all commits except the last
		t.Fatalf("got ends %v, want 4", ends)
	}
	for _, at := range ends { // the first entry of a transaction
		for bit := range 64 {
			damaged := bytes.Clone(log)
			damaged[at+bit/8] ^= 1 << (bit % 8)
			wal := read(damaged)
			if wal.Fault == "" || int(wal.Good) != at {
				t.Errorf("bit %d of the length at byte %d of %d: got %+v, want damage", bit, at, len(log), wal)
			}
		}
	}
	damaged := bytes.Clone(log) // the last entry of the log
	last := bytes.LastIndex(damaged, []byte{100, 0, 100}) - 16
	damaged[last+3] ^= 1
	if wal := read(damaged); wal.Fault == "" {
		t.Errorf("length of the last entry: got %+v, want damage", wal)
	}
}
