package warehouse_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// published lists what the manifest names, as a text.
func published(t *testing.T, w *warehouse.Warehouse) (found []warehouse.PublishedFile, names string) {
	t.Helper()
	found, err := w.PublishedFiles(t.Context(), tenantA)
	noError(t, err)
	for _, file := range found {
		names += fmt.Sprintln(file.Name, file.Rows)
	}
	return found, names
}

// content reads a published file by its name; a file that is gone is "".
func content(t *testing.T, w *warehouse.Warehouse, file warehouse.PublishedFile) string {
	t.Helper()
	again, in, err := w.OpenPublished(t.Context(), tenantA, file.Export, file.Name)
	if errors.Is(err, warehouse.ErrNotFound) {
		return ""
	}
	noError(t, err)
	defer in.Close()
	want(t, fmt.Sprint(again), fmt.Sprint(file))
	bytes, err := io.ReadAll(in)
	noError(t, err)
	sum := sha256.Sum256(bytes)
	if hex.EncodeToString(sum[:]) != file.SHA256 || int64(len(bytes)) != file.Bytes {
		t.Errorf("%s holds something else", file.Name)
	}
	return string(bytes)
}

func TestEveryFileIsInTheManifest(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	started := time.Now().Add(-time.Second)
	merge(t, w, warehouse.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-01T00:00:00Z", "transcript": "Caller: hi\nAI: ho"}),
		call(tenantA, 2, row{"created_at": "2026-01-31T23:59:59.999999Z"}),
		call(tenantA, 3, row{"created_at": "2026-02-10T00:00:00Z"}))
	merge(t, w, warehouse.Customers, call(tenantA, 1, row{"created_at": "2020-05-05"}))
	publish(t, w)
	found, _ := published(t, w)
	var all []string
	for _, file := range found {
		all = append(all, fmt.Sprint(file.Export, " ", file.Month, " ", file.Rows, " ", file.MinCreatedAt.Format(time.RFC3339Nano), " ", file.MaxCreatedAt.Format(time.RFC3339Nano)))
		month := "month=" + file.Month
		if file.Month == "" {
			month = ""
		}
		path := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), file.Export, month, file.Export+".parquet")
		if readFile(t, path) != content(t, w, file) {
			t.Errorf("%s is not what the lake shows", file.Name)
		}
		if !strings.HasSuffix(file.Name, "-"+file.SHA256[:16]+".parquet") || file.AsOf.Before(started) || file.AsOf.After(time.Now()) {
			t.Errorf("%+v", file)
		}
		want(t, queryFile(t, "", "SELECT decode(value) FROM parquet_kv_metadata('"+path+"') WHERE decode(key) = 'voicory.as_of'"), file.AsOf.Format(time.RFC3339Nano))
		want(t, queryFile(t, "", "SELECT to_json(decode(value) ->> '$[*].name') FROM parquet_kv_metadata('"+path+"') WHERE decode(key) = 'voicory.columns'"),
			queryFile(t, "", "SELECT to_json(list(column_name)) FROM (DESCRIBE FROM read_parquet('"+path+"', hive_partitioning = false))"))
	}
	want(t, strings.Join(all, "\n"), `calls 2026-01 2 2026-01-01T00:00:00Z 2026-01-31T23:59:59.999999Z
calls 2026-02 1 2026-02-10T00:00:00Z 2026-02-10T00:00:00Z
cost_daily 2026-01 2 2026-01-01T00:00:00Z 2026-01-31T23:59:59.999999Z
cost_daily 2026-02 1 2026-02-10T00:00:00Z 2026-02-10T00:00:00Z
customers  1 2020-05-05T00:00:00Z 2020-05-05T00:00:00Z
transcript_turns 2026-01 2 2026-01-01T00:00:00Z 2026-01-01T00:00:00Z`)
	if others, err := w.PublishedFiles(t.Context(), tenantB); err != nil || len(others) != 0 {
		t.Errorf("another tenant has %v, %v", others, err)
	}
	if _, _, err := w.OpenPublished(t.Context(), tenantB, "calls", found[0].Name); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("another tenant's file: %v", err)
	}
	noError(t, w.Close())
}

// A replaced file can be read by its name for an hour, over a restart too; then it goes. One that comes back stays.
func TestReplacedFilesStayForAnHour(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"transcript": "Caller: hi"}))
	publish(t, w)
	first, _ := published(t, w)
	before := content(t, w, first[0])
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"transcript": nil, "cost": 1}))
	publish(t, w)
	second, names := published(t, w)
	if len(second) != 2 || strings.Contains(names, first[0].Name) {
		t.Fatalf("the manifest names %s", names)
	}
	noError(t, w.Close())
	w = open(t, dir)
	publish(t, w)
	for _, file := range first {
		if content(t, w, file) == "" {
			t.Errorf("%s is gone", file.Name)
		}
	}
	_, reading, err := w.OpenPublished(t.Context(), tenantA, "calls", first[0].Name)
	noError(t, err)
	defer reading.Close()
	long := time.Now().Add(-time.Hour)
	noError(t, os.Chtimes(filepath.Join(dir, "published", "replaced", tenantA.String(), first[0].Name), long, long))
	publish(t, w)
	if content(t, w, first[0]) != "" || content(t, w, first[1]) == "" || content(t, w, second[0]) == "" {
		t.Error("another file went than the one whose time is up")
	}
	if rest, err := io.ReadAll(reading); err != nil || string(rest) != before {
		t.Errorf("who was reading it has %d bytes of %d: %v", len(rest), len(before), err)
	}
	noError(t, w.Close())
}

// A crash between a file and its note: the next publishing makes good, and nothing is left over.
func TestFilesAfterACrash(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, nil))
	publish(t, w)
	first, _ := published(t, w)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"cost": 1}))
	noError(t, w.Close())
	orphan := filepath.Join(dir, "published", tenantA.String(), "calls-2026-03-0123456789abcdef.parquet")
	noError(t, os.WriteFile(orphan, []byte("written, not noted"), 0o600))
	shown := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls", "month=2026-03", "calls.parquet")
	noError(t, os.Remove(shown)) // it is a link to the file that the manifest names
	noError(t, os.WriteFile(shown, []byte("written, not noted"), 0o600))
	w = open(t, dir)
	if content(t, w, first[0]) == "" {
		t.Error("what the manifest names is gone")
	}
	publish(t, w)
	second, _ := published(t, w)
	have := files(t, filepath.Join(dir, "published", tenantA.String()))
	slices.Sort(have)
	want(t, fmt.Sprint(have), fmt.Sprint([]string{second[0].Name, second[1].Name}))
	want(t, queryLake(t, dir, "SELECT sum(cost) FROM read_parquet('{lake}/*/calls/*/*.parquet')"), "1.0000")
	noError(t, w.Close())
}

// withoutUnpublished takes a tenant's file back to when what the lake does not show yet had a table.
const withoutUnpublished = `CREATE TABLE unpublished (dataset VARCHAR NOT NULL, month VARCHAR NOT NULL, seq BIGINT NOT NULL);
	ALTER TABLE clock DROP COLUMN unpublished;
	DELETE FROM schema_version WHERE version > 5;`

// What an older version has not published yet is still published.
func TestFileWithTableOfUnpublished(t *testing.T) {
	for _, c := range []struct {
		unpublished string
		files       int
	}{
		{"VALUES ('calls', '2026-01', 1), ('calls', '2026-01', 2), ('customers', '', 3)", 4}, // calls, their turns and costs; customers
		{"SELECT 'calls', '2026-01', 1 WHERE false", 0},
	} {
		dir := t.TempDir()
		w := open(t, dir)
		merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hi"}), call(tenantA, 2, row{"created_at": "2026-02-10"}))
		merge(t, w, warehouse.Customers, call(tenantA, 1, nil))
		publish(t, w)
		merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hello"}))
		noError(t, w.Close())
		execFile(t, filepath.Join(dir, "warehouse", tenantA.String()+".duckdb"), withoutUnpublished+"INSERT INTO unpublished "+c.unpublished)
		w = open(t, dir)
		if got := publish(t, w); got.Files != c.files {
			t.Errorf("of %q: published %+v", c.unpublished, got)
		}
		if got := publish(t, w); got.Files != 0 {
			t.Errorf("of %q: published again: %+v", c.unpublished, got)
		}
		noError(t, w.Close())
	}
}

// A data folder of before there was a manifest is published anew, as a whole, by itself.
func TestFolderWithoutManifest(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hi"}), call(tenantA, 2, row{"created_at": "2026-02-10"}))
	merge(t, w, warehouse.Messages, call(tenantA, 1, nil))
	merge(t, w, warehouse.Customers, call(tenantA, 1, nil))
	publish(t, w)
	_, names := published(t, w)
	noError(t, w.Close())
	execFile(t, filepath.Join(dir, "warehouse", tenantA.String()+".duckdb"), "DROP TABLE published_files; "+withoutUnpublished+"DELETE FROM schema_version WHERE version > 4")
	for _, made := range []string{"published", "lake/tenant_id=" + tenantA.String() + "/transcript_turns", "lake/tenant_id=" + tenantA.String() + "/cost_daily"} {
		noError(t, os.RemoveAll(filepath.Join(dir, made)))
	}
	w = open(t, dir)
	if got := publish(t, w); got != (warehouse.Published{Files: 7, Rows: 4}) {
		t.Fatalf("published %+v", got)
	}
	if _, again := published(t, w); strings.Count(again, "\n") != strings.Count(names, "\n") {
		t.Errorf("the manifest names\n%safter\n%s", again, names)
	}
	if got := publish(t, w); got.Files != 0 {
		t.Errorf("published again: %+v", got)
	}
	noError(t, w.Close())
}
