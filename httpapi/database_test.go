package httpapi_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // reads what was sent

	"github.com/voicory/warehouse/warehouse/schema"
)

const databasePath = "/api/v1/exports/warehouse.duckdb"

// A receivedDatabase is a DuckDB file that was sent.
type receivedDatabase struct{ *sql.DB }

// openDatabase opens a DuckDB file that was sent, and closes it at the end of the test.
func openDatabase(t *testing.T, content string) receivedDatabase {
	t.Helper()
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	noError(t, os.WriteFile(path, []byte(content), 0o600))
	db, err := sql.Open("duckdb", path+"?access_mode=READ_ONLY")
	noError(t, err)
	t.Cleanup(func() { db.Close() })
	return receivedDatabase{db}
}

// value returns the only value of a query.
func (d receivedDatabase) value(t *testing.T, query string) (value string) {
	t.Helper()
	noError(t, d.QueryRowContext(t.Context(), "SELECT ("+query+")::VARCHAR").Scan(&value))
	return value
}

// columnsOf returns the names and types of a Parquet file's columns.
func (d receivedDatabase) columnsOf(t *testing.T, parquet string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream.parquet")
	noError(t, os.WriteFile(path, []byte(parquet), 0o600))
	return d.value(t, "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE FROM read_parquet('"+
		path+"'))")
}

func TestDatabase_IsDownloaded(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	got := b.ask(t, "GET", databasePath, b.secret)
	tag := got.header.Get("ETag")
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Disposition"),
		`attachment; filename="warehouse_20`) {
		t.Fatal(got.status, got.header)
	}
	database := openDatabase(t, got.body)
	for _, export := range schema.Exports {
		rows := strings.Count(b.stream(t, export.Name+"?format=ndjson").body, "\n")
		if in := database.value(t, "SELECT count(*) FROM "+export.Name); in != fmt.Sprint(rows) || rows == 0 {
			t.Errorf("%s has %s rows, not %d", export.Name, in, rows)
		}
	}
	last := len(got.body) - 1
	for _, test := range []struct {
		method, header, value string
		status                int
		body                  string
	}{
		{"HEAD", "Accept", "*/*", 200, ""},
		{"GET", "If-None-Match", tag, 304, ""},
		{"GET", "Range", "bytes=0-0", 206, got.body[:1]},
		{"GET", "Range", fmt.Sprintf("bytes=%d-%d", last, last+9), 206, got.body[last:]},
		{"GET", "Range", "bytes=-7", 206, got.body[last-6:]},
		{"GET", "Range", fmt.Sprintf("bytes=%d-", last+1), 416, ""},
		{"GET", "If-Match", `"other"`, 412, ""},
	} {
		part := b.ask(t, test.method, databasePath, b.secret, test.header, test.value)
		if part.status != test.status || part.status < 300 && (part.body != test.body || part.header.Get("ETag") != tag) {
			t.Errorf("%s: %s: %d", test.header, test.value, part.status)
		}
	}
	if theirs := b.ask(t, "GET", databasePath, b.another); theirs.header.Get("ETag") == tag {
		t.Error("another tenant gets the same file")
	}
	if public := b.ask(t, "GET", databasePath, b.key); public.status != http.StatusForbidden {
		t.Error(public.status)
	}
}

// A file is written again only after rows have changed. A client that reads ranges of the previous file can continue.
func TestDatabase_ChangesWithItsRows(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	before := b.ask(t, "GET", databasePath, b.secret)
	merge(t, b.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-04-01"}`, mine, id(901)))
	tag := before.header.Get("ETag")
	rest := b.ask(t, "GET", databasePath, b.secret, "Range", "bytes=100-", "If-Match", tag)
	if rest.status != http.StatusPartialContent || rest.body != before.body[100:] {
		t.Errorf("the rest of the file before: %d, %d bytes", rest.status, len(rest.body))
	}
	after := b.ask(t, "GET", databasePath, b.secret, "Range", "bytes=100-", "If-Range", tag)
	if after.status != http.StatusOK || after.header.Get("ETag") == tag ||
		openDatabase(t, after.body).value(t, "SELECT count(*) FROM calls") != "61" {
		t.Error(after.status, after.header)
	}
	if again := b.ask(t, "HEAD", databasePath, b.secret); again.header.Get("ETag") != after.header.Get("ETag") {
		t.Error("it was written anew, and nothing has changed")
	}
}

func TestDatabase_IsWrittenOnceForAllReaders(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	tags := make([]string, 8)
	var asking sync.WaitGroup
	for i := range tags {
		asking.Go(func() { tags[i] = b.ask(t, "HEAD", databasePath, b.secret).header.Get("ETag") })
	}
	asking.Wait()
	files, err := filepath.Glob(filepath.Join(b.warehouse.TempDir(), "*.duckdb"))
	noError(t, err)
	for _, tag := range tags {
		if tag == "" || tag != tags[0] || len(files) != 1 {
			t.Error(tags, files)
		}
	}
}
