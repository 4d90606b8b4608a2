package warehouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The customer that the tests erase, and one text in each field that may name the person.
const erasedID = 900

var erasedTexts = map[string]string{
	"number": "919123456789", "id": id(erasedID), "name": "Zebulon Quackenbush", "e-mail": "zebulon@quackenbush.example",
	"metadata": "allergic to walnuts xq7", "spoken": "my pancreas is made of marzipan",
	"message": "the parcel with the purple okapi",
	"summary": "complains about the trombone", "call id": id(erasedID + 1), "message id": id(erasedID + 2),
}

// mergePerson merges the customer, a call and two messages of the person, beside rows of other persons.
func mergePerson(t *testing.T, w *warehouse.Warehouse, others int) {
	t.Helper()
	at := row{"created_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-02T10:00:00Z"}
	rows := map[string][]any{}
	for n := range others {
		number := fmt.Sprintf("+91%010d", n)
		rows["customers"] = append(rows["customers"], row{"user_id": tenantA, "id": id(10_000 + n), "phone_number": number,
			"name": fmt.Sprint("Customer ", n), "created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z"})
		rows["calls"] = append(rows["calls"], call(tenantA, 20_000+n, row{"from_number": number,
			"created_at": time.Date(2026, time.Month(1+n%3), 1, 0, 0, n, 0, time.UTC), "summary": fmt.Sprint("Call ", n)}))
		rows["messages"] = append(rows["messages"], row{"user_id": tenantA, "id": id(30_000 + n), "from_number": number,
			"direction": "inbound", "created_at": "2026-02-01T10:00:00Z",
			"content": row{"text": row{"body": fmt.Sprint("Text ", n)}}})
	}
	rows["customers"] = append(rows["customers"], with(row{"user_id": tenantA, "id": id(erasedID),
		"name":  erasedTexts["name"],
		"email": erasedTexts["e-mail"], "phone_number": "+91 91234-56789", "variables": row{"note": erasedTexts["metadata"]}},
		at))
	rows["calls"] = append(rows["calls"], call(tenantA, erasedID+1, with(row{"from_number": "+" + erasedTexts["number"],
		"summary":    erasedTexts["summary"],
		"transcript": []row{{"speaker": "Caller", "text": erasedTexts["spoken"]}}}, at)))
	rows["messages"] = append(rows["messages"],
		with(row{"user_id": tenantA, "id": id(erasedID + 2), "direction": "outbound", "to_number": erasedTexts["number"],
			"content": row{"text": row{"body": erasedTexts["message"]}}}, at),
		with(row{"user_id": tenantA, "id": id(erasedID + 3), "direction": "inbound", "customer_id": id(erasedID),
			"from_number": "client:web-7"}, at))
	for _, dataset := range schema.Datasets {
		merge(t, w, dataset, rows[dataset.Name]...)
	}
}

// spread puts the person's texts into every other place of a data folder that may hold them.
func spread(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	publish(t, w)
	// A second version makes the first one a replaced file, and leaves the newest rows in the log of the store.
	merge(t, w, schema.Customers, row{"user_id": tenantA, "id": id(10_001), "phone_number": "+91 2", "name": "Renamed",
		"created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-04-01T09:00:00Z"})
	publish(t, w)
	merge(t, w, schema.Calls, call(tenantA, erasedID+1, row{"from_number": "+" + erasedTexts["number"],
		"summary": erasedTexts["summary"], "transcript": []row{{"speaker": "Caller", "text": erasedTexts["spoken"]}},
		"created_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-03T10:00:00Z", "status": "failed"}))
	for _, refused := range []row{
		{"user_id": tenantA, "id": "none", "phone_number": "+" + erasedTexts["number"]},
		{"user_id": tenantA, "id": id(erasedID), "created_at": "soon"},
		{"user_id": tenantA, "id": "none", "email": erasedTexts["e-mail"], "name": erasedTexts["name"]},
		{"user_id": tenantA, "id": "none", "phone_number": "+91 00000 00001"},
		{"user_id": tenantB, "id": "none", "phone_number": "+91 00000 00002"},
	} {
		merge(t, w, schema.Customers, refused)
	}
	merge(t, w, schema.Customers, `{"not JSON": "`+erasedTexts["number"])
	noError(t, w.RefuseFile(warehouse.Refusal{File: "calls of " + erasedTexts["number"] + ".csv",
		Reason: "cannot be read"}))
	for n, query := range []string{"phone_number=%2B" + erasedTexts["number"], "search=Zebulon+Quackenbush", "limit=3"} {
		w.LogRequest(control.Request{ID: fmt.Sprint(n), At: time.Now(), Tenant: uuid.NullUUID{UUID: tenantA, Valid: true},
			Path: "/api/v1/customers", Query: query})
	}
	w.LogRequest(control.Request{ID: "keyless", At: time.Now(), Path: "/api/v1/customers/" + id(erasedID)})
	noError(t, w.SaveRequests(t.Context()))
	noError(t, w.RecordPush(t.Context(), tenantA, warehouse.Push{Key: "customer-" + erasedTexts["number"],
		Digest:  []byte{1},
		Outcome: `{}`, At: time.Now()}))
	state := fmt.Appendf(nil, `{"after": %q}`, id(erasedID))
	noError(t, w.SaveState(t.Context(), tenantA, warehouse.State{Source: "one", Value: state}))
	noError(t, w.SaveState(t.Context(), uuid.Nil, warehouse.State{Source: "many", Value: state}))
	noError(t, w.SaveRun(t.Context(), control.SourceRun{Source: "one", Error: "row " + id(erasedID) + " is wrong"}))
	for _, dir := range []string{"before-restore/20260301/", "repaired/20260302/"} { // copies that are kept
		for name, text := range map[string]string{
			"warehouse/" + tenantA.String() + ".duckdb": erasedTexts["spoken"], "control.duckdb": erasedTexts["spoken"],
			"lake/tenant_id=" + tenantA.String() + "/calls/month=2026-03/calls.csv": erasedTexts["number"],
			"quarantine/a.ndjson": erasedTexts["number"],
		} {
			path := filepath.Join(w.Dir(), dir, name)
			noError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			noError(t, os.WriteFile(path, []byte(text), 0o600))
		}
	}
	_, content, err := w.OpenDatabase(t.Context(), tenantA, "", func() (func(), error) { return func() {}, nil })
	noError(t, err)
	noError(t, content.Close())
}

// traces returns the person's texts in each file of a folder: in its bytes, in its zstd frames, and in the values of
// its Parquet columns. Ids and hashes are left out of the names of the files.
func traces(t *testing.T, dir string) map[string][]string {
	t.Helper()
	decoder, err := zstd.NewReader(nil)
	noError(t, err)
	defer decoder.Close()
	found := map[string][]string{}
	for _, name := range files(t, dir) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		noError(t, err)
		text := slices.Clone(raw)
		if strings.HasSuffix(name, ".parquet") {
			text = append(text, parquetText(t, raw)...)
		}
		for at := 0; ; at += 4 {
			next := bytes.Index(raw[at:], []byte("\x28\xb5\x2f\xfd"))
			if next < 0 {
				break
			}
			at += next
			decoded, _ := decoder.DecodeAll(raw[at:min(len(raw), at+1<<20)], nil) // the bytes after the frame are an error
			text = append(text, decoded...)
		}
		var kinds []string
		for kind, marker := range erasedTexts {
			if bytes.Contains(text, []byte(marker)) {
				kinds = append(kinds, kind)
			}
		}
		if slices.Sort(kinds); kinds != nil {
			found[name] = kinds
		}
	}
	return found
}

// parquetText returns the values of all columns as a text.
func parquetText(t *testing.T, raw []byte) (text []byte) {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(raw), int64(len(raw)))
	noError(t, err)
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		batch := make([]parquet.Row, 512)
		for {
			n, err := rows.ReadRows(batch)
			for _, r := range batch[:n] {
				for _, value := range r {
					text = append(text, value.String()...)
					text = append(text, 0)
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			noError(t, err)
		}
		noError(t, rows.Close())
	}
	return text
}

// places returns the parts of the data folder with traces.
func places(found map[string][]string) []string {
	parts := map[string]bool{}
	for name := range found {
		part, rest, _ := strings.Cut(name, "/")
		if strings.HasPrefix(rest, "replaced/") {
			part = "replaced"
		}
		if strings.HasSuffix(name, ".wal") {
			part += " log"
		}
		parts[part] = true
	}
	return slices.Sorted(maps.Keys(parts))
}

// wantErased requires that the data folder has no trace of the person and all rows of the other ones.
func wantErased(t *testing.T, w *warehouse.Warehouse, others int) {
	t.Helper()
	if left := traces(t, w.Dir()); len(left) > 0 {
		t.Errorf("traces are left: %v", left)
	}
	for _, dataset := range schema.Datasets {
		for n := range 4 {
			if _, err := w.Get(t.Context(), tenantA, dataset, uuid.MustParse(id(erasedID+n))); err == nil {
				t.Errorf("got row %d of %s after its erasure", erasedID+n, dataset.Name)
			}
		}
		page, err := w.List(t.Context(), tenantA, dataset, warehouse.Listing{Limit: 1})
		noError(t, err)
		if page.Total != int64(others) {
			t.Errorf("got %d rows of %s, want the %d of other persons", page.Total, dataset.Name, others)
		}
	}
}

func TestErase_LeavesNoTrace(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	mergePerson(t, w, 3000)
	noError(t, w.Close()) // writes the log to the file
	w = open(t, w.Dir())
	spread(t, w)
	before := traces(t, w.Dir())
	want(t, fmt.Sprint(places(before)),
		"[before-restore control.duckdb.wal log lake published quarantine repaired replaced tmp warehouse warehouse log]")
	kinds := map[string]bool{}
	for _, of := range before {
		for _, kind := range of {
			kinds[kind] = true
		}
	}
	if len(kinds) != len(erasedTexts) {
		t.Errorf("only the texts %v can be found before", kinds)
	}
	old, _ := published(t, w)
	_, position := follow(t, w, schema.Calls, warehouse.FeedPosition{}, 1000)

	counted, err := w.Erase(t.Context(), tenantA, erasedTexts["number"], warehouse.EraseOptions{DryRun: true})
	noError(t, err)
	if !maps.EqualFunc(before, traces(t, w.Dir()), slices.Equal) {
		t.Error("a dry run has changed files")
	}
	report, err := w.Erase(t.Context(), tenantA, "+"+erasedTexts["number"], warehouse.EraseOptions{})
	noError(t, err)
	want(t, fmt.Sprint(report.Rows, counted.Rows), fmt.Sprint(map[string]int{"calls": 1, "customers": 1, "messages": 2},
		map[string]int{"calls": 1, "customers": 1, "messages": 2}))
	want(t, fmt.Sprint(report.Refused, report.Requests, report.Remaining), "5 3 []")
	wantErased(t, w, 3000)

	refused, err := quarantined(t, w, 10)
	noError(t, err)
	if len(refused) != 2 {
		t.Errorf("got %d entries of the quarantine, want those of other persons and tenants", len(refused))
	}
	for _, file := range old {
		if file.Month != "2026-01" && file.Month != "2026-02" && content(t, w, file) != "" {
			t.Errorf("file %s of before can still be opened", file.Name)
		}
	}
	items, _ := follow(t, w, schema.Calls, position, 1000)
	if len(items) != 1 || !strings.HasPrefix(items[0], `{"id":"`+id(erasedID+1)+`","deleted":true,"deleted_at":`) {
		t.Errorf("got changes %v, want the tombstone of the call", items)
	}
	noError(t, w.Close())
	w = open(t, w.Dir())
	publish(t, w)
	wantErased(t, w, 3000)
	if again, err := w.Erase(t.Context(), tenantA, id(erasedID), warehouse.EraseOptions{}); err == nil {
		t.Errorf("got report %+v of a customer that was erased before", again)
	}
	noError(t, w.Close())
}

// Rows of before the erasure do not come back by any input. A later row of the number is a new record.
func TestErase_RowsDoNotComeBack(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	mergePerson(t, w, 30)
	report, err := w.Erase(t.Context(), tenantA, id(erasedID), warehouse.EraseOptions{})
	noError(t, err)
	want(t, fmt.Sprint(report.Rows), fmt.Sprint(map[string]int{"calls": 1, "customers": 1, "messages": 2}))
	mergePerson(t, w, 30)
	wantErased(t, w, 30)
	number := "+" + erasedTexts["number"]
	late := time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)
	for _, step := range []struct {
		name    string
		dataset schema.Dataset
		row     any
		want    schema.Counts
	}{
		{"another call of before", schema.Calls, call(tenantA, 950, row{"to_number": number}),
			schema.Counts{Read: 1, Erased: 1}},
		{"the erased call without its number", schema.Calls, call(tenantA, erasedID+1, row{"updated_at": late}),
			schema.Counts{Read: 1, Erased: 1}},
		{"its deletion", schema.Calls, deletion(erasedID+1, late), schema.Counts{Read: 1, Erased: 1}},
		{"a message of the customer's id", schema.Messages, row{"user_id": tenantA, "id": id(951),
			"customer_id": id(erasedID),
			"created_at":  "2026-03-01T10:00:00Z"}, schema.Counts{Read: 1, Erased: 1}},
		{"another customer of before", schema.Customers, row{"user_id": tenantA, "id": id(952),
			"phone_number": erasedTexts["number"],
			"created_at":   "2026-03-01T10:00:00Z"}, schema.Counts{Read: 1, Erased: 1}},
		{"a refused row of before", schema.Calls, row{"user_id": tenantA, "id": "none", "from_number": number,
			"created_at": "2026-03-01T10:00:00Z"}, schema.Counts{Read: 1, Erased: 1}},
		{"a refused row of the id", schema.Calls, row{"user_id": tenantA, "id": id(erasedID + 1), "created_at": "soon"},
			schema.Counts{Read: 1, Erased: 1}},
		{"the call of another tenant", schema.Calls, call(tenantB, erasedID+1, row{"from_number": number}),
			schema.Counts{Read: 1, New: 1}},
		{"a later call", schema.Calls, call(tenantA, 953, row{"from_number": number, "created_at": late}),
			schema.Counts{Read: 1, New: 1}},
		{"a later customer", schema.Customers, row{"user_id": tenantA, "id": id(954), "phone_number": number,
			"created_at": late},
			schema.Counts{Read: 1, New: 1}},
	} {
		if counts := merge(t, w, step.dataset, step.row); counts != step.want {
			t.Errorf("%s: got %+v, want %+v", step.name, counts, step.want)
		}
	}
	if refused, err := quarantined(t, w, 10); err != nil || len(refused) != 0 {
		t.Errorf("got entries of the quarantine %+v (%v)", refused, err)
	}
}

// steps is a context that calls at when it was asked for the n-th time whether it is done.
type steps struct {
	context.Context
	n  *atomic.Int64
	at func()
}

func (s steps) Err() error {
	if s.n.Add(-1) == 0 {
		s.at()
	}
	return s.Context.Err()
}

func (s steps) Done() <-chan struct{} {
	if s.n.Add(-1) == 0 {
		s.at()
	}
	return s.Context.Done()
}

// killedAt is the environment variable of a child process that erases the person and is killed at the given step.
const killedAt = "VOICORY_TEST_KILLED_AT"

// An erasure that is killed has not begun, or is completed by the next start.
func TestErase_KilledAtAnyStep(t *testing.T) {
	if at := os.Getenv(killedAt); at != "" {
		left, err := strconv.ParseInt(at, 10, 64)
		noError(t, err)
		w := open(t, os.Getenv(killedAt+"_DIR"))
		var n atomic.Int64
		n.Store(left)
		ctx := steps{t.Context(), &n, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }}
		_, err = w.Erase(ctx, tenantA, erasedTexts["number"], warehouse.EraseOptions{})
		noError(t, err)
		noError(t, w.Close())
		return
	}
	w := open(t, emptyFolder(t))
	mergePerson(t, w, 30)
	publish(t, w)
	noError(t, w.Close())
	before := os.DirFS(w.Dir())
	done, begun := false, 0
	for step := int64(3); !done; step += 509 {
		dir := t.TempDir()
		noError(t, os.CopyFS(dir, before))
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestErase_KilledAtAnyStep$")
		child.Env = append(os.Environ(), killedAt+"="+strconv.FormatInt(step, 10), killedAt+"_DIR="+dir,
			"GORACE=atexit_sleep_ms=10")
		out, err := child.CombinedOutput()
		if done = err == nil; !done && child.ProcessState.ExitCode() >= 0 {
			t.Fatalf("%v: %s", err, out)
		}
		w := open(t, dir)
		if strings.Contains(readFile(t, filepath.Join(w.Dir(), "journal.ndjson")), `"erased"`) {
			begun++
			publish(t, w)
			wantErased(t, w, 30)
		} else if _, err := w.Get(t.Context(), tenantA, schema.Customers, uuid.MustParse(id(erasedID))); err != nil {
			t.Errorf("step %d: the erasure has not begun, and the customer is not there: %v", step, err)
		}
		noError(t, w.Close())
		if left, _ := filepath.Glob(filepath.Join(w.Dir(), "*", ".*")); len(left) > 0 {
			t.Errorf("step %d: files are left: %v", step, left)
		}
	}
	if begun < 2 {
		t.Errorf("only %d kills were in an erasure", begun)
	}
}
