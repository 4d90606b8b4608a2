package warehouse

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
)

// All instances have the same settings, apart from the bounds of memory and the folder to which they spill.
func TestConfigure_InstancesHaveTheSameSettings(t *testing.T) {
	t.Parallel()
	ctx, opts := t.Context(), Options{Dir: t.TempDir()}
	noError := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	settings := func(db *sql.DB) map[string]string {
		t.Helper()
		rows, err := db.QueryContext(ctx, "SELECT name, coalesce(value, 'NULL') FROM duckdb_settings() "+
			"WHERE name NOT IN ('temp_directory', 'memory_limit', 'max_memory', 'search_path')")
		noError(err)
		defer rows.Close()
		values := map[string]string{}
		for rows.Next() {
			var name, value string
			noError(rows.Scan(&name, &value))
			values[name] = value
		}
		noError(rows.Err())
		return values
	}
	same := func(instance string, got, want map[string]string) {
		t.Helper()
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: got %s = %q, want %q", instance, name, got[name], value)
			}
		}
	}
	w, err := Open(ctx, opts)
	noError(err)
	want := settings(w.loader)
	path := filepath.Join(w.TempDir(), "other.duckdb")
	noError(w.makeEmpty(ctx, "other", path, smallBlock))
	db, detach, err := w.attachAlone(ctx, "alone", path)
	noError(err)
	same("instance of one database", settings(db), want)
	noError(errors.Join(detach(), w.Close()))
	w, err = openOffline(ctx, opts)
	noError(err)
	same("offline", settings(w.loader), want)
	noError(w.closeOffline())
}
