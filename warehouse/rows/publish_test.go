package rows_test

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
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

func TestPublish_LakeHoldsEveryRowOnce(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"created_at": "2026-01-31T23:59:59.999Z", "cost": 0.5}),
		Call(TenantA, 2, Row{"created_at": "2026-02-01T00:00:00.000Z", "cost": 0.25}),
		Call(TenantB, 1, Row{"created_at": "2026-02-01T05:29:00.000+05:30"}))
	Merge(t, w, schema.Customers,
		Row{"user_id": TenantA, "id": ID(1), "created_at": "2020-01-01"},
		Row{"user_id": TenantA, "id": ID(2), "created_at": "2026-01-01"})
	Merge(t, w, schema.Messages, Call(TenantA, 1, Row{"content": Row{"text": Row{"body": "hi"}}}))
	WantPublished(t, w, 8, 6)
	WantPublished(t, w, 0, 0)
	paths := Files(t, filepath.Join(dir, "lake"))
	slices.Sort(paths)
	Want(t, strings.Join(paths, "\n"), strings.NewReplacer(
		"A/", "tenant_id="+TenantA.String()+"/", "B/", "tenant_id="+TenantB.String()+"/",
	).Replace(`A/calls/month=2026-01/calls.parquet
A/calls/month=2026-02/calls.parquet
A/cost_daily/month=2026-01/cost_daily.parquet
A/cost_daily/month=2026-02/cost_daily.parquet
A/customers/customers.parquet
A/messages/month=2026-03/messages.parquet
B/calls/month=2026-01/calls.parquet
B/cost_daily/month=2026-01/cost_daily.parquet`))
	Want(t, QueryLake(t, dir, "SELECT {n: count(*), usd: sum(cost)} "+
		"FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet', hive_partitioning = true)"), "{'n': 3, 'usd': 0.7500}")
	Want(t, QueryLake(t, dir, "SELECT content ->> '$.text.body' "+
		"FROM read_parquet('{lake}/tenant_id=*/messages/*/*.parquet')"), "hi")
	NoError(t, w.Close())
}

// The name of the data folder may contain characters that are special in SQL, in globs and in a shell.
func TestPublish_FolderNameWithSpecialCharacters(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's [a-z]* \"data\"")
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	WantPublished(t, w, 2, 1)
	NoError(t, w.Close())
}

func TestPublish_ChangedRows(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"created_at": "2026-01-10"}),
		Call(TenantA, 2, Row{"created_at": "2026-02-10"}),
		Call(TenantA, 3, Row{"created_at": "2026-03-10"}))
	Publish(t, w)
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"created_at": "2026-01-10", "cost": 0.1}))
	WantPublished(t, w, 2, 1)
	// A row whose created_at changes is removed from its old month. The file of a month without rows is removed.
	Merge(t, w, schema.Calls, Call(TenantA, 2, Row{"created_at": "2026-03-11"}))
	WantPublished(t, w, 2, 2)
	lake := filepath.Join(dir, "lake", "tenant_id="+TenantA.String(), "calls")
	if _, err := os.Stat(filepath.Join(lake, "month=2026-02", "calls.parquet")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file of the empty month: got error %v, want %v", err, os.ErrNotExist)
	}
	Want(t, QueryLake(t, dir, "SELECT list([month, cost::VARCHAR] ORDER BY created_at) "+
		"FROM read_parquet('{lake}/*/calls/*/*.parquet', hive_partitioning = true)"),
		"[[2026-01, 0.1000], [2026-03, NULL], [2026-03, NULL]]")
	NoError(t, w.Close())
}

// Rows that are merged during a publishing may be in the files that it writes. The next publishing writes the rest.
func TestPublish_MergesDuringPublishing(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	const months = 18
	in := func(n int, status string) Row {
		return Call(TenantA, n, Row{"status": status, "created_at": fmt.Sprintf("%d-%02d-10", 2024+n/12, 1+n%12)})
	}
	var rows []any
	for n := range months {
		rows = append(rows, in(n, "before"))
	}
	Merge(t, w, schema.Calls, rows...)
	published := make(chan error)
	go func() {
		_, err := w.Publish(t.Context())
		published <- err
	}()
	for n := range months {
		Merge(t, w, schema.Calls, in(n, "after"))
	}
	NoError(t, <-published)
	Publish(t, w)
	Want(t, QueryLake(t, dir, "SELECT string_agg(DISTINCT status) || count(*) "+
		"FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet')"), fmt.Sprintf("after%d", months))
	NoError(t, w.Close())
}

// Rows that the source has deleted are removed from the lake by the next publishing. A file without rows is removed.
func TestPublish_DeletedRows(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"created_at": "2026-01-10"}),
		Call(TenantA, 2, Row{"created_at": "2026-01-11"}),
		Call(TenantA, 3, Row{"created_at": "2026-02-10"}))
	Merge(t, w, schema.Customers, Call(TenantA, 1, nil), Call(TenantA, 2, nil))
	Publish(t, w)
	lake := func() string {
		paths := Files(t, filepath.Join(dir, "lake", "tenant_id="+TenantA.String()))
		slices.Sort(paths)
		return strings.Join(paths, " ")
	}
	// One of several rows is deleted. The deletion of an unknown row changes no file.
	Merge(t, w, schema.Calls, Deletion(1, "2026-06-01"), Deletion(9, "2026-06-01"))
	Merge(t, w, schema.Customers, Deletion(1, "2026-06-01"))
	WantPublished(t, w, 3, 2)
	calls := QueryLake(t, dir, "SELECT list(id ORDER BY id) FROM read_parquet('{lake}/*/calls/*/*.parquet')")
	Want(t, calls, "["+ID(2)+", "+ID(3)+"]")
	customers := QueryLake(t, dir, "SELECT list(id) FROM read_parquet('{lake}/*/customers/*.parquet')")
	Want(t, customers, "["+ID(2)+"]")
	Merge(t, w, schema.Customers, Deletion(9, "2026-06-01"))
	WantPublished(t, w, 0, 0)
	// The last row of a month is deleted, and the last row of a dataset with one file.
	Merge(t, w, schema.Calls, Deletion(2, "2026-06-01"))
	Merge(t, w, schema.Customers, Deletion(2, "2026-06-01"))
	WantPublished(t, w, 0, 0)
	Want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	// The marker file is removed. The tenant's file and its WAL are left.
	Want(t, fmt.Sprint(len(Files(t, filepath.Join(dir, "warehouse")))), "2")

	// After a crash between the removal of a file and the update of the manifest, the file is missing already.
	Merge(t, w, schema.Calls, Deletion(3, "2026-06-01"))
	tenantLake := filepath.Join(dir, "lake", "tenant_id="+TenantA.String())
	NoError(t, os.Remove(filepath.Join(tenantLake, "calls", "month=2026-02", "calls.parquet")))
	NoError(t, w.Close())
	w = Open(t, dir)
	WantPublished(t, w, 0, 0)
	// A deleted row that the source has again is published again.
	Merge(t, w, schema.Calls, Call(TenantA, 3, Row{"created_at": "2026-02-10"}))
	WantPublished(t, w, 2, 1)
	Want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	NoError(t, w.Close())
}

// Transcripts of all shapes are converted to a list of turns.
func TestPublish_TranscriptsBecomeListsOfTurns(t *testing.T) {
	t.Parallel()
	listed := "[{'speaker': Caller, 'text': hi, 'timestamp_ms': NULL}, " +
		"{'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"
	tests := []struct {
		fields Row
		turns  string
	}{
		{Row{"transcript": nil}, "NULL"},
		{Row{"transcript": []Row{}}, "[]"},
		{Row{"transcript": []Row{{"speaker": "Caller", "text": "hi"}, {"speaker": "AI", "text": "ho"}}}, listed},
		{Row{"transcript": []Row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}}}, listed},
		{Row{"transcript": []Row{{"role": "user", "content": "hi", "timestamp": "1970-01-01T00:00:01.5Z"}}},
			"[{'speaker': Caller, 'text': hi, 'timestamp_ms': 1500}]"},
		{Row{"transcript": []Row{{"role": "assistant", "message": "ho", "timestamp_ms": 70}}},
			"[{'speaker': AI, 'text': ho, 'timestamp_ms': 70}]"},
		{Row{"transcript": "Caller: hi\nAssistant: ho"}, listed},
		{Row{"transcript": "\n user : hi\r\n\nAI:ho\n"}, listed},
		{Row{"transcript": `[{"speaker":"Caller","text":"hi"},{"speaker":"AI","text":"ho"}]`}, listed},
		{Row{"transcript": "Caller: one\nand two: three\nAssistant: ho"},
			"[{'speaker': Caller, 'text': 'one\nand two: three', 'timestamp_ms': NULL}, " +
				"{'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"},
		{Row{"transcript": "no one said who"}, "[{'speaker': NULL, 'text': no one said who, 'timestamp_ms': NULL}]"},
		{Row{"transcript": "[Caller hung up"}, "[{'speaker': NULL, 'text': '[Caller hung up', 'timestamp_ms': NULL}]"},
		{Row{"transcript": "Caller: a\u001eb\u001fc"}, "[{'speaker': Caller, 'text': abc, 'timestamp_ms': NULL}]"},
		{Row{"transcript": []Row{{"speaker": "Dr. Who", "text": "नमस्ते"}}},
			"[{'speaker': Dr. Who, 'text': नमस्ते, 'timestamp_ms': NULL}]"},
		{Row{"transcript": Row{"not": "a transcript"}}, "NULL"},
		{Row{"transcript": 12}, "NULL"},
		{Row{"transcript": ""}, "[]"},
		{Row{"metadata": Row{"transcript": "Caller: hi\nAI: ho"}}, listed},
		{Row{"transcript": []string{"Caller: hi", "AI: ho"}}, listed},
		{Row{"transcript": []Row{{"Speaker": "Caller", "Text": "hi"}, {"Speaker": "AI", "Text": "ho"}}}, listed},
		{Row{"transcript": []Row{{"role": "user", "parts": []string{"hi"}},
			{"role": "assistant", "content": []Row{{"type": "text", "text": "ho"}}}}}, listed},
		{Row{"transcript": Row{"messages": []Row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}}}},
			listed},
		{Row{"transcript": []Row{{"speaker": "AI", "text": 12.5, "start": 1.25}}},
			"[{'speaker': AI, 'text': 12.5, 'timestamp_ms': 1250}]"},
	}
	fields := make([]Row, len(tests))
	for n, test := range tests {
		fields[n] = test.fields
	}
	for n, got := range publishedValues(t, "coalesce(transcript::VARCHAR, 'NULL')", fields) {
		t.Run(fmt.Sprint(n), func(t *testing.T) { Want(t, got, tests[n].turns) })
	}
}

// publishedValues publishes a call with each of the fields, and returns the value of the SQL expression over each.
func publishedValues(t *testing.T, expression string, fields []Row) (values []string) {
	t.Helper()
	w := Open(t, EmptyFolder(t))
	var rows []any
	for n := range fields {
		rows = append(rows, Call(TenantA, n, fields[n]))
	}
	Merge(t, w, schema.Calls, rows...)
	Publish(t, w)
	NoError(t, w.Close())
	NoError(t, json.Unmarshal([]byte(QueryLake(t, w.Dir(), "SELECT to_json(list("+expression+
		" ORDER BY id)) FROM read_parquet('{lake}/*/calls/*/*.parquet')")), &values))
	if len(values) != len(fields) {
		t.Fatalf("got %d rows, want %d", len(values), len(fields))
	}
	return values
}

func TestPublish_Durations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		fields            Row
		duration, seconds string
	}{
		{Row{"duration": 138, "duration_seconds": 138}, "138", "138"},
		{Row{"duration": "138"}, "138", "138"},
		{Row{"duration": "2m 18s", "duration_seconds": 0}, "138", "138"},
		{Row{"duration": "45s"}, "45", "45"},
		{Row{"duration": "1h 2m"}, "3720", "3720"},
		{Row{"duration": "02:18"}, "138", "138"},
		{Row{"duration": "1:02:03"}, "3723", "3723"},
		{Row{"duration": " 1 h 2 m 3 s "}, "3723", "3723"},
		{Row{"duration": "0s"}, "0", "0"},
		{Row{"duration": " "}, "NULL", "NULL"},
		{Row{"duration": "18s 2m"}, "NULL", "NULL"},
		{Row{"duration": "12:345"}, "NULL", "NULL"},
		{Row{"duration": "999999h"}, "NULL", "NULL"},
		{Row{"duration": "600000:00:00", "duration_seconds": 3}, "NULL", "3"},
		{Row{"duration": "99999999999999999999m"}, "NULL", "NULL"},
		{Row{"duration": "a while", "duration_seconds": 7}, "NULL", "7"},
		{Row{"started_at": "2026-03-01T10:00:00Z", "ended_at": "2026-03-01T10:00:09Z"}, "NULL", "9"},
		{Row{"duration": 0, "duration_seconds": 0}, "0", "0"},
		{Row{"duration_seconds": 0, "started_at": "2026-03-01T10:00:09Z", "ended_at": "2026-03-01T10:00:00Z"},
			"NULL", "0"},
		{Row{}, "NULL", "NULL"},
	}
	fields := make([]Row, len(tests))
	for n, test := range tests {
		fields[n] = test.fields
	}
	for n, got := range publishedValues(t, "[duration, duration_seconds]::VARCHAR", fields) {
		t.Run(fmt.Sprint(n), func(t *testing.T) { Want(t, got, "["+tests[n].duration+", "+tests[n].seconds+"]") })
	}
}

// The failure of one tenant is an error of this tenant alone: the others are published, and its own files count as
// incomplete until a later call has published it.
func TestPublish_FailureOfOneTenant(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantB, 1, nil))
	blocker := filepath.Join(dir, "lake", "tenant_id="+TenantA.String())
	NoError(t, os.WriteFile(blocker, nil, 0o600))
	for range 2 {
		published, err := w.Publish(t.Context())
		failures := (warehouse.PublishErrors)(nil)
		if !errors.As(err, &failures) || len(failures) != 1 || failures[0].Tenant != TenantA {
			t.Fatalf("got %+v and error %v, want the failure of tenant A", published, err)
		}
	}
	Want(t, Conditions(w), "A/publication_failing")
	_, err := w.PublishedFiles(t.Context(), TenantA)
	WantKind(t, err, warehouse.ErrUnpublished)
	files, err := w.PublishedFiles(t.Context(), TenantB)
	if err != nil || len(files) != 2 {
		t.Errorf("tenant B: got %d files and error %v, want 2 files", len(files), err)
	}
	NoError(t, os.Remove(blocker))
	WantPublished(t, w, 2, 1)
	if files, err = w.PublishedFiles(t.Context(), TenantA); err != nil || len(files) != 2 {
		t.Errorf("tenant A: got %d files and error %v, want 2 files", len(files), err)
	}
	Want(t, Conditions(w), "")
	NoError(t, w.Close())
}

// Small partitions are written from a temporary table, and large ones directly. Their files have the rows of the store,
// in order. A partition that cannot be written is the only one that stays stale, and no temporary file is left.
func TestPublish_SmallAndLargePartitions(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	var rows []any
	add := func(month, count int) {
		for range count {
			n := len(rows)
			rows = append(rows, Call(TenantA, n*7919%100_000, Row{"transcript": "AI: hi\nCaller: ho", "cost": 0.25,
				"created_at": fmt.Sprintf("2026-%02d-%02dT00:00:00Z", month, 1+n%28)}))
		}
	}
	for month, count := range []int{5000, 3192, 1, 8193, 2, 0, 3} { // two groups, one alone, and one of two
		add(1+month, count)
	}
	Merge(t, w, schema.Calls, rows...)
	lake := filepath.Join(dir, "lake", "tenant_id="+TenantA.String())
	blocker := filepath.Join(lake, "calls", "month=2026-05", "calls.parquet") // its neighbour is in the same group
	NoError(t, os.MkdirAll(filepath.Join(blocker, "x"), 0o700))
	published, err := w.Publish(t.Context())
	if failures := (warehouse.PublishErrors)(nil); !errors.As(err, &failures) || published.Files != 5*3 {
		t.Errorf("got %+v and error %v, want 15 files and the failure of one partition", published, err)
	}
	NoError(t, os.RemoveAll(blocker))
	WantPublished(t, w, 3, 2)
	verification, err := w.Verify(t.Context(), TenantA)
	if err != nil || !verification.Sound() || verification.Checked.Partitions != 19 {
		t.Errorf("got %+v and error %v, want 18 sound files, and none of the customers", verification, err)
	}
	NoError(t, w.Close())
	for _, name := range Files(t, dir) {
		if strings.Contains(name, ".unfinished") {
			t.Errorf("got the temporary file %s", name)
		}
	}
	for _, order := range []string{"calls created_at, id", "cost_daily day"} {
		export, columns, _ := strings.Cut(order, " ")
		Want(t, QueryLake(t, dir, "SELECT count(*) FROM (SELECT month, row_number() OVER (PARTITION BY month ORDER BY "+
			columns+
			") AS sorted, file_row_number FROM read_parquet('{lake}/*/"+export+"/*/*.parquet', hive_partitioning = true, "+
			"file_row_number = true)) WHERE sorted <> file_row_number + 1"), "0")
	}
}
