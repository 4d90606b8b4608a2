package recovery_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A storeImage holds copies of a data folder as a killed process leaves it. Tenants A and B have 20 calls in their
// files, and 5 more in their WALs. All calls are published.
type storeImage struct {
	killed string // WALs hold the last commits
	older  string // the same folder before these commits, with WALs of the first of them
	clean  string // before both, without WALs
}

var newTenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000003")

// largeTenant has more rows than the other tenants. Its log changes one that they do not have.
var largeTenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000004")

const largeCalls = 5000

const (
	imageCalls = 25
	cleanCalls = 20
)

func makeStoreImage(t *testing.T) (image storeImage) {
	t.Helper()
	dir := t.TempDir()
	both := func(w *warehouse.Warehouse, from, to int, fields Row) {
		var rows []any
		for n := from; n < to; n++ {
			rows = append(rows, Call(TenantA, n, fields), Call(TenantB, n, fields))
		}
		Merge(t, w, schema.Calls, rows...)
	}
	w := Open(t, dir)
	both(w, 0, cleanCalls, nil)
	var large []any
	for n := range largeCalls {
		large = append(large, Call(largeTenant, n, nil))
	}
	Merge(t, w, schema.Calls, large...)
	Publish(t, w)
	NoError(t, w.Close())
	image.clean = imageOf(t, dir)
	w = Open(t, dir)
	both(w, cleanCalls, cleanCalls+2, nil)
	image.older = imageOf(t, dir)
	both(w, cleanCalls+2, imageCalls, nil)
	Merge(t, w, schema.Calls, Call(largeTenant, largeCalls-1, Row{"summary": "changed"}))
	Publish(t, w)
	image.killed = imageOf(t, dir)
	NoError(t, w.Close())
	return image
}

// imageOf copies a data folder, which may be open, and returns the copy.
func imageOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	CopyFolder(t, dir, to)
	return to
}

// lakeFiles returns the files of the tenant in the lake and their content.
func lakeFiles(t *testing.T, dir string, tenant uuid.UUID) map[string]string {
	t.Helper()
	files := map[string]string{}
	NoError(t, filepath.WalkDir(filepath.Join(dir, "lake", "tenant_id="+tenant.String()),
		func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				files[path] = ReadFile(t, path)
			}
			return err
		}))
	return files
}

// A store that is missing, not the tenant's own or older than it was is refused by every call for its tenant, and
// nothing takes its place. Other tenants are not affected.
func TestStores_DamageIsRefused(t *testing.T) {
	image := makeStoreImage(t)
	replace := func(from string, tenant uuid.UUID, suffix string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			text, err := os.ReadFile(StorePath(from, tenant) + suffix)
			NoError(t, err)
			NoError(t, os.WriteFile(StorePath(dir, TenantA)+suffix, text, 0o600))
		}
	}
	remove := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { NoError(t, os.Remove(StorePath(dir, TenantA)+suffix)) }
	}
	cut := func(suffix string, share float64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := StorePath(dir, TenantA) + suffix
			info, err := os.Stat(path)
			NoError(t, err)
			NoError(t, os.Truncate(path, int64(share*float64(info.Size()))))
		}
	}
	all := func(steps ...func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, step := range steps {
				step(t, dir)
			}
		}
	}
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		kind   warehouse.ConditionKind
	}{
		"file missing":               {remove(""), warehouse.StoreMissing},
		"file and WAL missing":       {all(remove(""), remove(".wal")), warehouse.StoreMissing},
		"file emptied":               {cut("", 0), warehouse.StoreUnreadable},
		"file cut to half":           {cut("", 0.5), warehouse.StoreUnreadable},
		"file cut in its last block": {cut("", 0.999), warehouse.StoreUnreadable},
		"file of another tenant":     {all(replace(image.killed, TenantB, ""), remove(".wal")), warehouse.StoreForeign},
		"file and WAL of another tenant": {all(replace(image.killed, TenantB, ""), replace(image.killed, TenantB, ".wal")),
			warehouse.StoreForeign},
		"file of another tenant, own WAL":         {replace(image.killed, TenantB, ""), ""},
		"older file":                              {all(replace(image.clean, TenantA, ""), remove(".wal")), warehouse.StoreBehind},
		"WAL missing":                             {remove(".wal"), warehouse.StoreBehind},
		"WAL emptied":                             {cut(".wal", 0), warehouse.StoreBehind},
		"WAL cut to its header":                   {cut(".wal", 0.005), warehouse.StoreBehind},
		"WAL cut to half":                         {cut(".wal", 0.5), warehouse.StoreBehind},
		"WAL of another tenant":                   {replace(image.killed, TenantB, ".wal"), warehouse.StoreForeign},
		"WAL that changes rows of another tenant": {replace(image.killed, largeTenant, ".wal"), warehouse.StoreUnreadable},
		"WAL of an older state":                   {replace(image.older, TenantA, ".wal"), warehouse.StoreBehind},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := imageOf(t, image.killed)
			c.damage(t, dir)
			wantRefused(t, dir, c.kind)
		})
	}
}

// A store whose log is damaged is refused before DuckDB reads the log: some errors of a replay invalidate the databases
// of all tenants. The first entry of the log has no checksum.
func TestStores_DamagedLogIsRefused(t *testing.T) {
	t.Parallel()
	image := makeStoreImage(t)
	info, err := os.Stat(StorePath(image.killed, TenantA) + ".wal")
	NoError(t, err)
	const firstEntry = 40 // bytes, or more
	for at := int64(0); at < info.Size(); at++ {
		if at >= 8 && at%3 > 0 && at < firstEntry && !*allFaults { // the first fields decide how DuckDB fails
			continue
		}
		if at >= firstEntry {
			at += info.Size() / 10
		}
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			damaged := []byte(ReadFile(t, StorePath(image.killed, TenantA)+".wal"))
			damaged[min(at, info.Size()-1)] ^= 1 << (at % 8)
			dir := imageOf(t, image.killed)
			NoError(t, os.WriteFile(StorePath(dir, TenantA)+".wal", damaged, 0o600))
			before := storeFiles(t, dir)
			w := Open(t, dir)
			page, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 100})
			Merge(t, w, schema.Calls, Call(TenantB, 99, nil))
			WantCallCount(t, w, TenantB, imageCalls+1)
			NoError(t, w.Close())
			if err != nil {
				WantKind(t, err, warehouse.ErrUnavailable)
				if !maps.Equal(before, storeFiles(t, dir)) {
					t.Error("the refused store was changed")
				}
			} else if len(page.Items) != imageCalls { // some bits of the identifier have no effect
				t.Errorf("got %d calls, want %d", len(page.Items), imageCalls)
			}
		})
	}
}

// A log that DuckDB cannot replay, which makes it refuse every statement of the instance, affects its tenant only: also
// the repair and the restore of the tenant, which read the replaced store.
func TestStores_LogThatCannotBeReplayed(t *testing.T) {
	t.Parallel()
	dir, backups := EmptyFolder(t), filepath.Join(t.TempDir(), "backups")
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantB, 1, nil))
	Publish(t, w)
	_, err := w.Backup(t.Context(), warehouse.BackupOptions{Dest: backups})
	NoError(t, err)
	NoError(t, w.Close())
	log := UnfitLog(t, StorePath(dir, TenantA))
	for name, mend := range map[string]func(w *warehouse.Warehouse) error{
		"repair": func(w *warehouse.Warehouse) error {
			repaired, err := w.Repair(t.Context(), warehouse.RepairOptions{})
			if err == nil && len(repaired.Remaining) > 0 {
				err = fmt.Errorf("remaining findings %+v", repaired.Remaining)
			}
			return err
		},
		"restore": func(w *warehouse.Warehouse) error {
			_, err := w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: backups, Tenant: TenantA})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := imageOf(t, dir)
			NoError(t, os.WriteFile(StorePath(dir, TenantA)+".wal", []byte(log), 0o600))
			w := Open(t, dir)
			_, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 1})
			WantKind(t, err, warehouse.ErrUnavailable)
			NoError(t, mend(w))
			for _, tenant := range []uuid.UUID{TenantA, TenantB} {
				WantCallCount(t, w, tenant, 1)
			}
			NoError(t, w.Close())
		})
	}
}

// wantRefused opens the folder and requires that tenant A's store is refused with a condition of the kind, or of any
// store kind if kind is "".
func wantRefused(t *testing.T, dir string, kind warehouse.ConditionKind) {
	t.Helper()
	before, store := lakeFiles(t, dir, TenantA), storeFiles(t, dir)
	w := Open(t, dir)
	defer func() {
		NoError(t, w.Close())
		if after := lakeFiles(t, dir, TenantA); !maps.Equal(before, after) {
			t.Errorf("lake of the tenant: got files %v, want %v unchanged",
				slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
		}
		if after := storeFiles(t, dir); !maps.Equal(store, after) {
			t.Error("the refused store was changed")
		}
	}()
	uses := map[string]func() error{
		"page": func() error {
			_, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 10})
			return err
		},
		"feed": func() error {
			_, err := w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 10)
			return err
		},
		"push": func() error {
			_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "push",
				Rows: Lines(t, Call(TenantA, 99, nil))})
			return err
		},
		"files for SQL":   func() error { _, err := w.PublishedFiles(t.Context(), TenantA); return err },
		"export":          func() error { _, err := w.Snapshot(t.Context(), TenantA); return err },
		"publication":     func() error { _, err := w.PublishTenant(t.Context(), TenantA); return err },
		"state of source": func() error { _, err := w.SourceState(t.Context(), TenantA, "x"); return err },
	}
	for use, do := range uses {
		err := do()
		var condition *warehouse.ConditionError
		switch {
		case !errors.Is(err, warehouse.ErrUnavailable) || !errors.As(err, &condition):
			t.Errorf("%s: got error %v, want kind %v", use, err, warehouse.ErrUnavailable)
		case kind != "" && condition.Kind != kind:
			t.Errorf("%s: got condition %s (%v), want %s", use, condition.Kind, err, kind)
		case !strings.Contains(err.Error(), TenantA.String()+".duckdb") || !strings.Contains(err.Error(), "voicory repair"):
			t.Errorf("%s: got error %q, want one that names the file and the command", use, err)
		}
	}
	if page, err := w.List(t.Context(), TenantB, schema.Calls, warehouse.Listing{Limit: 100}); err != nil ||
		len(page.Items) != imageCalls {
		t.Errorf("other tenant: got %d calls and error %v, want %d", len(page.Items), err, imageCalls)
	}
	Merge(t, w, schema.Calls, Call(TenantB, 99, nil), Call(newTenant, 1, nil))
	_, err := w.PublishTenant(t.Context(), TenantB)
	NoError(t, err)
	if !slices.ContainsFunc(w.Conditions(), func(c warehouse.Condition) bool {
		return c.Tenant == TenantA && c.Kind.IsStore() && (kind == "" || c.Kind == kind)
	}) {
		t.Errorf("got conditions %v, want one of the store of tenant A", w.Conditions())
	}
}

// storeFiles returns the files of tenant A in the folder of the stores.
func storeFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	found, err := filepath.Glob(StorePath(dir, TenantA) + "*")
	NoError(t, err)
	for _, path := range found {
		files[path] = ReadFile(t, path)
	}
	return files
}

// If the folder of the stores is missing or empty although stores are registered, no store is created in it, not even
// for a new tenant: its file system is probably not mounted.
func TestStores_FolderNotMounted(t *testing.T) {
	t.Parallel()
	image := makeStoreImage(t)
	for name, lose := range map[string]func(dir string) error{
		"missing": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "warehouse")) },
		"empty": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "warehouse")), os.Mkdir(filepath.Join(dir, "warehouse"), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := imageOf(t, image.killed)
			NoError(t, lose(dir))
			before := Contents(t, filepath.Join(dir, "lake"))
			w := Open(t, dir)
			for _, tenant := range []uuid.UUID{TenantA, TenantB, newTenant} {
				_, err := w.List(t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 10})
				WantKind(t, err, warehouse.ErrUnavailable)
				_, _, err = w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "push",
					Rows: Lines(t, Call(tenant, 99, nil))})
				WantKind(t, err, warehouse.ErrUnavailable)
			}
			_, _ = w.Publish(t.Context()) // has nothing to publish
			NoError(t, w.Close())
			if after := Contents(t, filepath.Join(dir, "lake")); after != before {
				t.Errorf("got lake %s, want %s", after, before)
			}
			if entries, err := os.ReadDir(filepath.Join(dir, "warehouse")); len(entries) > 0 {
				t.Errorf("got %v in the folder of the stores and error %v, want none", entries, err)
			}
		})
	}
}

// A store whose history is not registered any more is registered again, and a file of commits that is older than the
// stores, damaged or lost refuses none.
func TestStores_LostRegistrationsRefuseNoStore(t *testing.T) {
	image := makeStoreImage(t)
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				NoError(t, os.RemoveAll(filepath.Join(dir, name))) // there may be no WAL
			}
		}
	}
	older := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(image.clean, name))
				NoError(t, err)
				NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
			}
			_ = os.Remove(filepath.Join(dir, "control.duckdb.wal"))
		}
	}
	for name, lose := range map[string]func(*testing.T, string){
		"control database lost":             remove("control.duckdb", "control.duckdb.wal"),
		"control database and journal lost": remove("control.duckdb", "control.duckdb.wal", "journal.ndjson"),
		"journal lost":                      remove("journal.ndjson"),
		"control database older":            older("control.duckdb"),
		"commits lost":                      remove("commits"),
		"commits older":                     older("commits"),
		"commits emptied": func(t *testing.T, dir string) {
			NoError(t, os.Truncate(filepath.Join(dir, "commits"), 0))
		},
		"commits cut in a slot": func(t *testing.T, dir string) {
			NoError(t,
				os.Truncate(filepath.Join(dir, "commits"), 70))
		},
		"commits damaged": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "commits")
			text := []byte(ReadFile(t, path))
			for at := 3; at < len(text); at += 16 {
				text[at] ^= 4
			}
			NoError(t, os.WriteFile(path, text, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := imageOf(t, image.killed)
			lose(t, dir)
			for range 2 {
				w := Open(t, dir)
				WantCallCount(t, w, TenantA, imageCalls)
				Merge(t, w, schema.Calls, Call(TenantB, 0, Row{"status": uuid.NewString()}))
				WantCallCount(t, w, TenantB, imageCalls)
				NoError(t, w.Close())
			}
			NoError(t, os.Remove(StorePath(dir, TenantA))) // and a loss is noticed again
			w := Open(t, dir)
			_, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 1})
			WantKind(t, err, warehouse.ErrUnavailable)
			NoError(t, w.Close())
		})
	}
}

// A tenant with a key and without rows has empty lists, before and after a restart.
func TestStores_TenantWithoutRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		w := Open(t, dir)
		_, _, err := w.CreateKey(t.Context(), TenantA, control.Secret, control.KeySettings{})
		NoError(t, err)
		WantCallCount(t, w, TenantA, 0)
		NoError(t, w.Close())
	}
}

// BeginHistory accepts a store that lacks commits, or has another history, and ends every position in its feed. It does
// not accept a store of another tenant.
func TestBeginHistory_AcceptsStoresThatLackCommits(t *testing.T) {
	t.Parallel()
	image := makeStoreImage(t)
	dir := imageOf(t, image.killed)
	w := Open(t, dir)
	feed, err := w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 3)
	NoError(t, err)
	NoError(t, w.Close())
	for _, store := range []string{image.clean, image.killed} { // the second has the first history
		text, err := os.ReadFile(StorePath(store, TenantA))
		NoError(t, err)
		NoError(t, os.WriteFile(StorePath(dir, TenantA), text, 0o600))
		w = Open(t, dir)
		_, err = w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 1})
		WantKind(t, err, warehouse.ErrUnavailable)
		NoError(t, w.BeginHistory(t.Context(), TenantA))
		WantCallCount(t, w, TenantA, cleanCalls)
		_, err = w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, feed.Next, 3)
		WantKind(t, err, warehouse.ErrPositionLost)
		Merge(t, w, schema.Calls, Call(TenantA, 98, nil))
		feed, err = w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 100)
		NoError(t, err)
		if len(feed.Items) != cleanCalls+1 {
			t.Errorf("got %d rows in the feed, want %d", len(feed.Items), cleanCalls+1)
		}
		NoError(t, w.Close())
		w = Open(t, dir)
		WantCallCount(t, w, TenantA, cleanCalls+1)
		if len(w.Conditions()) > 0 {
			t.Errorf("got conditions %v, want none", w.Conditions())
		}
		NoError(t, w.Close())
	}
	text, err := os.ReadFile(StorePath(image.clean, TenantB))
	NoError(t, err)
	NoError(t, os.WriteFile(StorePath(dir, TenantA), text, 0o600))
	w = Open(t, dir)
	WantKind(t, w.BeginHistory(t.Context(), TenantA), warehouse.ErrUnavailable)
	NoError(t, w.Close())
}

// The newest history of a store is registered twice. Either place may lose it: the store stays the tenant's store.
func TestStores_OneCopyOfTheHistorySuffices(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	NoError(t, w.Close())
	journalPath := filepath.Join(dir, "journal.ndjson")
	for name, lose := range map[string]func() error{
		"journal cut to a damaged line": func() error {
			return os.WriteFile(journalPath, []byte(strings.TrimRight(ReadFile(t, journalPath), "\x00\n")[:10]), 0o600)
		},
		"journal without its last line": func() error {
			lines := strings.SplitAfter(strings.TrimRight(ReadFile(t, journalPath), "\x00\n"), "\n")
			return os.WriteFile(journalPath, []byte(strings.Join(lines[:len(lines)-1], "")), 0o600)
		},
		"control database older": func() error {
			ExecFile(t, filepath.Join(dir, "control.duckdb"), "UPDATE tenants SET history = NULL")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := Open(t, dir)
			NoError(t, w.BeginHistory(t.Context(), TenantA))
			history, _ := w.History(TenantA)
			NoError(t, w.Close())
			NoError(t, lose())
			for range 2 {
				w := Open(t, dir)
				WantCallCount(t, w, TenantA, 1)
				if got, _ := w.History(TenantA); got != history {
					t.Errorf("got history %s, want %s", got, history)
				}
				NoError(t, w.Close())
			}
		})
	}
}

// A start does not check the stores that a clean stop has left, and finds the others.
func TestUpgrade_StartChecksChangedStores(t *testing.T) {
	t.Parallel()
	image := makeStoreImage(t)
	dir := imageOf(t, image.killed)
	NoError(t, os.Remove(StorePath(dir, TenantA)+".wal"))
	w := Open(t, dir) // no tenant is opened
	conditions := w.Conditions()
	if len(conditions) != 1 || conditions[0].Tenant != TenantA || conditions[0].Kind != warehouse.StoreBehind {
		t.Errorf("got conditions %v, want that tenant A's store is behind", conditions)
	}
	NoError(t, w.Close())
}
