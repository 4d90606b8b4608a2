package warehousetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	engine "github.com/voicory/warehouse/warehouse/duckdb"
)

// WriteVersion creates the database of a released version: its scripts are applied, and rows are inserted by statements
// of the first version.
func WriteVersion(t testing.TB, path, kind string, version int, rows string) {
	t.Helper()
	instance, err := engine.Open(t.Context(), filepath.Dir(path))
	NoError(t, err)
	defer func() { NoError(t, instance.Close()) }()
	NoError(t, instance.AddFunctions(t.Context(), warehouse.ValueFunctions...))
	script := []string{"ATTACH " + statements.Text(path) + " AS old", "USE old",
		"CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"}
	for i, text := range statements.Migrations(kind)[:version] {
		script = append(script, text, fmt.Sprintf("INSERT INTO schema_version VALUES (%d, now())", i+1))
	}
	db := instance.DB("")
	db.SetMaxOpenConns(1)
	for _, statement := range append(script, rows, "USE memory", "DETACH old") {
		_, err := db.ExecContext(t.Context(), statement)
		NoError(t, err)
	}
	NoError(t, db.Close())
}

// Downgrade replaces tenant A's store by one of an earlier version with the same rows, in the columns that the version
// has, and then changes it by a script. Versions before histories had neither a journal nor a record of commits.
func Downgrade(t testing.TB, dir string, version int, script string) {
	t.Helper()
	path := StorePath(dir, TenantA)
	WriteVersion(t, path+".old", "tenant", version, "SELECT 1")
	columns := func(path string) map[string][]string {
		var tables map[string][]string
		NoError(t, json.Unmarshal([]byte(QueryFile(t, path+"?access_mode=READ_ONLY",
			`SELECT json_group_object(table_name, names)
			FROM (SELECT table_name, list(column_name ORDER BY column_index) AS names FROM duckdb_columns()
				WHERE NOT internal AND table_name IN (SELECT table_name FROM duckdb_tables()) GROUP BY ALL)`)), &tables))
		return tables
	}
	current, copies := columns(path), ""
	for table, names := range columns(path + ".old") {
		kept := slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(current[table], name) })
		if list := strings.Join(kept, ", "); table != "schema_version" && list != "" {
			copies += fmt.Sprintf("DELETE FROM %[1]s; INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM current.%[1]s;", table, list)
		}
	}
	ExecFile(t, path+".old", "ATTACH "+statements.Text(path)+" AS current (READ_ONLY); "+copies+"DETACH current; "+script)
	NoError(t, os.Rename(path+".old", path))
	ExecFile(t, filepath.Join(dir, "control.duckdb"), "UPDATE tenants SET history = NULL; DELETE FROM journal")
	NoError(t, errors.Join(os.Remove(filepath.Join(dir, "journal.ndjson")), os.Remove(filepath.Join(dir, "commits"))))
}
