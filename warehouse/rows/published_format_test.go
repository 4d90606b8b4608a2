package rows_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// mergeEveryExport merges rows of tenant A so that each export has rows.
func mergeEveryExport(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"assistant_id": ID(9), "transcript": "AI: hi", "tts_characters": 5}))
	Merge(t, w, schema.Customers, Call(TenantA, 2, nil))
	Merge(t, w, schema.Messages, Call(TenantA, 3, Row{"customer_id": ID(2), "assistant_id": ID(9)}))
}

// numbers returns the names and numbers of the fields and of their members, in the order in which DuckDB lists them.
func numbers(t *testing.T, fields []schema.Field, seen map[int]bool) (list []string) {
	t.Helper()
	for _, f := range fields {
		if f.ID < 1 || seen[f.ID] {
			t.Errorf("field %s: got number %d, want one of its own", f.Name, f.ID)
		}
		seen[f.ID] = true
		list = append(list, fmt.Sprintf("%s %d", f.Name, f.ID))
		list = append(list, numbers(t, f.Members, seen)...)
	}
	return list
}

// Every published file has the declared numbers of its fields, and its ids are text.
func TestPublish_FieldNumbersAndTextIDs(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	mergeEveryExport(t, w)
	Publish(t, w)
	NoError(t, w.Close())
	for _, export := range schema.Exports {
		fields := make([]schema.Field, len(export.Columns))
		for i, column := range export.Columns {
			fields[i] = column.Field
		}
		path := filepath.Join(dir, "lake", "tenant_id="+TenantA.String(), export.Name, "**", "*.parquet")
		parquet := "FROM parquet_schema('" + path + "')"
		Want(t, QueryFile(t, "", "SELECT string_agg(name || ' ' || field_id, ', ') "+parquet+" WHERE field_id IS NOT NULL"),
			strings.Join(numbers(t, fields, map[int]bool{}), ", "))
		Want(t, QueryFile(t, "", "SELECT coalesce(string_agg(name || ' ' || type || ' ' || coalesce(converted_type, '-')), "+
			"'') "+
			parquet+" WHERE (name = 'id' OR name LIKE '%\\_id' ESCAPE '\\') AND converted_type IS DISTINCT FROM 'UTF8' "+
			"OR logical_type ILIKE '%uuid%' OR type = 'FIXED_LEN_BYTE_ARRAY' AND converted_type IS DISTINCT FROM 'DECIMAL'"), "")
	}
}

// downgradeFiles gives the published files the types of format 1, and removes the record of their format.
func downgradeFiles(t *testing.T, dir string) {
	t.Helper()
	var updates string
	for _, name := range Files(t, filepath.Join(dir, "lake")) {
		path := filepath.Join(dir, "lake", name)
		export := strings.TrimSuffix(filepath.Base(path), ".parquet")
		var old []string
		for _, column := range schema.MustExport(export).Columns {
			switch {
			case column.Name == "id" || strings.HasSuffix(column.Name, "_id") && column.Name != "wa_message_id":
				old = append(old, column.Name+"::UUID AS "+column.Name)
			case column.Type == "DECIMAL(38,0)":
				old = append(old, column.Name+"::BIGINT AS "+column.Name)
			}
		}
		ExecFile(t, "", fmt.Sprintf("SET TimeZone = 'UTC'; COPY (SELECT * REPLACE (%s) FROM read_parquet('%s', "+
			"hive_partitioning = false)) TO '%[2]s.old' (FORMAT parquet)", strings.Join(old, ", "), path))
		text := ReadFile(t, path+".old") // written in place, so that the second name of the file has the content, too
		NoError(t, os.Remove(path+".old"))
		NoError(t, os.WriteFile(path, []byte(text), 0o600))
		updates += fmt.Sprintf("UPDATE published_files SET format = 1, bytes = %d, sha256 = '%x' WHERE export = '%s';",
			len(text), sha256.Sum256([]byte(text)), export)
	}
	ExecFile(t, filepath.Join(dir, "warehouse", TenantA.String()+".duckdb"), updates)
	NoError(t, os.WriteFile(filepath.Join(dir, "voicory.json"), []byte(`{"format":1,"lake_mode":"private"}`), 0o600))
}

// Files that an earlier version published are readable, and are upgraded once.
func TestUpgradePublished_OldFilesAreUpgradedOnce(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	mergeEveryExport(t, w)
	Publish(t, w)
	NoError(t, w.Close())
	downgradeFiles(t, dir)
	const uuids = "SELECT count(*) FROM parquet_schema('{lake}/**/*.parquet') WHERE logical_type = 'UUIDType()'"
	Want(t, QueryLake(t, dir, uuids), "9")
	w = Open(t, dir)
	snapshot, err := w.Snapshot(t.Context(), TenantA)
	NoError(t, err)
	for _, export := range schema.Exports {
		filter := schema.Filter{}
		filter.AssistantID.Valid, filter.AssistantID.UUID[15] = true, 9
		filter.AssistantID.UUID[6], filter.AssistantID.UUID[8] = 0x40, 0x80
		if export.Source.Name != schema.Calls.Name {
			filter = schema.Filter{}
		}
		statement, err := snapshot.Select(t.Context(), export, filter)
		NoError(t, err)
		if !strings.Contains(statement, "read_parquet") {
			t.Errorf("%s: got %s, want a statement over files", export.Name, statement)
		}
		var types string
		NoError(t, snapshot.Conn.QueryRowContext(t.Context(),
			"SELECT string_agg(column_type, ', ') || (SELECT count(*) FROM ("+
				statement+")) FROM (DESCRIBE "+statement+")").Scan(&types))
		var declared []string
		for _, column := range export.Columns {
			declared = append(declared, column.Type)
		}
		Want(t, types, strings.Join(declared, ", ")+"1")
	}
	NoError(t, snapshot.Close())
	WantPublished(t, w, 0, 0)
	for _, files := range []int{5, 0} {
		upgraded, err := w.UpgradePublished(t.Context())
		NoError(t, err)
		if upgraded.Files != files {
			t.Errorf("got %d files upgraded, want %d", upgraded.Files, files)
		}
	}
	NoError(t, w.Close())
	Want(t, QueryLake(t, dir, uuids), "0")
	created := t.TempDir()
	NoError(t, Open(t, created).Close())
	Want(t, ReadFile(t, filepath.Join(dir, "voicory.json")), ReadFile(t, filepath.Join(created, "voicory.json")))
}
