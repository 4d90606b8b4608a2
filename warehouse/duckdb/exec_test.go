package duckdb_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// openInstance opens an instance with 50 MB of memory and two threads.
func openInstance(t *testing.T) *duckdb.Instance {
	t.Helper()
	instance, err := duckdb.Open(t.Context(), t.TempDir())
	noError(t, err)
	t.Cleanup(func() { noError(t, instance.Close()) })
	db := instance.DB("")
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "SET memory_limit = '50MB'; SET threads = 2; SET temp_directory = ''")
	noError(t, err)
	return instance
}

// openConn returns a connection to a new instance.
func openConn(t *testing.T) *sql.Conn {
	t.Helper()
	db := openInstance(t).DB("")
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	noError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // it only goes back
	return conn
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Exec has the same effects, results and errors as ExecContext of the driver.
func TestExec_MatchesDriver(t *testing.T) {
	ours, theirs := openConn(t), openConn(t)
	for _, statement := range []string{
		"CREATE TABLE t AS SELECT range AS n FROM range(100000)", "INSERT INTO t FROM range(7)",
		"UPDATE t SET n = n + 1 WHERE n < 50", "DELETE FROM t WHERE n % 2 = 0",
		"COPY t TO '/dev/null' (FORMAT csv)",
		"SELECT", "SELECT none FROM t", "FROM none", "SELECT n::UTINYINT FROM t", "SELECT error('own')",
		"COPY t TO '/none/file'", "INSERT INTO t SELECT error('late') FROM range(100000) WHERE range > 90000",
		"SELECT list(repeat('x', 1000) || range) FROM range(1000000)", "COMMIT",
	} {
		rows, err := duckdb.Exec(t.Context(), ours, statement)
		result, theirErr := theirs.ExecContext(t.Context(), statement)
		var mine, its *driver.Error
		if errors.As(err, &mine) != errors.As(theirErr, &its) {
			t.Errorf("%s: got error %v, want %v", statement, err, theirErr)
			continue
		}
		if theirErr != nil {
			if mine.Type != its.Type {
				t.Errorf("%s: got error type %d, want %d: %v", statement, mine.Type, its.Type, err)
			}
			continue
		}
		if want, err := result.RowsAffected(); err != nil || rows != want {
			t.Errorf("%s: got %d rows, want %d, error %v", statement, rows, want, err)
		}
	}
}

// An endless statement ends when its context is cancelled, at any point, and does not affect the next statement.
func TestExec_Cancelled(t *testing.T) {
	conn := openConn(t)
	for n := range 250 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*4*time.Microsecond)
		_, err := duckdb.Exec(ctx, conn, "CREATE TABLE endless AS SELECT count(*) FROM range(1000000000000) a, "+
			"range(1000000) b WHERE a.range + b.range = -1")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := duckdb.Exec(t.Context(), conn, "SELECT count(*) FROM range(10)"); err != nil {
			t.Fatal(err)
		}
	}
}
