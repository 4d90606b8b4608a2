package rows_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// An inferred deletion yields to every row that arrives later, whatever its time; an explicit one to newer rows only.
func TestMerge_InferredDeletions(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	const older, seen, newer = "2026-06-01", "2026-06-02", "2026-06-03"
	for n, test := range []struct {
		name     string
		steps    []any // rows and deletions, in order
		inferred int   // index of the inferred deletion
		alive    bool
	}{
		{"the same version again", []any{older, Deletion(0, seen), older}, 1, true},
		{"an older version", []any{seen, Deletion(0, newer), older}, 1, true},
		{"a version without a time", []any{older, Deletion(0, seen), nil}, 1, true},
		{"then versions before the inferred deletion", []any{nil, Deletion(0, newer), nil, older, seen}, 1, true},
		{"explicit after inferred", []any{older, Deletion(0, newer), Deletion(0, seen), older}, 1, false},
		{"inferred after explicit", []any{older, Deletion(0, seen), Deletion(0, newer), older}, 2, false},
		{"explicit, then a newer version", []any{older, Deletion(0, seen), Deletion(0, newer), newer}, 2, true},
		{"of a newer version", []any{newer, Deletion(0, older)}, 1, true},
		{"of no row, then an older version", []any{Deletion(0, newer), older}, 0, true},
		{"repeated, then the version", []any{older, Deletion(0, seen), Deletion(0, newer), older}, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, step := range test.steps {
				line := Call(TenantA, n, Row{"updated_at": step})
				if deleted, ok := step.(Row); ok {
					line = With(deleted, Row{"id": ID(n)})
				}
				_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x", Rows: Lines(t, line),
					Inferred: i == test.inferred})
				NoError(t, err)
			}
			if _, err := w.Get(t.Context(), TenantA, schema.Calls, uuid.MustParse(ID(n))); (err == nil) != test.alive {
				t.Errorf("got error %v, want the row alive: %v", err, test.alive)
			}
		})
	}
}

// A row that its source shows with another tenant leaves the tenant that had it, and may come back.
func TestMerge_MovedRowsLeaveTheirTenant(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	before := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	show := func(dataset schema.Dataset, tenant uuid.UUID, created string, movedBefore time.Time, numbers ...int) {
		t.Helper()
		var rows []any
		for _, n := range numbers {
			rows = append(rows, Call(tenant, n, Row{"created_at": created, "updated_at": "2999-01-01"}))
		}
		_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Origin: "db", Rows: Lines(t, rows...),
			MovedBefore: movedBefore})
		NoError(t, err)
	}
	for _, dataset := range schema.Datasets {
		has := func(wanted map[uuid.UUID][]int) {
			t.Helper()
			for tenant, numbers := range wanted {
				page, err := w.List(t.Context(), tenant, dataset, warehouse.Listing{Limit: 10})
				NoError(t, err)
				var want []string
				for _, n := range numbers {
					want = append(want, ID(n))
				}
				got := IDs(t, page.Items)
				slices.Sort(got)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s of tenant %s: got %v, want %v", dataset.Name, tenant, got, want)
				}
			}
		}
		show(dataset, TenantA, "2026-03-01", before, 1, 2, 3)
		show(dataset, TenantB, "2026-03-01", before, 2, 4)
		has(map[uuid.UUID][]int{TenantA: {1, 3}, TenantB: {2, 4}})
		show(dataset, TenantA, "2026-03-01", before, 2)
		has(map[uuid.UUID][]int{TenantA: {1, 2, 3}, TenantB: {4}})
		show(dataset, TenantB, "2026-05-02", before, 1)       // too new to have been shown before
		show(dataset, TenantB, "2026-03-01", time.Time{}, 3)  // a source without owners
		show(dataset, TenantA, "2026-03-01", before, 1, 2, 3) // they already are rows of the tenant
		has(map[uuid.UUID][]int{TenantA: {1, 2, 3}, TenantB: {1, 3, 4}})
	}
}

// A key that was only missing in its source is valid again once the source lists it. Other revocations are permanent.
func TestImportKeys_InferredRevocations(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key := func(n int) control.ImportedKey {
		text := fmt.Sprintf("sk_%010d", n)
		return control.ImportedKey{ID: uuid.MustParse(ID(n)), Tenant: TenantA, Type: control.Secret, Prefix: text[:8],
			Digest: sha256.Sum256([]byte(text)), CreatedAt: at}
	}
	imported := func(source string, keys ...control.ImportedKey) {
		t.Helper()
		NoError(t, w.ImportKeys(t.Context(), control.KeySource{Name: source, Former: "old", Limit: 20}, keys))
	}
	valid := func(n int) control.Key {
		t.Helper()
		found, _, err := w.Authenticate(fmt.Sprintf("sk_%010d", n))
		if err != nil && !errors.Is(err, warehouse.ErrRevokedKey) {
			t.Fatal(err)
		}
		return found
	}
	want := func(n int, alive bool) {
		t.Helper()
		if found := valid(n); (found.RevokedAt == nil) != alive {
			t.Errorf("key %d: got revoked at %v, want it valid: %v", n, found.RevokedAt, alive)
		}
	}
	imported("db", key(1), key(2), key(3))
	imported("db", key(1))
	want(2, false)
	_, err := w.RevokeKey(t.Context(), key(3).ID) // an explicit revocation of a key that is missing
	NoError(t, err)
	NoError(t, w.Close())
	w = Open(t, dir) // the kind of a revocation is stored
	imported("db", key(1), key(2), key(3))
	want(2, true)
	want(3, false)

	// A revocation by the source is permanent.
	revoked := key(2)
	revoked.RevokedAt = &at
	imported("db", key(1), revoked)
	imported("db", key(1), key(2))
	want(2, false)

	// A key moves to another tenant and type; requests under way lose the rights of the former record.
	_, under, err := w.Authenticate("sk_0000000001")
	NoError(t, err)
	moved := key(1)
	moved.Tenant, moved.Type = TenantB, control.Public
	imported("db", moved)
	if found := valid(1); found.Tenant != TenantB || found.Type != control.Public || under.Err() == nil {
		t.Errorf("got %+v and a context with error %v, want a public key of tenant B and an ended context", found,
			under.Err())
	}

	// A key that its source lost belongs to the next source that lists it, and a source keeps the keys of its old name.
	imported("db")
	imported("another", moved)
	imported("db")
	if found := valid(1); found.RevokedAt != nil || found.Source != "another" {
		t.Errorf("got %+v, want a valid key of the other source", found)
	}
	imported("old", key(4), key(5))
	imported("db", key(4))
	want(4, true)
	want(5, false)

	// The text of a key is replaced under the same id.
	replaced := key(6)
	replaced.ID = key(4).ID
	imported("db", replaced)
	want(4, false)
	want(6, true)

	var many []control.ImportedKey
	for n := range 20 {
		many = append(many, key(100+n))
	}
	imported("large", many...)
	large := control.KeySource{Name: "large", Limit: 20}
	if err := w.ImportKeys(t.Context(), large, many[:9]); !errors.Is(err, schema.ErrTooManyDeletions) {
		t.Errorf("11 of 20 keys are missing: got %v, want %v", err, schema.ErrTooManyDeletions)
	}
	want(119, true)
	large.Limit = 100
	NoError(t, w.ImportKeys(t.Context(), large, many[:9]))
	want(119, false)
	NoError(t, w.Close())
}
