package rows_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

func TestMerge_NewChangedUnchanged(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	WantCounts(t, Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"cost": 0}), Call(TenantA, 2, nil)),
		schema.Counts{Read: 2, New: 2})
	WantCounts(t, Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"cost": 0}), Call(TenantA, 2, nil)),
		schema.Counts{Read: 2, Unchanged: 2})
	WantCounts(t, Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"cost": 0.0337}), Call(TenantA, 3, nil),
		Call(TenantA, 2, nil)),
		schema.Counts{Read: 3, New: 1, Changed: 1, Unchanged: 1})
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT list(cost ORDER BY id) FROM calls"), "[0.0337, NULL, NULL]")
	// the second merge counts for nothing
	Want(t, Query(t, dir, TenantA, "SELECT list(_seq ORDER BY id) FROM calls"), "[2, 1, 2]")
	Want(t, Query(t, dir, TenantA, "SELECT seq FROM clock"), "2")
}

func TestMerge_OneRowPerID(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	// If an id occurs three times in a batch, the version with the newest source time wins, whatever its line.
	WantCounts(t, Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"status": "queued", "updated_at": "2026-03-01T10:00:00Z"}),
		Call(TenantA, 1, Row{"status": "completed", "updated_at": "2026-03-01T12:00:00Z"}),
		Call(TenantA, 1, Row{"status": "ringing", "updated_at": "2026-03-01T11:00:00Z"})),
		schema.Counts{Read: 3, New: 1, Superseded: 2})
	// Without a source time the last line wins.
	WantCounts(t, Merge(t, w, schema.Messages, Call(TenantA, 7, Row{"status": "sent"}),
		Call(TenantA, 7, Row{"status": "read"})),
		schema.Counts{Read: 2, New: 1, Superseded: 1})
	// A row that moves to another time is still that row.
	WantCounts(t, Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"created_at": "2026-05-01T10:00:00Z", "updated_at": "2026-03-02T00:00:00Z"})),
		schema.Counts{Read: 1, Changed: 1})
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT [count(*), count(DISTINCT id)] FROM calls"), "[1, 1]")
	Want(t, Query(t, dir, TenantA, "SELECT created_at FROM calls"), "2026-05-01 10:00:00+00")
	Want(t, Query(t, dir, TenantA, "SELECT status FROM messages"), "read")
}

func TestMerge_OlderVersionIsSuperseded(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	customer := func(name, updated string) Row {
		return Row{"user_id": TenantA, "id": ID(1), "name": name, "created_at": "2026-01-01", "updated_at": updated}
	}
	WantCounts(t, Merge(t, w, schema.Customers, customer("new", "2026-02-02T00:00:00Z")),
		schema.Counts{Read: 1, New: 1})
	WantCounts(t, Merge(t, w, schema.Customers, customer("old", "2026-02-01T00:00:00Z")),
		schema.Counts{Read: 1, Superseded: 1})
	WantCounts(t, Merge(t, w, schema.Customers, customer("same time", "2026-02-02T00:00:00Z")),
		schema.Counts{Read: 1, Changed: 1})
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT name FROM customers"), "same time")
}

func TestMerge_OneFilePerTenant(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	WantCounts(t, Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"summary": "A"}),
		Call(TenantB, 1, Row{"summary": "B"})), schema.Counts{Read: 2, New: 2})
	tenants, err := w.Tenants(t.Context())
	NoError(t, err)
	if len(tenants) != 2 {
		t.Fatalf("got tenants %v", tenants)
	}
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT list(summary) FROM calls"), "[A]")
	Want(t, Query(t, dir, TenantB, "SELECT list(summary) FROM calls"), "[B]")
}

func TestMerge_RefusedRows(t *testing.T) {
	t.Parallel()
	w, goods := OpenNew(t), 0
	for name, test := range map[string]struct {
		dataset schema.Dataset
		line    any
		reason  string
	}{
		"no JSON":       {schema.Calls, `{"id": `, "line is not a JSON object"},
		"no object":     {schema.Calls, `[1, 2]`, "line is not a JSON object"},
		"no id":         {schema.Calls, Call(TenantA, 1, Row{"id": nil}), "id is missing"},
		"empty id":      {schema.Calls, Call(TenantA, 1, Row{"id": " "}), "id is missing"},
		"bad id":        {schema.Calls, Call(TenantA, 1, Row{"id": "17"}), "id is not a UUID: 17"},
		"no tenant":     {schema.Calls, Call(TenantA, 1, Row{"user_id": nil}), "user_id (the tenant) is missing"},
		"bad tenant":    {schema.Calls, Call(TenantA, 1, Row{"user_id": "../x"}), "user_id is not a UUID: ../x"},
		"no created_at": {schema.Calls, Call(TenantA, 1, Row{"created_at": nil}), "created_at is missing"},
		"bad created_at": {schema.Calls, Call(TenantA, 1, Row{"created_at": "yesterday"}),
			"created_at is not a time: yesterday"},
		"endless time": {schema.Calls, Call(TenantA, 1, Row{"created_at": "infinity"}),
			"created_at is not a time: infinity"},
		"time before any": {schema.Calls, Call(TenantA, 1, Row{"created_at": "1492-01-01T00:00:00Z"}),
			"created_at is not a time: 1492-01-01T00:00:00Z"},
		"cost of letters": {schema.Calls, Call(TenantA, 1, Row{"cost": "cheap"}), "cost is not a decimal(10,4): cheap"},
		"cost of an object": {schema.Calls, Call(TenantA, 1, Row{"cost": Row{"usd": 1}}),
			`cost is not a decimal(10,4): {"usd":1}`},
		"two faults": {schema.Calls, Call(TenantA, 1, Row{"id": "x", "cost": "y"}),
			"id is not a UUID: x; cost is not a decimal(10,4): y"},
		"bad assistant": {schema.Messages, Call(TenantA, 1, Row{"assistant_id": "bot"}),
			"assistant_id is not a UUID: bot"},
		"bad truth": {schema.Messages, Call(TenantA, 1, Row{"is_from_bot": "perhaps"}),
			"is_from_bot is not a boolean: perhaps"},
		"bad count": {schema.Customers, Call(TenantA, 1, Row{"interaction_count": "many"}),
			"interaction_count is not an integer: many"},
	} {
		t.Run(name, func(t *testing.T) {
			goods++
			good, prefix := Call(TenantA, 100+goods, nil), fmt.Sprintf("in%d.ndjson", goods)
			origin := "dir/" + prefix
			kept := func() []string {
				all, err := filepath.Glob(filepath.Join(w.Dir(), "quarantine", prefix+".*"))
				NoError(t, err)
				return all
			}
			counts, refusals, err := w.Merge(t.Context(),
				warehouse.Batch{Dataset: test.dataset, Origin: origin, Rows: Lines[any](t, good, test.line)})
			NoError(t, err)
			WantCounts(t, counts, schema.Counts{Read: 2, New: 1, Refused: 1})
			if len(refusals) != 1 || refusals[0].Line != 2 || !strings.HasPrefix(refusals[0].Reason, test.reason) {
				t.Fatalf("got refusals %+v, want reason %q", refusals, test.reason)
			}
			first := kept()
			if len(first) != 1 {
				t.Fatalf("got quarantine files %v, want one", first)
			}
			text := ReadFile(t, first[0])
			for _, part := range []string{`"file":"` + origin + `"`, `"line":2`, `"dataset":"` + test.dataset.Name + `"`} {
				if !strings.Contains(text, part) {
					t.Errorf("got quarantine file %s, want it to contain %s", text, part)
				}
			}
			// The same refused rows, met again, are the same file.
			_, _, err = w.Merge(t.Context(), warehouse.Batch{Dataset: test.dataset, Origin: origin,
				Rows: Lines[any](t, good, test.line)})
			NoError(t, err)
			if again := kept(); len(again) != 1 {
				t.Errorf("got quarantine files %v, want the same file", again)
			}
		})
	}
	if all := Files(t, filepath.Join(w.Dir(), "quarantine")); len(all) != goods {
		t.Errorf("got quarantine files %v, want %d", all, goods)
	}
}

// Values that only DuckDB accepts as JSON enter no field, whatever their case and depth.
func TestMerge_JSONByTheStandard(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	var rows []any
	n := 0
	add := func(field, value string) {
		n++
		rows = append(rows, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-01",%q:%s}`, TenantA, ID(n), field,
			value))
	}
	for _, field := range []string{"metadata", "transcript", "duration"} {
		for _, constant := range []string{"NaN", "nan", "NAN", "-nan", "Infinity", "-Infinity", "inf", "INF", "-iNf",
			"INFINITY"} {
			for _, value := range []string{"%s", "[1, %s]", "{\"a\":%s}", "{\"a\": [\n%s ]}", "[[\"inf\", %s]]"} {
				add(field, strings.ReplaceAll(fmt.Sprintf(value, constant), "\n", " "))
			}
		}
		for _, text := range []string{`"inf"`, `{"inf": 1}`, `["a, nan", "b: Infinity", "[ -inf", "x,]"]`,
			`"say \"nan\", or \\"`, `[",\"}", 1]`} {
			add(field, text)
		}
	}
	Merge(t, w, schema.Calls, rows...)
	NoError(t, w.Close())
	stored := Query(t, dir, TenantA,
		"SELECT '[' || string_agg(concat_ws(',', metadata, transcript, duration), ',') FILTER (coalesce(metadata, "+
			"transcript, duration) IS NOT NULL) || ']' FROM calls")
	if !json.Valid([]byte(stored)) {
		t.Errorf("got stored values %s, want JSON by the standard", stored)
	}
}

func TestMerge_RefusesRowsOfAnotherTenant(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	anonymous := Call(TenantA, 2, nil)
	delete(anonymous, "user_id")
	counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: TenantA, Origin: "x",
		Rows: Lines(t, Call(TenantA, 1, nil), anonymous, Call(TenantB, 3, nil))})
	NoError(t, err)
	WantCounts(t, counts, schema.Counts{Read: 3, New: 2, Refused: 1})
	if !strings.HasPrefix(refusals[0].Reason, "user_id is another tenant's: "+TenantB.String()) {
		t.Fatalf("got refusals %+v", refusals)
	}
}

func TestMerge_Values(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{
		"created_at": "2026-04-18T19:50:20.322+05:30", "started_at": "2026-04-18 14:20", "cost": "0.1", "duration": "2m 18s",
		"from_number": "+91 98765 12345", "assistant_id": "", "status": "Some_New-Status",
		"summary":  "नमस्ते 🌧 \u0000 \"quoted\"",
		"metadata": Row{"a": []int{1}}, "surprise": true, "tts_characters": nil,
	}))
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, `SELECT {c: created_at, s: started_at, c4: cost, d: duration, n: `+
		`customer_number, a: assistant_id, st: status, m: metadata ->> '$.a[0]', t: tts_characters} FROM calls`),
		`{'c': '2026-04-18 14:20:20.322+00', 's': '2026-04-18 14:20:00+00', 'c4': 0.1000, 'd': '"2m 18s"', 'n': `+
			`919876512345, 'a': NULL, 'st': Some_New-Status, 'm': 1, 't': NULL}`)
	Want(t, Query(t, dir, TenantA, `SELECT summary = 'नमस्ते 🌧 ' || chr(0) || ' "quoted"' FROM calls`),
		"true")
	Want(t, Query(t, dir, TenantA, `SELECT list(DISTINCT data_type ORDER BY data_type) FROM duckdb_columns() WHERE `+
		`table_name = 'calls' AND column_name IN ('id', 'cost', 'created_at', 'assistant_id')`),
		"['DECIMAL(10,4)', TIMESTAMP WITH TIME ZONE, UUID]")
}

func TestMerge_JSONNullIsNULL(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"transcript": nil, "metadata": nil, "duration": nil}))
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT [transcript IS NULL, metadata IS NULL, duration IS NULL] FROM calls"),
		"[true, true, true]")
}

// An unchanged row with a newer source time takes that time, so a version with a time in between is superseded.
func TestMerge_UnchangedRowTakesNewerTime(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	version := func(status string, day any) Row { return Call(TenantA, 1, Row{"status": status, "updated_at": day}) }
	Merge(t, w, schema.Calls, version("queued", "2026-03-10"))
	WantCounts(t, Merge(t, w, schema.Calls, version("queued", "2026-03-30")), schema.Counts{Read: 1, Unchanged: 1})
	WantCounts(t, Merge(t, w, schema.Calls, version("ringing", "2026-03-20")), schema.Counts{Read: 1, Superseded: 1})
	// A version without a time counts as the newest and takes the stored time.
	WantCounts(t, Merge(t, w, schema.Calls, version("completed", nil)), schema.Counts{Read: 1, Changed: 1})
	WantCounts(t, Merge(t, w, schema.Calls, version("old", "2026-03-05")), schema.Counts{Read: 1, Superseded: 1})
	// The same in one batch.
	WantCounts(t, Merge(t, w, schema.Calls, Call(TenantA, 2, Row{"status": "queued", "updated_at": "2026-03-30"}),
		Call(TenantA, 2, Row{"status": "completed"}),
		Call(TenantA, 2, Row{"status": "old", "updated_at": "2026-03-05"})), schema.Counts{Read: 3, New: 1, Superseded: 2})
	for n := 1; n <= 2; n++ {
		item, err := w.Get(t.Context(), TenantA, schema.Calls, uuid.MustParse(ID(n)))
		NoError(t, err)
		if !strings.Contains(item, `"status":"completed"`) {
			t.Errorf("got stored row %s", item)
		}
	}
}

// Concurrent merges of different tenants do not see rows of each other.
func TestMerge_Concurrent(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	const tenants, batches, rows = 3, 4, 100
	var group sync.WaitGroup
	for n := range tenants {
		tenant := TenantA
		tenant[15] = byte(n)
		for b := range batches {
			var part []any
			for i := range rows {
				part = append(part, Row{"id": ID(n*10_000 + b*rows + i), "created_at": "2026-03-01"})
			}
			staged := Lines(t, part...)
			group.Go(func() {
				counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: "x",
					Rows: staged})
				if err != nil || counts != (schema.Counts{Read: rows, New: rows}) {
					t.Errorf("%+v %v", counts, err)
				}
			})
		}
	}
	group.Wait()
	NoError(t, w.Close())
	for n := range tenants {
		tenant := TenantA
		tenant[15] = byte(n)
		Want(t, Query(t, dir, tenant, "SELECT [count(*), count(DISTINCT id), min(right(id::VARCHAR, 12)::INT) // "+
			"10000, max(right(id::VARCHAR, 12)::INT) // 10000] FROM calls"),
			fmt.Sprintf("[%d, %d, %d, %d]", batches*rows, batches*rows, n, n))
	}
}

// The same refused rows from several clients at the same time become one file of the quarantine.
func TestMerge_ConcurrentRefusals(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	var group sync.WaitGroup
	for range 8 {
		staged := Lines(t, "{}")
		group.Go(func() {
			if _, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x",
				Rows: staged}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if kept := Files(t, filepath.Join(w.Dir(), "quarantine")); len(kept) != 1 {
		t.Errorf("got quarantine files %v", kept)
	}
}

// A month of long texts that does not fit in memory is published in smaller parts.
func TestPublish_LongTextsInLittleMemory(t *testing.T) {
	w := Open(t, EmptyFolder(t))
	const parts, size = 10, 2000
	for part := range parts {
		var rows []any
		for n := range size {
			rows = append(rows, Call(TenantA, part*size+n,
				Row{"transcript": "Caller: " + strings.Repeat(Noise(part*size+n), 3)}))
		}
		Merge(t, w, schema.Calls, rows...)
	}
	NoError(t, w.Close())
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: w.Dir(), MemoryLimit: "170MB"})
	NoError(t, err)
	defer func() { NoError(t, w.Close()) }()
	if got := Publish(t, w); got != (warehouse.Published{Files: 3, Rows: parts * size}) {
		t.Errorf("published %+v", got)
	}
}

func TestOpen_FolderNameWithQuestionMark(t *testing.T) {
	t.Parallel()
	_, err := warehouse.Open(t.Context(), warehouse.Options{Dir: filepath.Join(t.TempDir(), "what?")})
	WantKind(t, err, warehouse.ErrInvalid)
}

// A bulk load of several row groups is stored sorted by created_at within each batch.
func TestMerge_BulkLoadIsSorted(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	var rows []any
	for n := range 9000 { // fewer are never sorted
		rows = append(rows, Call(TenantA, n, Row{"created_at": fmt.Sprintf("2026-%02d-%02dT00:00:00Z", 1+n*7%12, 1+n*5%28)}))
	}
	Merge(t, w, schema.Calls, rows...)
	NoError(t, w.Close())
	Want(t, Query(t, dir, TenantA, "SELECT count(*) FROM (SELECT created_at < lag(created_at) OVER (ORDER BY rowid) "+
		"AS back FROM calls) WHERE back"), "0")
}

func TestOpen_FolderInUse(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	_, err := warehouse.Open(t.Context(), warehouse.Options{Dir: w.Dir()})
	WantKind(t, err, warehouse.ErrInUse)
	if !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v does not name the process", err)
	}
}

func TestOpen_FolderNotWritable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := warehouse.Open(t.Context(), warehouse.Options{Dir: filepath.Join(file, "data")})
	WantKind(t, err, warehouse.ErrNotWritable)
}

func TestOpen_RemovesLeftoversOfCrash(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	NoError(t, w.Close())
	for _, leftover := range []string{"warehouse/.x.duckdb.unfinished", "warehouse/.x.duckdb.unfinished.wal",
		"lake/.calls.parquet.unfinished", "tmp/anything.csv"} {
		NoError(t, os.WriteFile(filepath.Join(dir, leftover), []byte("half"), 0o600))
	}
	w = Open(t, dir)
	defer func() { NoError(t, w.Close()) }()
	for _, file := range Files(t, dir) {
		if strings.Contains(file, "unfinished") || strings.HasPrefix(file, "tmp") && strings.HasSuffix(file, ".csv") {
			t.Errorf("%s was not removed", file)
		}
	}
	// Rows that were merged before the crash are published now.
	if got := Publish(t, w); got.Files != 2 {
		t.Fatalf("got %+v published, want 2 files", got)
	}
}
