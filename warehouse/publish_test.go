package warehouse_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

func TestLakeHoldsEveryRowOnce(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls,
		call(tenantA, 1, row{"created_at": "2026-01-31T23:59:59.999Z", "cost": 0.5}),
		call(tenantA, 2, row{"created_at": "2026-02-01T00:00:00.000Z", "cost": 0.25}),
		call(tenantB, 1, row{"created_at": "2026-02-01T05:29:00.000+05:30"}))
	merge(t, w, warehouse.Customers, row{"user_id": tenantA, "id": id(1), "created_at": "2020-01-01"}, row{"user_id": tenantA, "id": id(2), "created_at": "2026-01-01"})
	merge(t, w, warehouse.Messages, call(tenantA, 1, row{"content": row{"text": row{"body": "hi"}}}))
	if got := publish(t, w); got != (warehouse.Published{Files: 8, Rows: 6}) {
		t.Fatalf("published %+v", got)
	}
	if got := publish(t, w); got.Files != 0 {
		t.Fatalf("published again: %+v", got)
	}
	paths := files(t, filepath.Join(dir, "lake"))
	slices.Sort(paths)
	want(t, strings.Join(paths, "\n"), strings.NewReplacer("A/", "tenant_id="+tenantA.String()+"/", "B/", "tenant_id="+tenantB.String()+"/").Replace(
		"A/calls/month=2026-01/calls.parquet\nA/calls/month=2026-02/calls.parquet\nA/cost_daily/month=2026-01/cost_daily.parquet\nA/cost_daily/month=2026-02/cost_daily.parquet\nA/customers/customers.parquet\nA/messages/month=2026-03/messages.parquet\nB/calls/month=2026-01/calls.parquet\nB/cost_daily/month=2026-01/cost_daily.parquet"))
	want(t, queryLake(t, dir, "SELECT {n: count(*), usd: sum(cost)} FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet', hive_partitioning = true)"), "{'n': 3, 'usd': 0.7500}")
	want(t, queryLake(t, dir, "SELECT body FROM (SELECT content ->> '$.text.body' AS body FROM read_parquet('{lake}/tenant_id=*/messages/*/*.parquet'))"), "hi")
	noError(t, w.Close())
}

// The name of the data folder is only a name.
func TestFolderOfAnyName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's [a-z]* \"data\"")
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, nil))
	if got := publish(t, w); got != (warehouse.Published{Files: 2, Rows: 1}) {
		t.Errorf("published %+v", got)
	}
	noError(t, w.Close())
}

func TestChangesReachTheLake(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10"}), call(tenantA, 2, row{"created_at": "2026-02-10"}), call(tenantA, 3, row{"created_at": "2026-03-10"}))
	publish(t, w)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10", "cost": 0.1}))
	if got := publish(t, w); got != (warehouse.Published{Files: 2, Rows: 1}) {
		t.Fatalf("published %+v", got)
	}
	// A row that moves leaves its month; a month without rows leaves no file.
	merge(t, w, warehouse.Calls, call(tenantA, 2, row{"created_at": "2026-03-11"}))
	if got := publish(t, w); got != (warehouse.Published{Files: 2, Rows: 2}) {
		t.Fatalf("published %+v", got)
	}
	lake := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls")
	if _, err := os.Stat(filepath.Join(lake, "month=2026-02", "calls.parquet")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty month has a file: %v", err)
	}
	want(t, queryLake(t, dir, "SELECT list([month, cost::VARCHAR] ORDER BY created_at) FROM read_parquet('{lake}/*/calls/*/*.parquet', hive_partitioning = true)"),
		"[[2026-01, 0.1000], [2026-03, NULL], [2026-03, NULL]]")
	noError(t, w.Close())
}

// What the source has deleted leaves the lake with the next publishing; a file without rows goes.
// What is merged while the files of its month are being written may be in them or not; what is not, is in the next ones.
func TestChangesWhilePublishing(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	const months = 36
	in := func(n int, status string) row {
		return call(tenantA, n, row{"status": status, "created_at": fmt.Sprintf("%d-%02d-10", 2024+n/12, 1+n%12)})
	}
	var rows []any
	for n := range months {
		rows = append(rows, in(n, "before"))
	}
	merge(t, w, warehouse.Calls, rows...)
	published := make(chan error)
	go func() {
		_, err := w.Publish(t.Context())
		published <- err
	}()
	for n := range months {
		merge(t, w, warehouse.Calls, in(n, "after"))
	}
	noError(t, <-published)
	publish(t, w)
	want(t, queryLake(t, dir, "SELECT string_agg(DISTINCT status) || count(*) FROM read_parquet('{lake}/tenant_id=*/calls/*/*.parquet')"), fmt.Sprintf("after%d", months))
	noError(t, w.Close())
}

func TestDeletionsReachTheLake(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, row{"created_at": "2026-01-10"}), call(tenantA, 2, row{"created_at": "2026-01-11"}), call(tenantA, 3, row{"created_at": "2026-02-10"}))
	merge(t, w, warehouse.Customers, call(tenantA, 1, nil), call(tenantA, 2, nil))
	publish(t, w)
	lake := func() string {
		paths := files(t, filepath.Join(dir, "lake", "tenant_id="+tenantA.String()))
		slices.Sort(paths)
		return strings.Join(paths, " ")
	}
	// Of several rows one goes; what was never there touches no file.
	merge(t, w, warehouse.Calls, deletion(1, "2026-06-01"), deletion(9, "2026-06-01"))
	merge(t, w, warehouse.Customers, deletion(1, "2026-06-01"))
	if got := publish(t, w); got != (warehouse.Published{Files: 3, Rows: 2}) {
		t.Fatalf("published %+v", got)
	}
	want(t, queryLake(t, dir, "SELECT list(id ORDER BY id) FROM read_parquet('{lake}/*/calls/*/*.parquet')"), "["+id(2)+", "+id(3)+"]")
	want(t, queryLake(t, dir, "SELECT list(id) FROM read_parquet('{lake}/*/customers/*.parquet')"), "["+id(2)+"]")
	merge(t, w, warehouse.Customers, deletion(9, "2026-06-01"))
	if got := publish(t, w); got != (warehouse.Published{}) {
		t.Fatalf("published %+v", got)
	}
	// The last row of a month, and the last of a dataset of one file.
	merge(t, w, warehouse.Calls, deletion(2, "2026-06-01"))
	merge(t, w, warehouse.Customers, deletion(2, "2026-06-01"))
	if got := publish(t, w); got != (warehouse.Published{}) {
		t.Fatalf("published %+v", got)
	}
	want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	want(t, fmt.Sprint(len(files(t, filepath.Join(dir, "warehouse")))), "2") // the note beside the file is gone: the file and its log are left

	// A crash after the file was removed, and before that was written down: the next publishing finds nothing to remove.
	merge(t, w, warehouse.Calls, deletion(3, "2026-06-01"))
	noError(t, os.Remove(filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls", "month=2026-02", "calls.parquet")))
	noError(t, w.Close())
	w = open(t, dir)
	if got := publish(t, w); got != (warehouse.Published{}) {
		t.Fatalf("published %+v", got)
	}
	// Who comes back is published again.
	merge(t, w, warehouse.Calls, call(tenantA, 3, row{"created_at": "2026-02-10"}))
	if got := publish(t, w); got != (warehouse.Published{Files: 2, Rows: 1}) {
		t.Fatalf("published %+v", got)
	}
	want(t, lake(), "calls/month=2026-02/calls.parquet cost_daily/month=2026-02/cost_daily.parquet")
	noError(t, w.Close())
}

// A transcript of any shape is one list of turns, in the tenant's file and in the lake.
func TestTurnsOfEveryShape(t *testing.T) {
	listed := "[{'speaker': Caller, 'text': hi, 'timestamp_ms': NULL}, {'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"
	for i, test := range []struct {
		fields row
		turns  string
	}{
		{row{"transcript": nil}, "NULL"},
		{row{"transcript": []row{}}, "[]"},
		{row{"transcript": []row{{"speaker": "Caller", "text": "hi"}, {"speaker": "AI", "text": "ho"}}}, listed},
		{row{"transcript": []row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}}}, listed},
		{row{"transcript": []row{{"role": "user", "content": "hi", "timestamp": "1970-01-01T00:00:01.5Z"}}}, "[{'speaker': Caller, 'text': hi, 'timestamp_ms': 1500}]"},
		{row{"transcript": []row{{"role": "assistant", "message": "ho", "timestamp_ms": 70}}}, "[{'speaker': AI, 'text': ho, 'timestamp_ms': 70}]"},
		{row{"transcript": "Caller: hi\nAssistant: ho"}, listed},
		{row{"transcript": "\n user : hi\r\n\nAI:ho\n"}, listed},
		{row{"transcript": `[{"speaker":"Caller","text":"hi"},{"speaker":"AI","text":"ho"}]`}, listed},
		{row{"transcript": "Caller: one\nand two: three\nAssistant: ho"}, "[{'speaker': Caller, 'text': 'one\nand two: three', 'timestamp_ms': NULL}, {'speaker': AI, 'text': ho, 'timestamp_ms': NULL}]"},
		{row{"transcript": "no one said who"}, "[{'speaker': NULL, 'text': no one said who, 'timestamp_ms': NULL}]"},
		{row{"transcript": "[Caller hung up"}, "[{'speaker': NULL, 'text': '[Caller hung up', 'timestamp_ms': NULL}]"},
		{row{"transcript": "Caller: a\u001eb\u001fc"}, "[{'speaker': Caller, 'text': abc, 'timestamp_ms': NULL}]"},
		{row{"transcript": []row{{"speaker": "Dr. Who", "text": "नमस्ते"}}}, "[{'speaker': Dr. Who, 'text': नमस्ते, 'timestamp_ms': NULL}]"},
		{row{"transcript": row{"not": "a transcript"}}, "NULL"},
		{row{"transcript": 12}, "NULL"},
		{row{"transcript": ""}, "[]"},
		{row{"metadata": row{"transcript": "Caller: hi\nAI: ho"}}, listed},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir)
			merge(t, w, warehouse.Calls, call(tenantA, 1, test.fields))
			publish(t, w)
			noError(t, w.Close())
			want(t, queryLake(t, dir, "SELECT coalesce(transcript::VARCHAR, 'NULL') FROM read_parquet('{lake}/*/calls/*/*.parquet')"), test.turns)
			stored := "SELECT coalesce(list({speaker, text, timestamp_ms} ORDER BY turn)::VARCHAR, '') FROM transcript_turns"
			stored = strings.ReplaceAll(stored, "{speaker, text, timestamp_ms}", "{'speaker': speaker, 'text': text, 'timestamp_ms': timestamp_ms}")
			want(t, query(t, dir, tenantA, stored), strings.NewReplacer("NULL,", "NULL,", "[]", "").Replace(strings.TrimPrefix(test.turns, "NULL")))
		})
	}
}

func TestDurations(t *testing.T) {
	for i, test := range []struct {
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
		{row{"duration_seconds": 0, "started_at": "2026-03-01T10:00:09Z", "ended_at": "2026-03-01T10:00:00Z"}, "NULL", "0"},
		{row{}, "NULL", "NULL"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir)
			merge(t, w, warehouse.Calls, call(tenantA, 1, test.fields))
			publish(t, w)
			noError(t, w.Close())
			want(t, queryLake(t, dir, "SELECT [duration, duration_seconds] FROM read_parquet('{lake}/*/calls/*/*.parquet')"), "["+test.duration+", "+test.seconds+"]")
		})
	}
}
