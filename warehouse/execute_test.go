package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// openConn returns a connection to a new DuckDB instance.
func openConn(t *testing.T) *sql.Conn {
	t.Helper()
	db, err := sql.Open("duckdb", "?memory_limit=50MB&threads=2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it only goes back
	return conn
}

// execute has the same effects, results and errors as ExecContext of the driver.
func TestExecute_MatchesDriver(t *testing.T) {
	ours, theirs := openConn(t), openConn(t)
	for _, statement := range []string{
		"CREATE TABLE t AS SELECT range AS n FROM range(100000)", "INSERT INTO t FROM range(7)",
		"UPDATE t SET n = n + 1 WHERE n < 50", "DELETE FROM t WHERE n % 2 = 0",
		"COPY t TO '/dev/null' (FORMAT csv)",
		"SELECT", "SELECT none FROM t", "FROM none", "SELECT n::UTINYINT FROM t", "SELECT error('own')",
		"COPY t TO '/none/file'", "INSERT INTO t SELECT error('late') FROM range(100000) WHERE range > 90000",
		"SELECT list(repeat('x', 1000) || range) FROM range(1000000)", "COMMIT",
	} {
		rows, err := execute(t.Context(), ours, statement)
		result, theirErr := theirs.ExecContext(t.Context(), statement)
		var mine, its *duckdb.Error
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
func TestExecute_Cancelled(t *testing.T) {
	conn := openConn(t)
	for n := range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Microsecond)
		_, err := execute(ctx, conn, "CREATE TABLE endless AS SELECT count(*) FROM range(1000000000000) a, "+
			"range(1000000) b WHERE a.range + b.range = -1")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := execute(t.Context(), conn, "SELECT count(*) FROM range(10)"); err != nil {
			t.Fatal(err)
		}
	}
}
