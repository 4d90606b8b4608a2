package warehouse_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

func TestPublish_LakeHoldsEveryRowOnce(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-31T23:59:59.999Z", "cost": 0.5}),
		call(tenantA, 2, row{"created_at": "2026-02-01T00:00:00.000Z", "cost": 0.25}),
		call(tenantB, 1, row{"created_at": "2026-02-01T05:29:00.000+05:30"}))
	merge(t, w, schema.Customers,
		row{"user_id": tenantA, "id": id(1), "created_at": "2020-01-01"},
		row{"user_id": tenantA, "id": id(2), "created_at": "2026-01-01"})
	merge(t, w, schema.Messages, call(tenantA, 1, row{"content": row{"text": row{"body": "hi"}}}))
	wantPublished(t, w, 8, 6)
	wantPublished(t, w, 0, 0)
	paths := files(t, filepath.Join(dir, "lake"))
	slices.Sort(paths)
	want(t, strings.Join(paths, "\n"), strings.NewReplacer(
		"A/", "tenant_id="+tenantA.String()+"/", "B/", "tenant_id="+tenantB.String()+"/",
	).Replace(`A/calls/month=2026-01/calls.parquet
A/calls/month=2026-02/calls.parquet
A/cost_daily/month=2026-01/cost_daily.parquet
A/cost_daily/month=2026-02/cost_daily.parquet
A/customers/customers.parquet
A/messages/month=2026-03/messages.parquet
B/calls/month=2026-01/calls.parquet
B/cost_daily/month=2026-01/cost_daily.parquet`))
	want(t, queryLake(t, dir, "SELECT {n: count(*), usd: sum(cost)} "+
		"FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet', hive_partitioning = true)"), "{'n': 3, 'usd': 0.7500}")
	want(t, queryLake(t, dir, "SELECT content ->> '$.text.body' "+
		"FROM read_parquet('{lake}/tenant_id=*/messages/*/*.parquet')"), "hi")
	noError(t, w.Close())
}

// wantPublished publishes, and checks the number of files and rows that were written.
func wantPublished(t *testing.T, w *warehouse.Warehouse, files int, rows int64) {
	t.Helper()
	if got, want := publish(t, w), (warehouse.Published{Files: files, Rows: rows}); got != want {
		t.Fatalf("got %+v published, want %+v", got, want)
	}
}

// The name of the data folder may contain characters that are special in SQL, in globs and in a shell.
func TestPublish_FolderNameWithSpecialCharacters(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's [a-z]* \"data\"")
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	wantPublished(t, w, 2, 1)
	noError(t, w.Close())
}

func TestPublish_ChangedRows(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-10"}),
		call(tenantA, 2, row{"created_at": "2026-02-10"}),
		call(tenantA, 3, row{"created_at": "2026-03-10"}))
	publish(t, w)
	merge(t, w, schema.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "cost": 0.1}))
	wantPublished(t, w, 2, 1)
	// A row whose created_at changes is removed from its old month. The file of a month without rows is removed.
	merge(t, w, schema.Calls, call(tenantA, 2, row{"created_at": "2026-03-11"}))
	wantPublished(t, w, 2, 2)
	lake := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls")
	if _, err := os.Stat(filepath.Join(lake, "month=2026-02", "calls.parquet")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file of the empty month: got error %v, want %v", err, os.ErrNotExist)
	}
	want(t, queryLake(t, dir, "SELECT list([month, cost::VARCHAR] ORDER BY created_at) "+
		"FROM read_parquet('{lake}/*/calls/*/*.parquet', hive_partitioning = true)"),
		"[[2026-01, 0.1000], [2026-03, NULL], [2026-03, NULL]]")
	noError(t, w.Close())
}

// Rows that are merged during a publishing may be in the files that it writes. The next publishing writes the rest.
func TestPublish_MergesDuringPublishing(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	const months = 36
	in := func(n int, status string) row {
		return call(tenantA, n, row{"status": status, "created_at": fmt.Sprintf("%d-%02d-10", 2024+n/12, 1+n%12)})
	}
	var rows []any
	for n := range months {
		rows = append(rows, in(n, "before"))
	}
	merge(t, w, schema.Calls, rows...)
	published := make(chan error)
	go func() {
		_, err := w.Publish(t.Context())
		published <- err
	}()
	for n := range months {
		merge(t, w, schema.Calls, in(n, "after"))
	}
	noError(t, <-published)
	publish(t, w)
	want(t, queryLake(t, dir, "SELECT string_agg(DISTINCT status) || count(*) "+
		"FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet')"), fmt.Sprintf("after%d", months))
	noError(t, w.Close())
}

// Rows that the source has deleted are removed from the lake by the next publishing. A file without rows is removed.
func TestPublish_DeletedRows(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-10"}),
		call(tenantA, 2, row{"created_at": "2026-01-11"}),
		call(tenantA, 3, row{"created_at": "2026-02-10"}))
	merge(t, w, schema.Customers, call(tenantA, 1, nil), call(tenantA, 2, nil))
	publish(t, w)
	lake := func() string {
		paths := files(t, filepath.Join(dir, "lake", "tenant_id="+tenantA.String()))
		slices.Sort(paths)
		return strings.Join(paths, " ")
	}
	// One of several rows is deleted. The deletion of an unknown row changes no file.
	merge(t, w, schema.Calls, deletion(1, "2026-06-01"), deletion(9, "2026-06-01"))
	merge(t, w, schema.Customers, deletion(1, "2026-06-01"))
	wantPublished(t, w, 3, 2)
	calls := queryLake(t, dir, "SELECT list(id ORDER BY id) FROM read_parquet('{lake}/*/calls/*/*.parquet')")
	want(t, calls, "["+id(2)+", "+id(3)+"]")
	customers := queryLake(t, dir, "SELECT list(id) FROM read_parquet('{lake}/*/customers/*.parquet')")
	want(t, customers, "["+id(2)+"]")
	merge(t, w, schema.Customers, deletion(9, "2026-06-01"))
	wantPublished(t, w, 0, 0)
	// The last row of a month is deleted, and the last row of a dataset with one file.
	merge(t, w, schema.Calls, deletion(2, "2026-06-01"))
	merge(t, w, schema.Customers, deletion(2, "2026-06-01"))
	wantPublished(t, w, 0, 0)
	want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	// The marker file is removed. The tenant's file and its WAL are left.
	want(t, fmt.Sprint(len(files(t, filepath.Join(dir, "warehouse")))), "2")

	// After a crash between the removal of a file and the update of the manifest, the file is missing already.
	merge(t, w, schema.Calls, deletion(3, "2026-06-01"))
	tenantLake := filepath.Join(dir, "lake", "tenant_id="+tenantA.String())
	noError(t, os.Remove(filepath.Join(tenantLake, "calls", "month=2026-02", "calls.parquet")))
	noError(t, w.Close())
	w = open(t, dir)
	wantPublished(t, w, 0, 0)
	// A deleted row that the source has again is published again.
	merge(t, w, schema.Calls, call(tenantA, 3, row{"created_at": "2026-02-10"}))
	wantPublished(t, w, 2, 1)
	want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	noError(t, w.Close())
}

// Transcripts of all shapes are converted to a list of turns.
func TestPublish_TranscriptShapes(t *testing.T) {
	t.Parallel()
	listed := "[{'speaker': Caller, 'text': hi, 'timestamp_ms': NULL}, " +
		"{'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"
	tests := []struct {
		fields row
		turns  string
	}{
		{row{"transcript": nil}, "NULL"},
		{row{"transcript": []row{}}, "[]"},
		{row{"transcript": []row{{"speaker": "Caller", "text": "hi"}, {"speaker": "AI", "text": "ho"}}}, listed},
		{row{"transcript": []row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}}}, listed},
		{row{"transcript": []row{{"role": "user", "content": "hi", "timestamp": "1970-01-01T00:00:01.5Z"}}},
			"[{'speaker': Caller, 'text': hi, 'timestamp_ms': 1500}]"},
		{row{"transcript": []row{{"role": "assistant", "message": "ho", "timestamp_ms": 70}}},
			"[{'speaker': AI, 'text': ho, 'timestamp_ms': 70}]"},
		{row{"transcript": "Caller: hi\nAssistant: ho"}, listed},
		{row{"transcript": "\n user : hi\r\n\nAI:ho\n"}, listed},
		{row{"transcript": `[{"speaker":"Caller","text":"hi"},{"speaker":"AI","text":"ho"}]`}, listed},
		{row{"transcript": "Caller: one\nand two: three\nAssistant: ho"},
			"[{'speaker': Caller, 'text': 'one\nand two: three', 'timestamp_ms': NULL}, " +
				"{'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"},
		{row{"transcript": "no one said who"}, "[{'speaker': NULL, 'text': no one said who, 'timestamp_ms': NULL}]"},
		{row{"transcript": "[Caller hung up"}, "[{'speaker': NULL, 'text': '[Caller hung up', 'timestamp_ms': NULL}]"},
		{row{"transcript": "Caller: a\u001eb\u001fc"}, "[{'speaker': Caller, 'text': abc, 'timestamp_ms': NULL}]"},
		{row{"transcript": []row{{"speaker": "Dr. Who", "text": "नमस्ते"}}},
			"[{'speaker': Dr. Who, 'text': नमस्ते, 'timestamp_ms': NULL}]"},
		{row{"transcript": row{"not": "a transcript"}}, "NULL"},
		{row{"transcript": 12}, "NULL"},
		{row{"transcript": ""}, "[]"},
		{row{"metadata": row{"transcript": "Caller: hi\nAI: ho"}}, listed},
		{row{"transcript": []string{"Caller: hi", "AI: ho"}}, listed},
		{row{"transcript": []row{{"Speaker": "Caller", "Text": "hi"}, {"Speaker": "AI", "Text": "ho"}}}, listed},
		{row{"transcript": []row{{"role": "user", "parts": []string{"hi"}},
			{"role": "assistant", "content": []row{{"type": "text", "text": "ho"}}}}}, listed},
		{row{"transcript": row{"messages": []row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}}}},
			listed},
		{row{"transcript": []row{{"speaker": "AI", "text": 12.5, "start": 1.25}}},
			"[{'speaker': AI, 'text': 12.5, 'timestamp_ms': 1250}]"},
	}
	fields := make([]row, len(tests))
	for n, test := range tests {
		fields[n] = test.fields
	}
	for n, got := range publishedValues(t, "coalesce(transcript::VARCHAR, 'NULL')", fields) {
		t.Run(fmt.Sprint(n), func(t *testing.T) { want(t, got, tests[n].turns) })
	}
}

// publishedValues publishes a call with each of the fields, and returns the value of the SQL expression over each.
func publishedValues(t *testing.T, expression string, fields []row) (values []string) {
	t.Helper()
	w := open(t, emptyFolder(t))
	var rows []any
	for n := range fields {
		rows = append(rows, call(tenantA, n, fields[n]))
	}
	merge(t, w, schema.Calls, rows...)
	publish(t, w)
	noError(t, w.Close())
	noError(t, json.Unmarshal([]byte(queryLake(t, w.Dir(), "SELECT to_json(list("+expression+
		" ORDER BY id)) FROM read_parquet('{lake}/*/calls/*/*.parquet')")), &values))
	if len(values) != len(fields) {
		t.Fatalf("got %d rows, want %d", len(values), len(fields))
	}
	return values
}

func TestPublish_Durations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		fields            row
		duration, seconds string
	}{
		{row{"duration": 138, "duration_seconds": 138}, "138", "138"},
		{row{"duration": "138"}, "138", "138"},
		{row{"duration": "2m 18s", "duration_seconds": 0}, "138", "138"},
		{row{"duration": "45s"}, "45", "45"},
		{row{"duration": "1h 2m"}, "3720", "3720"},
		{row{"duration": "02:18"}, "138", "138"},
		{row{"duration": "1:02:03"}, "3723", "3723"},
		{row{"duration": " 1 h 2 m 3 s "}, "3723", "3723"},
		{row{"duration": "0s"}, "0", "0"},
		{row{"duration": " "}, "NULL", "NULL"},
		{row{"duration": "18s 2m"}, "NULL", "NULL"},
		{row{"duration": "12:345"}, "NULL", "NULL"},
		{row{"duration": "999999h"}, "NULL", "NULL"},
		{row{"duration": "600000:00:00", "duration_seconds": 3}, "NULL", "3"},
		{row{"duration": "99999999999999999999m"}, "NULL", "NULL"},
		{row{"duration": "a while", "duration_seconds": 7}, "NULL", "7"},
		{row{"started_at": "2026-03-01T10:00:00Z", "ended_at": "2026-03-01T10:00:09Z"}, "NULL", "9"},
		{row{"duration": 0, "duration_seconds": 0}, "0", "0"},
		{row{"duration_seconds": 0, "started_at": "2026-03-01T10:00:09Z", "ended_at": "2026-03-01T10:00:00Z"},
			"NULL", "0"},
		{row{}, "NULL", "NULL"},
	}
	fields := make([]row, len(tests))
	for n, test := range tests {
		fields[n] = test.fields
	}
	for n, got := range publishedValues(t, "[duration, duration_seconds]::VARCHAR", fields) {
		t.Run(fmt.Sprint(n), func(t *testing.T) { want(t, got, "["+tests[n].duration+", "+tests[n].seconds+"]") })
	}
}

// The failure of one tenant is an error of this tenant alone: the others are published, and its own files count as
// incomplete until a later call has published it.
func TestPublish_FailureOfOneTenant(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil))
	blocker := filepath.Join(dir, "lake", "tenant_id="+tenantA.String())
	noError(t, os.WriteFile(blocker, nil, 0o600))
	for range 2 {
		published, err := w.Publish(t.Context())
		failures := (warehouse.PublishErrors)(nil)
		if !errors.As(err, &failures) || len(failures) != 1 || failures[0].Tenant != tenantA {
			t.Fatalf("got %+v and error %v, want the failure of tenant A", published, err)
		}
	}
	want(t, kinds(w), "A/publication_failing")
	_, err := w.PublishedFiles(t.Context(), tenantA)
	wantKind(t, err, warehouse.ErrUnpublished)
	files, err := w.PublishedFiles(t.Context(), tenantB)
	if err != nil || len(files) != 2 {
		t.Errorf("tenant B: got %d files and error %v, want 2 files", len(files), err)
	}
	noError(t, os.Remove(blocker))
	wantPublished(t, w, 2, 1)
	if files, err = w.PublishedFiles(t.Context(), tenantA); err != nil || len(files) != 2 {
		t.Errorf("tenant A: got %d files and error %v, want 2 files", len(files), err)
	}
	want(t, kinds(w), "")
	noError(t, w.Close())
}

// Small partitions are written from a temporary table, and large ones directly. Their files have the rows of the store,
// in order. A partition that cannot be written is the only one that stays stale, and no temporary file is left.
func TestPublish_SmallAndLargePartitions(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	var rows []any
	add := func(month, count int) {
		for range count {
			n := len(rows)
			rows = append(rows, call(tenantA, n*7919%100_000, row{"transcript": "AI: hi\nCaller: ho", "cost": 0.25,
				"created_at": fmt.Sprintf("2026-%02d-%02dT00:00:00Z", month, 1+n%28)}))
		}
	}
	for month, count := range []int{5000, 3192, 1, 8193, 2, 0, 3} { // two groups, one alone, and one of two
		add(1+month, count)
	}
	merge(t, w, schema.Calls, rows...)
	lake := filepath.Join(dir, "lake", "tenant_id="+tenantA.String())
	blocker := filepath.Join(lake, "calls", "month=2026-05", "calls.parquet") // its neighbour is in the same group
	noError(t, os.MkdirAll(filepath.Join(blocker, "x"), 0o700))
	published, err := w.Publish(t.Context())
	if failures := (warehouse.PublishErrors)(nil); !errors.As(err, &failures) || published.Files != 5*3 {
		t.Errorf("got %+v and error %v, want 15 files and the failure of one partition", published, err)
	}
	noError(t, os.RemoveAll(blocker))
	wantPublished(t, w, 3, 2)
	verification, err := w.Verify(t.Context(), tenantA)
	if err != nil || !verification.Sound() || verification.Checked.Partitions != 19 {
		t.Errorf("got %+v and error %v, want 18 sound files, and none of the customers", verification, err)
	}
	noError(t, w.Close())
	for _, name := range files(t, dir) {
		if strings.Contains(name, ".unfinished") {
			t.Errorf("got the temporary file %s", name)
		}
	}
	for _, order := range []string{"calls created_at, id", "cost_daily day"} {
		export, columns, _ := strings.Cut(order, " ")
		want(t, queryLake(t, dir, "SELECT count(*) FROM (SELECT month, row_number() OVER (PARTITION BY month ORDER BY "+
			columns+
			") AS sorted, file_row_number FROM read_parquet('{lake}/*/"+export+"/*/*.parquet', hive_partitioning = true, "+
			"file_row_number = true)) WHERE sorted <> file_row_number + 1"), "0")
	}
}
