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
	"github.com/voicory/warehouse/warehouse/schema"

	"github.com/google/uuid"
)

// published returns the files in the manifest of tenant A, and their names and numbers of rows as a text.
func published(t *testing.T, w *warehouse.Warehouse) (found []warehouse.PublishedFile, names string) {
	t.Helper()
	found, err := w.PublishedFiles(t.Context(), tenantA)
	noError(t, err)
	for _, file := range found {
		names += fmt.Sprintln(file.Name, file.Rows)
	}
	return found, names
}

// content returns the content of a published file, which it opens by its name, or "" if there is no such file.
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
		t.Errorf("file %s: got SHA-256 %x and %d bytes, want %s and %d", file.Name, sum, len(bytes), file.SHA256, file.Bytes)
	}
	return string(bytes)
}

func TestPublishedFiles_DescribeTheLake(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	started := time.Now().Add(-time.Second)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-01T00:00:00Z", "transcript": "Caller: hi\nAI: ho"}),
		call(tenantA, 2, row{"created_at": "2026-01-31T23:59:59.999999Z"}),
		call(tenantA, 3, row{"created_at": "2026-02-10T00:00:00Z"}))
	merge(t, w, schema.Customers, call(tenantA, 1, row{"created_at": "2020-05-05"}))
	publish(t, w)
	found, _ := published(t, w)
	var all []string
	for _, file := range found {
		all = append(all, fmt.Sprint(file.Export, " ", file.Month, " ", file.Rows,
			" ", file.MinCreatedAt.Format(time.RFC3339Nano), " ", file.MaxCreatedAt.Format(time.RFC3339Nano)))
		month := "month=" + file.Month
		if file.Month == "" {
			month = ""
		}
		path := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), file.Export, month, file.Export+".parquet")
		if readFile(t, path) != content(t, w, file) {
			t.Errorf("file %s differs from %s, want the same content", file.Name, path)
		}
		if !strings.HasSuffix(file.Name, "-"+file.SHA256[:16]+".parquet") {
			t.Errorf("got name %s, want one with the digest %s", file.Name, file.SHA256[:16])
		}
		if file.AsOf.Before(started) || file.AsOf.After(time.Now()) {
			t.Errorf("file %s: got as_of %v, want a time from %v until now", file.Name, file.AsOf, started)
		}
		metadata := " FROM parquet_kv_metadata('" + path + "') WHERE decode(key) = "
		want(t, queryFile(t, "", "SELECT decode(value)"+metadata+"'voicory.as_of'"), file.AsOf.Format(time.RFC3339Nano))
		columns := "(DESCRIBE FROM read_parquet('" + path + "', hive_partitioning = false))"
		want(t, queryFile(t, "", "SELECT to_json(decode(value) ->> '$[*].name')"+metadata+"'voicory.columns'"),
			queryFile(t, "", "SELECT to_json(list(column_name)) FROM "+columns))
	}
	want(t, strings.Join(all, "\n"), `calls 2026-01 2 2026-01-01T00:00:00Z 2026-01-31T23:59:59.999999Z
calls 2026-02 1 2026-02-10T00:00:00Z 2026-02-10T00:00:00Z
cost_daily 2026-01 2 2026-01-01T00:00:00Z 2026-01-31T23:59:59.999999Z
cost_daily 2026-02 1 2026-02-10T00:00:00Z 2026-02-10T00:00:00Z
customers  1 2020-05-05T00:00:00Z 2020-05-05T00:00:00Z
transcript_turns 2026-01 2 2026-01-01T00:00:00Z 2026-01-01T00:00:00Z`)
	if others, err := w.PublishedFiles(t.Context(), tenantB); err != nil || len(others) != 0 {
		t.Errorf("tenant without files: got %v and error %v, want no files", others, err)
	}
	_, _, err := w.OpenPublished(t.Context(), tenantB, "calls", found[0].Name)
	if !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("file of another tenant: got error %v, want %v", err, warehouse.ErrNotFound)
	}
	noError(t, w.Close())
}

// A replaced file can be opened by its name for an hour, also after a restart. Then it is removed. A reader that has it
// open can read it to the end.
func TestOpenPublished_ReplacedFileExpires(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, row{"transcript": "Caller: hi"}))
	publish(t, w)
	first, _ := published(t, w)
	before := content(t, w, first[0])
	merge(t, w, schema.Calls, call(tenantA, 1, row{"transcript": nil, "cost": 1}))
	publish(t, w)
	second, names := published(t, w)
	if len(second) != 2 || strings.Contains(names, first[0].Name) {
		t.Fatalf("got manifest %s, want 2 files without %s", names, first[0].Name)
	}
	noError(t, w.Close())
	w = open(t, dir)
	publish(t, w)
	for _, file := range first {
		if content(t, w, file) == "" {
			t.Errorf("file %s: got none, want the replaced file", file.Name)
		}
	}
	_, reading, err := w.OpenPublished(t.Context(), tenantA, "calls", first[0].Name)
	noError(t, err)
	defer reading.Close()
	long := time.Now().Add(-time.Hour)
	noError(t, os.Chtimes(filepath.Join(dir, "published", "replaced", tenantA.String(), first[0].Name), long, long))
	publish(t, w)
	if content(t, w, first[0]) != "" || content(t, w, first[1]) == "" || content(t, w, second[0]) == "" {
		t.Errorf("got other files removed, want only %s, which has expired", first[0].Name)
	}
	if rest, err := io.ReadAll(reading); err != nil || string(rest) != before {
		t.Errorf("open file: got %d bytes and error %v, want %d bytes", len(rest), err, len(before))
	}
	noError(t, w.Close())
}

// The ranges of a file that engines request do not read the store again, until it has another commit.
func TestOpenPublished_ReadsManifestAfterEachCommit(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	merge(t, w, schema.Calls, call(tenantA, 1, row{"transcript": "Caller: hi"}))
	publish(t, w)
	files, _ := published(t, w)
	if content(t, w, files[0]) == "" {
		t.Fatalf("file %s: got none, want the published file", files[0].Name)
	}
	noError(t, w.ExecInStore(t.Context(), tenantA, "DELETE FROM published_files", false))
	for _, file := range files {
		if content(t, w, file) == "" {
			t.Errorf("file %s, without a commit: got none, want the entry in memory", file.Name)
		}
	}
	noError(t, w.ExecInStore(t.Context(), tenantA, "SELECT 1", true))
	if content(t, w, files[0]) != "" {
		t.Errorf("file %s, after a commit: got content, want none", files[0].Name)
	}
	tables, err := w.TableFiles(t.Context(), tenantA, files[0].Export)
	noError(t, err)
	if len(tables) != 0 {
		t.Errorf("table, after a commit: got %d files, want none", len(tables))
	}
	noError(t, w.Close())
}

// After a crash between writing a file and updating the manifest, the next publishing writes the file again and removes
// the files that are not in the manifest.
func TestPublish_RecoversFromCrashBeforeManifest(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	publish(t, w)
	first, _ := published(t, w)
	merge(t, w, schema.Calls, call(tenantA, 1, row{"cost": 1}))
	noError(t, w.Close())
	orphan := filepath.Join(dir, "published", tenantA.String(), "calls-2026-03-0123456789abcdef.parquet")
	noError(t, os.WriteFile(orphan, []byte("written, not in the manifest"), 0o600))
	shown := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls", "month=2026-03", "calls.parquet")
	noError(t, os.Remove(shown)) // a hard link to the file in the manifest
	noError(t, os.WriteFile(shown, []byte("written, not in the manifest"), 0o600))
	w = open(t, dir)
	if content(t, w, first[0]) == "" {
		t.Errorf("file %s: got none, want the file in the manifest", first[0].Name)
	}
	publish(t, w)
	second, _ := published(t, w)
	have := files(t, filepath.Join(dir, "published", tenantA.String()))
	slices.Sort(have)
	want(t, fmt.Sprint(have), fmt.Sprint([]string{second[0].Name, second[1].Name}))
	want(t, queryLake(t, dir, "SELECT sum(cost) FROM read_parquet('{lake}/*/calls/*/*.parquet')"), "1.0000")
	noError(t, w.Close())
}

// Partitions that an older version has left unpublished are published after the upgrade.
func TestMigration_KeepsUnpublishedPartitions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unpublished string
		files       int
	}{
		// Files of calls, transcript_turns, cost_daily and customers, and two of February, whose format is older. Those of
		// calls are published again in any case, because the macros that read transcripts have changed.
		{"VALUES ('calls', '2026-01', 1), ('calls', '2026-01', 2), ('customers', '', 3)", 6},
		{"SELECT 'calls', '2026-01', 1 WHERE false", 5},
	} {
		dir := t.TempDir()
		w := open(t, dir)
		merge(t, w, schema.Calls,
			call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hi"}),
			call(tenantA, 2, row{"created_at": "2026-02-10"}))
		merge(t, w, schema.Customers, call(tenantA, 1, nil))
		publish(t, w)
		merge(t, w, schema.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hello"}))
		noError(t, w.Close())
		downgrade(t, dir, 5, "DELETE FROM published_files WHERE month <> '2026-02'; DELETE FROM unpublished; "+
			"INSERT INTO unpublished "+c.unpublished)
		w = open(t, dir)
		if got := publish(t, w); got.Files != c.files {
			t.Errorf("unpublished %q: got %+v, want %d files", c.unpublished, got, c.files)
		}
		if got := publish(t, w); got.Files != 0 {
			t.Errorf("unpublished %q: second call: got %+v, want no files", c.unpublished, got)
		}
		noError(t, w.Close())
	}
}

// A data folder of a version without a manifest is published again completely.
func TestMigration_PublishesFolderWithoutManifest(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-10", "transcript": "AI: hi"}),
		call(tenantA, 2, row{"created_at": "2026-02-10"}))
	merge(t, w, schema.Messages, call(tenantA, 1, nil))
	merge(t, w, schema.Customers, call(tenantA, 1, nil))
	publish(t, w)
	_, names := published(t, w)
	noError(t, w.Close())
	downgrade(t, dir, 4, "")
	lake := "lake/tenant_id=" + tenantA.String()
	for _, name := range []string{"published", lake + "/transcript_turns", lake + "/cost_daily"} {
		noError(t, os.RemoveAll(filepath.Join(dir, name)))
	}
	w = open(t, dir)
	if got := publish(t, w); got != (warehouse.Published{Files: 7, Rows: 4}) {
		t.Fatalf("got %+v, want 7 files of 4 rows", got)
	}
	if _, again := published(t, w); strings.Count(again, "\n") != strings.Count(names, "\n") {
		t.Errorf("got manifest\n%swant as many files as\n%s", again, names)
	}
	if got := publish(t, w); got.Files != 0 {
		t.Errorf("second call: got %+v, want no files", got)
	}
	noError(t, w.Close())
}

// One bound holds for the replaced files and the DuckDB exports of all tenants. The newest file stays.
func TestPublish_BoundsKeptFiles(t *testing.T) {
	defer warehouse.SetMaxKept(warehouse.SetMaxKept(1))
	dir := emptyFolder(t)
	w := open(t, dir)
	kept := func() (n int) {
		for _, file := range files(t, dir) {
			if strings.HasPrefix(file, "published/replaced/") || strings.HasPrefix(file, "tmp/") {
				n++
			}
		}
		return n
	}
	for cost := range 3 {
		merge(t, w, schema.Calls, call(tenantA, 1, row{"cost": cost}), call(tenantB, 1, row{"cost": cost}))
		publish(t, w)
		if n := kept(); n > 1 {
			t.Errorf("after publishing: got %d files, want the newest one", n)
		}
		for _, tenant := range []uuid.UUID{tenantA, tenantB} {
			_, content, err := w.OpenDatabase(t.Context(), tenant, "", func() (func(), error) { return func() {}, nil })
			noError(t, err)
			noError(t, content.Close())
			if n := kept(); n > 1 {
				t.Errorf("after an export: got %d files, want the newest one", n)
			}
		}
	}
	noError(t, w.Close())
}
