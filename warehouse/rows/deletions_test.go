package rows_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// Each case merges versions and deletions one after the other, each in its own batch, and then all of them again.
func TestMerge_DeletionSequences(t *testing.T) {
	t.Parallel()
	version := func(status string, at any) Row { return Call(TenantA, 1, Row{"status": status, "updated_at": at}) }
	type merged struct {
		row    Row
		counts schema.Counts
	}
	w, rows, end := OpenNew(t), 0, warehouse.FeedPosition{}
	one := func(counts schema.Counts) schema.Counts { counts.Read = 1; return counts }
	isNew, changed, unchanged := one(schema.Counts{New: 1}), one(schema.Counts{Changed: 1}),
		one(schema.Counts{Unchanged: 1})
	deleted, superseded := one(schema.Counts{Deleted: 1}), one(schema.Counts{Superseded: 1})
	for name, test := range map[string]struct {
		steps []merged
		left  string // status of the row, or the time of the tombstone
		seq   int64  // commits
	}{
		"a row goes": {[]merged{{version("a", "2026-06-01"), isNew},
			{Deletion(1, "2026-06-02"), deleted}}, "2026-06-02", 2},
		"at its own time": {[]merged{{version("a", "2026-06-01"), isNew},
			{Deletion(1, "2026-06-01"), deleted}}, "2026-06-01", 2},
		"older than the row": {[]merged{{version("a", "2026-06-03"), isNew},
			{Deletion(1, "2026-06-02"), superseded}}, "a", 1},
		"of a row without a time": {[]merged{{version("a", nil), isNew}, {Deletion(1, "2026-06-02"), deleted}},
			"2026-06-02", 2},
		"before the row": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{version("a", "2026-06-01"), superseded}}, "2026-06-02", 1},
		"before the row of that time": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{version("a", "2026-06-02"), superseded}}, "2026-06-02", 1},
		"a newer row comes back": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{version("a", "2026-06-03"), isNew}}, "a", 2},
		"and is no older than the deletion": {[]merged{{Deletion(1, "2026-06-02"), deleted}, {version("a", nil), isNew},
			{version("b", "2026-06-01"), superseded}, {Deletion(1, "2026-06-01"), superseded}}, "a", 2},
		"and goes again": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{version("a", "2026-06-03"), isNew}, {Deletion(1, "2026-06-04"), deleted}}, "2026-06-04", 3},
		"deleted again": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{Deletion(1, "2026-06-01"), unchanged}}, "2026-06-02", 1},
		"deleted again, later": {[]merged{{Deletion(1, "2026-06-02"), deleted},
			{Deletion(1, "2026-06-04"), unchanged}, {version("a", "2026-06-03"), superseded}}, "2026-06-04", 1},
		"confirmed after the deletion": {[]merged{{version("a", "2026-06-01"), isNew},
			{version("a", "2026-06-03"), unchanged}, {Deletion(1, "2026-06-02"), superseded}}, "a", 1},
		"confirmed by a time, having none": {[]merged{{version("a", nil), isNew},
			{version("a", "2026-06-03"), unchanged}, {Deletion(1, "2026-06-02"), superseded}}, "a", 1},
		"changed without a time": {[]merged{{version("a", "2026-06-03"), isNew}, {version("b", nil), changed},
			{Deletion(1, "2026-06-02"), superseded}}, "b", 2},
		"moved without a time": {[]merged{{version("a", "2026-06-03"), isNew},
			{With(version("b", nil), Row{"created_at": "2026-07-01"}), changed}, {Deletion(1, "2026-06-02"), superseded}}, "b",
			2},
		"with values that a deletion ignores": {[]merged{{version("a", "2026-06-01"), isNew},
			{With(version("b", "2026-06-09"), Row{"deleted_at": "2026-06-02"}), deleted}}, "2026-06-02", 2},
		"a deleted_at of nothing": {[]merged{{With(version("a", nil), Row{"deleted_at": nil}), isNew},
			{With(version("a", nil), Row{"deleted_at": " "}), unchanged}}, "a", 1},
	} {
		t.Run(name, func(t *testing.T) {
			rows++
			_, before := Follow(t, w, schema.Calls, end, 10)
			end = before
			for i, step := range test.steps {
				step.row["id"] = ID(rows)
				WantCounts(t, Merge(t, w, schema.Calls, any(step.row)), step.counts)
				if again := Merge(t, w, schema.Calls, any(step.row)); again.Unchanged+again.Superseded != 1 {
					t.Fatalf("step %d repeated: got %+v, want only unchanged rows", i, again)
				}
			}
			feed := Changes(t, w, schema.Calls, schema.Filter{}, before, 10)
			if len(feed.Items) != 1 || feed.Seq-before.Seq != test.seq {
				t.Fatalf("got feed %+v, want %d commits after %d", feed, test.seq, before.Seq)
			}
			c := changedItem(t, feed.Items[0])
			Want(t, c.Status+strings.TrimSuffix(c.DeletedAt, "T00:00:00.000Z"), test.left)
		})
	}
}

// Within a batch the newest version wins, and among versions with the same time the last line.
func TestMerge_DeletionsWithinBatch(t *testing.T) {
	t.Parallel()
	w, n, end := OpenNew(t), 0, warehouse.FeedPosition{}
	version := func(at any) Row { return Call(TenantA, 1, Row{"updated_at": at}) }
	for name, test := range map[string]struct {
		rows    []any
		deleted bool
	}{
		"the deletion is newer":    {[]any{Deletion(1, "2026-06-02"), version("2026-06-01")}, true},
		"the version is newer":     {[]any{version("2026-06-03"), Deletion(1, "2026-06-02")}, false},
		"the later line deletes":   {[]any{version("2026-06-02"), Deletion(1, "2026-06-02")}, true},
		"the later line does not":  {[]any{Deletion(1, "2026-06-02"), version("2026-06-02")}, false},
		"without a time, but last": {[]any{version("2026-06-01"), Deletion(1, "2026-06-02"), version(nil)}, false},
		"without a time, and then": {[]any{version(nil), Deletion(1, "2026-06-02")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			for _, r := range test.rows {
				r.(Row)["id"] = ID(n)
			}
			counts := schema.Counts{Read: int64(len(test.rows)), Superseded: int64(len(test.rows) - 1), New: 1}
			if test.deleted {
				counts.New, counts.Deleted = 0, 1
			}
			WantCounts(t, Merge(t, w, schema.Calls, test.rows...), counts)
			feed := Changes(t, w, schema.Calls, schema.Filter{}, end, 10)
			if len(feed.Items) != 1 || changedItem(t, feed.Items[0]).Deleted != test.deleted {
				t.Fatalf("got feed %+v", feed)
			}
			end = feed.Next
			counts = Merge(t, w, schema.Calls, test.rows...)
			if counts.New+counts.Changed+counts.Deleted != 0 ||
				Changes(t, w, schema.Calls, schema.Filter{}, feed.Next, 10).Seq != feed.Seq {
				t.Errorf("same batch repeated: got %+v, want no changes", counts)
			}
		})
	}
}

// A version is a row, or the deletion of a row, in the model below.
type version struct {
	n       int
	deleted bool
	at      int // source time in seconds; 0: none
	status  string
	month   int
}

func moment(at int) string { return fmt.Sprintf("2026-06-01T00:%02d:%02d.000Z", at/60, at%60) }

func (v version) row() Row {
	if v.deleted {
		return Deletion(v.n, moment(v.at))
	}
	r := Call(TenantA, v.n, Row{"status": v.status, "created_at": fmt.Sprintf("2026-%02d-01T00:00:00.000Z", v.month)})
	if v.at > 0 {
		r["updated_at"] = moment(v.at)
	}
	return r
}

// A model maps each id to the version that must be stored, computed from the rules of merging.
type model map[int]version

// merge applies a batch. It finds the winning version of each id in the batch first, and compares it with the stored
// one.
func (m model) merge(batch []version) {
	newest, known := map[int]version{}, map[int]int{}
	timed := map[int]bool{} // whether the newest version has a time of its own
	for _, v := range batch {
		own := v.at > 0
		v.at = max(v.at, known[v.n]*b2i(!own))
		known[v.n] = max(known[v.n], v.at)
		if best, ok := newest[v.n]; !ok || v.at >= best.at {
			newest[v.n], timed[v.n] = v, own
		}
	}
	for n, v := range newest {
		kept, ok := m[n]
		switch {
		case !ok:
			m[n] = v
		case kept.deleted && v.deleted:
			kept.at = max(kept.at, v.at)
			m[n] = kept
		case kept.deleted && timed[n] && v.at <= kept.at, timed[n] && v.at < kept.at:
		default:
			v.at = max(v.at, kept.at)
			m[n] = v
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shown returns the status or the time of deletion of each id, as the feed shows them.
func (m model) shown() map[string]string {
	shown := map[string]string{}
	for n, v := range m {
		shown[ID(n)] = v.status
		if v.deleted {
			shown[ID(n)] = moment(v.at)
		}
	}
	return shown
}

// After versions and deletions in any order and in any batches, the table, the feed and the lake agree with the model.
func TestMerge_DeletionsInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			dir := t.TempDir()
			w := Open(t, dir)
			kept, last := model{}, map[int]version{}
			for step := range 16 {
				var batch []version
				for range 1 + random.IntN(12) {
					v := version{n: random.IntN(8), deleted: random.IntN(3) == 0, status: fmt.Sprint(random.IntN(4)), month: 1 +
						random.IntN(3)}
					switch {
					case v.n < 3: // each at a time of its own: the latest of all decides in the end
						v.at = 1 + random.IntN(1800)*2 + v.n%2
						if v.at == last[v.n].at {
							continue
						}
						if v.at > last[v.n].at {
							last[v.n] = v
						}
					case v.deleted || random.IntN(3) > 0:
						v.at = 1 + random.IntN(20)
					}
					batch = append(batch, v)
				}
				kept.merge(batch)
				var rows []any
				for _, v := range batch {
					rows = append(rows, v.row())
				}
				counts := Merge(t, w, schema.Calls, rows...)
				if counts.Read != counts.New+counts.Changed+counts.Unchanged+counts.Deleted+counts.Superseded+counts.Refused ||
					counts.Read != int64(len(batch)) {
					t.Fatalf("step %d: got %+v, want a sum of %d", step, counts, len(batch))
				}
				seq := Changes(t, w, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 1).Seq
				if step%3 == 0 {
					if again := Merge(t, w, schema.Calls, rows...); again.New+again.Changed+again.Deleted != 0 {
						t.Fatalf("step %d repeated: got %+v, want no changes", step, again)
					}
				}
				items, end := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, 5)
				if end.Seq > seq {
					t.Fatalf("step %d repeated: got sequence number %d, want %d", step, end.Seq, seq)
				}
				found := map[string]string{}
				for _, item := range items {
					c := changedItem(t, item)
					found[c.ID] = c.Status + c.DeletedAt
				}
				if len(found) != len(items) || !maps.Equal(found, kept.shown()) {
					t.Fatalf("step %d of %+v: got %v, want %v", step, batch, found, kept.shown())
				}
				if step%8 == 7 { // what there is of tombstones is read from the file, too
					Publish(t, w)
					NoError(t, w.Close())
					w = Open(t, dir)
				}
			}
			NoError(t, w.Close())
			for n, v := range last {
				if kept[n].deleted != v.deleted || !v.deleted && kept[n].status != v.status {
					t.Errorf("id %d: got %+v stored, want the latest version %+v", n, kept[n], v)
				}
			}
			var rows []string
			for n, v := range kept {
				if !v.deleted {
					rows = append(rows, fmt.Sprintf("%s 2026-%02d %s", ID(n), v.month, v.status))
				}
			}
			slices.Sort(rows)
			Want(t, QueryLake(t, dir, "SELECT list(id || ' ' || month || ' ' || status ORDER BY id) FROM "+
				"read_parquet('{lake}/*/calls/*/*.parquet', hive_partitioning = true)"), "["+strings.Join(rows, ", ")+"]")
			Want(t, Query(t, dir, TenantA, "SELECT count(*) - count(DISTINCT id) FROM (SELECT id FROM calls UNION ALL "+
				"SELECT id FROM tombstones)"), "0")
		})
	}
}

// A deletion requires an id, a tenant and a valid time.
func TestMerge_RefusedDeletions(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	for name, test := range map[string]struct {
		line   any
		reason string
	}{
		"no time":   {Deletion(1, "yesterday"), "deleted_at is not a time: yesterday"},
		"true":      {Deletion(1, true), "deleted_at is not a time: true"},
		"endless":   {With(Call(TenantA, 1, nil), Row{"deleted_at": "infinity"}), "deleted_at is not a time: infinity"},
		"no id":     {Row{"user_id": TenantA, "deleted_at": "2026-06-01"}, "id is missing"},
		"no tenant": {Row{"id": ID(1), "deleted_at": "2026-06-01"}, "user_id (the tenant) is missing"},
		"bad values": {With(Deletion(1, "2026-06-01"), Row{"created_at": "yesterday"}),
			"created_at is not a time: yesterday"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dataset := range schema.Datasets {
				counts, refusals, err := w.Merge(t.Context(),
					warehouse.Batch{Dataset: dataset, Origin: "x", Rows: Lines(t, test.line)})
				NoError(t, err)
				WantCounts(t, counts, schema.Counts{Read: 1, Refused: 1})
				if len(refusals) != 1 || refusals[0].Reason != test.reason {
					t.Errorf("got refusals %+v, want reason %q", refusals, test.reason)
				}
			}
		})
	}
}

// A deletion may belong to the tenant of the batch, and a file of deletions needs no other columns.
func TestMerge_DeletionsWithBatchTenant(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	for _, dataset := range schema.Datasets {
		Merge(t, w, dataset, Call(TenantA, 1, nil))
		counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Tenant: TenantA, Origin: "x",
			Rows: Lines(t, Row{"id": ID(1), "deleted_at": "2026-06-01"})})
		NoError(t, err)
		WantCounts(t, counts, schema.Counts{Read: 1, Deleted: 1})
		page, err := w.List(t.Context(), TenantA, dataset, warehouse.Listing{Limit: 10})
		NoError(t, err)
		if page.Total != 0 || len(page.Items) != 0 {
			t.Errorf("%s: got page %+v", dataset.Name, page)
		}
	}
}
