package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// manyBytes is more than all files of a test have.
const manyBytes = 1 << 30

// A cachedLake is a warehouse whose files of January to March are in a bucket.
type cachedLake struct {
	*warehouse.Warehouse
	store      *store
	replicator *Replicator
	calls      []warehouse.PublishedFile // one for each month
	contents   map[string][]byte         // by name
}

func newCachedLake(t *testing.T) *cachedLake {
	t.Helper()
	l := &cachedLake{Warehouse: warehousetest.Open(t, warehousetest.EmptyFolder(t)), store: newStore(t),
		contents: map[string][]byte{}}
	t.Cleanup(func() { l.close(t) })
	for month := 1; month <= 3; month++ {
		l.fill(t, warehousetest.TenantA, month)
	}
	_, err := l.Publish(t.Context())
	warehousetest.NoError(t, err)
	l.replicator = newReplicator(t, l.store, l.Warehouse, uuid.NewString())
	l.UseLakeCache(l.replicator, manyBytes)
	mustReplicate(t, l.replicator)
	l.read(t)
	return l
}

// close closes the warehouse, if it is open.
func (l *cachedLake) close(t *testing.T) {
	t.Helper()
	if l.Warehouse != nil {
		warehousetest.NoError(t, l.Close())
		l.Warehouse = nil
	}
}

// reopen opens the data folder as a new process does.
func (l *cachedLake) reopen(t *testing.T, dir string) {
	t.Helper()
	l.close(t)
	l.Warehouse = warehousetest.Open(t, dir)
	l.replicator.source = l.Warehouse
}

// fill merges calls of a month, which do not compress, so that their file is larger than its record.
func (l *cachedLake) fill(t *testing.T, tenant uuid.UUID, month int) {
	t.Helper()
	var calls []warehousetest.Row
	for i := range 40 {
		var noise strings.Builder
		for range 10 {
			noise.WriteString(rand.Text())
		}
		calls = append(calls, warehousetest.Call(tenant, 100*month+i, warehousetest.Row{
			"created_at": fmt.Sprintf("2026-%02d-03T10:00:00Z", month), "summary": noise.String()}))
	}
	warehousetest.Merge(t, l.Warehouse, schema.Calls, calls...)
}

// read sets the files and their contents.
func (l *cachedLake) read(t *testing.T) {
	t.Helper()
	files, err := l.PublishedFiles(t.Context(), warehousetest.TenantA)
	warehousetest.NoError(t, err)
	l.calls = nil
	for _, file := range files {
		_, content, err := l.OpenPublished(t.Context(), warehousetest.TenantA, file.Export, file.Name)
		warehousetest.NoError(t, err)
		l.contents[file.Name], err = io.ReadAll(content)
		warehousetest.NoError(t, errors.Join(err, content.Close()))
		if file.Export == schema.Calls.Name {
			l.calls = append(l.calls, file)
		}
	}
}

// path returns the path of a file of tenant A.
func (l *cachedLake) path(file warehouse.PublishedFile) string {
	return filepath.Join(l.PublishedDirs(warehousetest.TenantA)[0], file.Name)
}

func (l *cachedLake) isLocal(file warehouse.PublishedFile) bool {
	_, err := os.Stat(l.path(file))
	return err == nil
}

// bound makes the bound of the cache what it is given, and waits until reached returns true.
func (l *cachedLake) bound(t *testing.T, bytes int64, reached func() bool) {
	t.Helper()
	l.UseLakeCache(l.replicator, bytes)
	l.run(t, func() { mustReplicate(t, l.replicator) }, reached)
}

// run runs the cache while it calls do, and until reached returns true.
func (l *cachedLake) run(t *testing.T, do func(), reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	var running sync.WaitGroup
	running.Go(func() { l.RunLakeCache(ctx) })
	defer running.Wait()
	defer cancel()
	do()
	for !reached() {
		if ctx.Err() != nil {
			stats, _ := l.LakeCacheStats()
			t.Fatalf("not reached: %+v", stats)
		}
		time.Sleep(time.Millisecond)
	}
}

// evict evicts all files that can be evicted, and makes the bound large again.
func (l *cachedLake) evict(t *testing.T) {
	t.Helper()
	l.bound(t, 1, func() bool {
		for _, file := range l.calls {
			if l.isLocal(file) {
				return false
			}
		}
		return true
	})
	l.UseLakeCache(l.replicator, manyBytes)
	mustReplicate(t, l.replicator)
}

// key returns the key of a file's object in the backend.
func (l *cachedLake) key(file warehouse.PublishedFile) string {
	return l.replicator.client.prefix + dataKey(warehousetest.TenantA, file.Export, file.Name)
}

// open reads a file of calls.
func (l *cachedLake) open(ctx context.Context, file warehouse.PublishedFile) ([]byte, error) {
	_, content, err := l.OpenPublished(ctx, warehousetest.TenantA, file.Export, file.Name)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

// objectFault is a fault of the bucket or of an object in it.
type objectFault struct {
	name string
	do   func(t *testing.T, l *cachedLake, file warehouse.PublishedFile)
	// published reports whether the file must be published again.
	published bool
	needless  bool // tried on roads that do not need the content, too
}

var objectFaults = []objectFault{
	{"none", func(*testing.T, *cachedLake, warehouse.PublishedFile) {}, false, true},
	{"bucket down", func(_ *testing.T, l *cachedLake, _ warehouse.PublishedFile) {
		l.store.set(func(_ int, r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
			return answer(r, http.StatusInternalServerError, "InternalError"), nil
		})
	}, false, true},
	{"answer is cut", func(_ *testing.T, l *cachedLake, _ warehouse.PublishedFile) {
		l.store.set(onGet(faults["truncated answer"]))
	}, false, false},
	{"object damaged", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		content := bytes.Clone(l.contents[file.Name])
		content[len(content)/3] ^= 4
		l.put(t, file, content)
	}, true, false},
	{"object is shorter", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		l.put(t, file, l.contents[file.Name][:100])
	}, true, false},
	{"object is longer", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		l.put(t, file, append(bytes.Clone(l.contents[file.Name]), 0))
	}, true, false},
	{"object missing", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		_, err := l.store.backend.DeleteObject(testBucket, l.key(file))
		warehousetest.NoError(t, err)
	}, true, true},
}

func onGet(fault func(*http.Request, func() (*http.Response, error)) (*http.Response, error)) func(
	int, *http.Request, func() (*http.Response, error)) (*http.Response, error) {
	return func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return fault(r, send)
		}
		return send()
	}
}

func (l *cachedLake) put(t *testing.T, file warehouse.PublishedFile, content []byte) {
	t.Helper()
	_, err := l.store.backend.PutObject(testBucket, l.key(file), modified(), bytes.NewReader(content), int64(len(content)),
		nil)
	warehousetest.NoError(t, err)
}

// TestCache_EveryReaderOfAnEvictedFile reads an evicted file by each kind of reader with faults of the bucket. A reader
// gets the right bytes or an ErrUnavailable. Readers that do not need the content fetch nothing, and work if the bucket
// is down or lacks the object; they are not tried with the other faults. After the next publication and replication,
// every reader works, and the bucket has the file.
func TestCache_EveryReaderOfAnEvictedFile(t *testing.T) {
	l := newCachedLake(t)
	rows := func(t *testing.T) error {
		snapshot, err := l.Snapshot(t.Context(), warehousetest.TenantA)
		if err != nil {
			return err
		}
		defer func() { warehousetest.NoError(t, snapshot.Close()) }()
		statement, err := snapshot.Select(t.Context(), schema.MustExport("calls"), schema.Filter{})
		if err != nil {
			return err
		}
		var n int
		err = snapshot.Conn.QueryRowContext(t.Context(), "SELECT count(*) FROM ("+statement+")").Scan(&n)
		if err == nil && n != 120 {
			err = fmt.Errorf("got %d rows, want 120", n)
		}
		return err
	}
	for _, road := range []struct {
		name   string
		ask    func(t *testing.T, file warehouse.PublishedFile) error
		always bool // the road does not need the content
	}{
		{"download", func(t *testing.T, file warehouse.PublishedFile) error {
			content, err := l.open(t.Context(), file)
			if err == nil && !bytes.Equal(content, l.contents[file.Name]) {
				t.Error("got other bytes")
			}
			return err
		}, false},
		{"SQL worker", func(t *testing.T, file warehouse.PublishedFile) error {
			files, release, err := l.VerifiedFiles(t.Context(), warehousetest.TenantA)
			if err != nil {
				return err
			}
			defer release()
			if len(files) != 6 || !l.isLocal(file) {
				t.Errorf("got %d files", len(files))
			}
			return nil
		}, false},
		{"metadata", func(t *testing.T, _ warehouse.PublishedFile) error {
			again := newReplicator(t, l.store, l.Warehouse, "other") // without the statistics of the first one
			tables, _, err := again.load(t.Context(), warehousetest.TenantA)
			if err == nil {
				_, err = again.tables.Objects(t.Context(), tables[0])
			}
			return err
		}, true},
		{"export", func(t *testing.T, _ warehouse.PublishedFile) error { return rows(t) }, true},
		{"publication", func(t *testing.T, _ warehouse.PublishedFile) error {
			_, err := l.PublishTenant(t.Context(), warehousetest.TenantA)
			return err
		}, true},
		{"scrub", func(t *testing.T, _ warehouse.PublishedFile) error {
			return l.ScrubTenant(t.Context(), warehousetest.TenantA, manyBytes)
		}, true},
		{"backup", func(t *testing.T, _ warehouse.PublishedFile) error {
			report, err := l.Backup(t.Context(), warehouse.BackupOptions{Dest: filepath.Join(t.TempDir(), "backups")})
			if len(report.Missing) > 0 {
				t.Errorf("got missing files %v", report.Missing)
			}
			return err
		}, true},
	} {
		for _, fault := range objectFaults {
			if road.always && !fault.needless {
				continue
			}
			t.Run(road.name+", "+fault.name, func(t *testing.T) {
				l.store.set(nil)
				l.read(t)
				l.evict(t)
				file := l.calls[1]
				fault.do(t, l, file)
				err := road.ask(t, file)
				switch {
				case err == nil:
				case !errors.Is(err, warehouse.ErrUnavailable):
					t.Errorf("got %v, want ErrUnavailable", err)
				case road.always || fault.name == "none":
					t.Error(err)
				}
				if road.always && l.isLocal(file) {
					t.Error("the file was fetched")
				}
				l.store.set(nil)
				l.UseLakeCache(l.replicator, manyBytes) // no pause after a failure
				_, err = l.open(t.Context(), file)
				if damaged := errors.Is(err, warehouse.ErrUnavailable); damaged != fault.published {
					t.Errorf("after the fault: got %v", err)
				}
				key := dataKey(warehousetest.TenantA, file.Export, file.Name)
				if noted := l.replicator.isDamaged(key); noted != fault.published {
					t.Errorf("the replicator replaces the object: %t, want %t", noted, fault.published)
				}
				_, err = l.Publish(t.Context())
				warehousetest.NoError(t, err)
				mustReplicate(t, l.replicator)
				l.read(t)
				for _, file := range l.calls {
					found, err := l.store.backend.GetObject(testBucket, l.key(file), nil)
					warehousetest.NoError(t, err)
					content, err := io.ReadAll(found.Contents)
					warehousetest.NoError(t, err)
					if !bytes.Equal(content, l.contents[file.Name]) {
						t.Errorf("the bucket has other bytes of %s", file.Name)
					}
				}
			})
		}
	}
}

// TestCache_ConcurrentReadersFetchOnce lets readers of an evicted file wait for the same answer of the bucket. A reader
// that leaves does not end the request of the others.
func TestCache_ConcurrentReadersFetchOnce(t *testing.T) {
	l := newCachedLake(t)
	l.evict(t)
	file := l.calls[0]
	arrived, answered, gets := make(chan struct{}), make(chan struct{}), atomic.Int64{}
	//nolint:bodyclose // the client of the store closes it
	l.store.set(onGet(func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if gets.Add(1) == 1 {
			close(arrived)
		}
		select {
		case <-answered:
		case <-r.Context().Done():
		}
		return send()
	}))
	impatient, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := l.open(impatient, file)
		first <- err
	}()
	<-arrived
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if content, err := l.open(t.Context(), file); err != nil || !bytes.Equal(content, l.contents[file.Name]) {
				t.Errorf("got %d bytes and error %v", len(content), err)
			}
		})
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v of a reader that has left", err)
	}
	close(answered)
	readers.Wait()
	if n := gets.Load(); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

// TestCache_EvictsToBound requires that the files that are in the bucket have at most the bound, that a file that is
// not there stays, and that pinned files stay.
func TestCache_EvictsToBound(t *testing.T) {
	l := newCachedLake(t)
	l.store.set(func(_ int, r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(r, http.StatusInternalServerError, "InternalError"), nil
	})
	l.fill(t, warehousetest.TenantA, 4)
	_, err := l.Publish(t.Context())
	warehousetest.NoError(t, err)
	l.read(t)
	unsaved := l.calls[3]

	local := func() (files int) {
		for _, file := range l.calls {
			if l.isLocal(file) {
				files++
			}
		}
		return files
	}
	l.store.set(nil)
	// The replica as it was before the publication.
	names := map[string]bool{}
	for name := range l.contents {
		names[name] = !strings.Contains(name, "-2026-04-")
	}
	t.Run("pinned", func(t *testing.T) {
		l.UseLakeCache(l.replicator, manyBytes)
		l.NoteReplicated(warehousetest.TenantA, names)
		files, release, err := l.VerifiedFiles(t.Context(), warehousetest.TenantA)
		warehousetest.NoError(t, err)
		if len(files) != len(l.contents) || local() != 4 {
			t.Errorf("got %d files, %d of them local", len(files), local())
		}
		stats, _ := l.LakeCacheStats()
		want := int64(0)
		for name := range l.contents {
			if names[name] {
				want += int64(len(l.contents[name]))
			}
		}
		if stats.InUse != want {
			t.Errorf("got %d bytes in use, want %d", stats.InUse, want)
		}
		release()
		release()
		if stats, _ := l.LakeCacheStats(); stats.InUse != 0 {
			t.Errorf("got %d bytes in use after the release", stats.InUse)
		}
	})
	t.Run("unsaved", func(t *testing.T) {
		bound := int64(len(l.contents[l.calls[0].Name]) + len(l.contents[unsaved.Name]) + 20_000)
		l.UseLakeCache(l.replicator, bound)
		l.run(t, func() { l.NoteReplicated(warehousetest.TenantA, names) }, func() bool {
			stats, _ := l.LakeCacheStats()
			return stats.Files > 0 && stats.Bytes <= bound
		})
		if !l.isLocal(unsaved) || local() < 2 {
			t.Errorf("got %d local files; the unsaved one is local: %t", local(), l.isLocal(unsaved))
		}
		l.UseLakeCache(l.replicator, 1)
		l.run(t, func() { l.NoteReplicated(warehousetest.TenantA, names) }, func() bool { return local() == 1 })
		if !l.isLocal(unsaved) {
			t.Error("a file that is not in the bucket was evicted")
		}
	})
	t.Run("too small", func(t *testing.T) {
		if _, _, err := l.VerifiedFiles(t.Context(), warehousetest.TenantA); !errors.Is(err, warehouse.ErrCacheTooSmall) {
			t.Errorf("VerifiedFiles: got error %v", err)
		}
		if _, err := l.open(t.Context(), l.calls[0]); !errors.Is(err, warehouse.ErrCacheTooSmall) {
			t.Errorf("OpenPublished: got error %v", err)
		}
	})
	t.Run("replicated", func(t *testing.T) {
		l.bound(t, 1, func() bool { return local() == 0 })
		if _, err := l.Verify(t.Context(), uuid.Nil); err != nil {
			t.Error(err)
		}
	})
}

// TestCache_StatesOfACrash leaves each state that a crash between the steps of an eviction or a fetch can leave. A new
// process, with or without a bucket, finds nothing missing, and readers get the right bytes.
func TestCache_StatesOfACrash(t *testing.T) {
	l := newCachedLake(t)
	l.evict(t)
	dir := l.Dir()
	lakePath := func(file warehouse.PublishedFile) string {
		return filepath.Join(dir, "lake", "tenant_id="+warehousetest.TenantA.String(), "calls", "month="+file.Month,
			"calls.parquet")
	}
	for i, state := range []struct{ lake, published bool }{{true, true}, {false, true}, {true, false}} {
		file := l.calls[i]
		warehousetest.NoError(t, os.WriteFile(lakePath(file), l.contents[file.Name], 0o600))
		if state.published {
			warehousetest.NoError(t, os.Link(lakePath(file), l.path(file)))
		}
		if !state.lake {
			warehousetest.NoError(t, os.Remove(lakePath(file)))
		}
	}
	l.close(t)
	found, err := warehouse.VerifyFolder(t.Context(), warehouse.Options{Dir: dir}, uuid.Nil)
	warehousetest.NoError(t, err)
	if !found.Sound() || len(found.Skipped) != 1 || !strings.Contains(found.Skipped[0].Part, "published files") {
		t.Errorf("verification without a server: got findings %+v, skipped %+v", found.Findings, found.Skipped)
	}
	t.Run("command", func(t *testing.T) { // without a bucket
		l.reopen(t, dir)
		w := l.Warehouse
		warehousetest.NoError(t, w.InspectTenant(t.Context(), warehousetest.TenantA))
		published, err := w.PublishTenant(t.Context(), warehousetest.TenantA)
		if err != nil || published.Files != 0 || len(w.Conditions()) != 0 {
			t.Errorf("got %+v published, error %v, conditions %+v", published, err, w.Conditions())
		}
		if _, err := l.open(t.Context(), l.calls[2]); !errors.Is(err, warehouse.ErrUnavailable) {
			t.Errorf("got error %v, want ErrUnavailable", err)
		}
	})
	t.Run("server", func(t *testing.T) {
		l.reopen(t, dir)
		w := l.Warehouse
		w.UseLakeCache(l.replicator, manyBytes)
		warehousetest.NoError(t, w.InspectTenant(t.Context(), warehousetest.TenantA))
		for _, file := range l.calls {
			content, err := l.open(t.Context(), file)
			if err != nil || !bytes.Equal(content, l.contents[file.Name]) {
				t.Errorf("%s: got %d bytes, error %v", file.Name, len(content), err)
			}
		}
		found, err := w.Verify(t.Context(), uuid.Nil)
		if err != nil || len(w.Conditions()) != 0 {
			t.Errorf("got error %v, conditions %+v", err, w.Conditions())
		}
		for _, finding := range found.Findings { // the name in the lake that was left alone
			if !strings.Contains(finding.File, "month="+l.calls[2].Month) && !strings.Contains(finding.File, l.calls[2].Name) {
				t.Errorf("got finding %+v", finding)
			}
		}
	})
	t.Run("without the option", func(t *testing.T) {
		l.evict(t)
		l.close(t)
		var log bytes.Buffer
		w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		warehousetest.NoError(t, err)
		l.Warehouse = w
		w.RunLakeCache(t.Context())
		if _, err := l.open(t.Context(), l.calls[0]); !errors.Is(err, warehouse.ErrUnavailable) || l.isLocal(l.calls[0]) {
			t.Errorf("evicted file: got error %v, want ErrUnavailable", err)
		}
		want := fmt.Sprintf("tenant=%s files=", warehousetest.TenantA)
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "published again") ||
			!strings.Contains(text, want) || len(w.Conditions()) != 0 {
			t.Errorf("got the log %q and conditions %+v, want one line of the tenant", text, w.Conditions())
		}
		_, err = w.Publish(t.Context())
		warehousetest.NoError(t, err)
		found, err := w.Verify(t.Context(), uuid.Nil)
		if err != nil || !found.Sound() || len(w.Conditions()) != 0 {
			t.Errorf("got error %v, findings %+v, conditions %+v", err, found.Findings, w.Conditions())
		}
		if n := warehousetest.QueryLake(t, dir, "SELECT count(*) FROM '{lake}/*/calls/*/*.parquet'"); n != "120" {
			t.Errorf("the lake has %s calls, want 120", n)
		}
		log.Reset()
		if w.RunLakeCache(t.Context()); log.Len() > 0 {
			t.Errorf("got the log %q after the publication, want nothing", log.String())
		}
	})
}

// TestCache_MissingFileWithoutRecord requires that a file that is missing without having been evicted is published
// again from the store, and not fetched.
func TestCache_MissingFileWithoutRecord(t *testing.T) {
	l := newCachedLake(t)
	warehousetest.NoError(t, os.Remove(l.path(l.calls[0])))
	if _, err := l.open(t.Context(), l.calls[0]); !errors.Is(err, warehouse.ErrUnavailable) {
		t.Errorf("got error %v, want ErrUnavailable", err)
	}
	published, err := l.PublishTenant(t.Context(), warehousetest.TenantA)
	if err != nil || published.Files == 0 {
		t.Errorf("got %+v, error %v", published, err)
	}
}

// TestCache_ReplacedAndErasedFiles replaces an evicted file. It can be read for readers that have begun, until an
// erasure. Then no copy is left, also of a fetch that was under way.
func TestCache_ReplacedAndErasedFiles(t *testing.T) {
	l := newCachedLake(t)
	l.evict(t)
	old := l.calls[0]
	l.fill(t, warehousetest.TenantA, 1)
	warehousetest.Merge(t, l.Warehouse, schema.Calls, warehousetest.Call(warehousetest.TenantA, 999,
		warehousetest.Row{"created_at": "2026-01-04T10:00:00Z", "from_number": "+15550100"}))
	warehousetest.Merge(t, l.Warehouse, schema.Customers,
		warehousetest.Row{"user_id": warehousetest.TenantA, "id": warehousetest.ID(7),
			"phone_number": "+15550100", "created_at": "2026-01-01T10:00:00Z"})
	_, err := l.Publish(t.Context())
	warehousetest.NoError(t, err)
	mustReplicate(t, l.replicator)
	files, err := l.TableFiles(t.Context(), warehousetest.TenantA, "calls")
	warehousetest.NoError(t, err)
	for _, file := range files {
		if file.Gone {
			t.Errorf("%s is gone", file.Name)
		}
	}
	if content, err := l.open(t.Context(), old); err != nil || !bytes.Equal(content, l.contents[old.Name]) {
		t.Fatalf("the replaced file: got %d bytes, error %v", len(content), err)
	}
	if l.isLocal(old) {
		t.Error("the replaced file has the name of a current one")
	}

	l.read(t)
	l.evict(t)
	erased := l.calls[0]
	arrived, answered := make(chan struct{}), make(chan struct{})
	//nolint:bodyclose // the client of the store closes it
	l.store.set(onGet(func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		response, err := send()
		if strings.HasSuffix(r.URL.Path, erased.Name) {
			close(arrived)
			select {
			case <-answered:
			case <-r.Context().Done():
			}
		}
		return response, err
	}))
	reader := make(chan error, 1)
	go func() {
		_, err := l.open(t.Context(), erased)
		reader <- err
	}()
	<-arrived
	_, err = l.Erase(t.Context(), warehousetest.TenantA, warehousetest.ID(7), warehouse.EraseOptions{})
	warehousetest.NoError(t, err)
	close(answered)
	if err := <-reader; !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("a reader of the erased file: got error %v, want ErrNotFound", err)
	}
	l.store.set(nil)
	mustReplicate(t, l.replicator)
	for _, dir := range l.PublishedDirs(warehousetest.TenantA) {
		entries, err := os.ReadDir(dir)
		warehousetest.NoError(t, err)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), erased.Name) || strings.HasPrefix(entry.Name(), old.Name) {
				t.Errorf("%s is left", entry.Name())
			}
		}
	}
	for key := range l.store.contents(t, strings.TrimSuffix(l.replicator.client.prefix, "/")) {
		if strings.HasSuffix(key, erased.Name) || strings.HasSuffix(key, old.Name) {
			t.Errorf("the bucket has %s", key)
		}
	}
}

// TestCache_RebuildsStoreFromBucket loses the store of a tenant whose files are evicted. A repair without the bucket
// changes nothing. A repair with it brings every row back.
func TestCache_RebuildsStoreFromBucket(t *testing.T) {
	l := newCachedLake(t)
	l.evict(t)
	dir := l.Dir()
	l.close(t)
	warehousetest.NoError(t, os.Remove(filepath.Join(dir, "warehouse", warehousetest.TenantA.String()+".duckdb")))
	repaired, err := warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
	warehousetest.NoError(t, err)
	if len(repaired.Remaining) == 0 || len(repaired.Repairs) == 0 ||
		!strings.Contains(repaired.Repairs[len(repaired.Repairs)-1].Failed, "--lake-cache") {
		t.Errorf("without the bucket: got %+v", repaired)
	}
	l.reopen(t, dir)
	l.UseLakeCache(l.replicator, manyBytes)
	repaired, err = l.Repair(t.Context(), warehouse.RepairOptions{})
	if err != nil || len(repaired.Remaining) != 0 {
		t.Errorf("got error %v, remaining %+v", err, repaired.Remaining)
	}
	if n := warehousetest.QueryLake(t, dir, "SELECT count(*) FROM '{lake}/*/calls/*/*.parquet'"); n != "120" {
		t.Errorf("got %s calls, want 120", n)
	}
}
