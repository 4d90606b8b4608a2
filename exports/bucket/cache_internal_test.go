package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	l := &cachedLake{Warehouse: warehousetest.OpenNew(t), store: newStore(t), contents: map[string][]byte{}}
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
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
}

var objectFaults = []objectFault{
	{"none", func(*testing.T, *cachedLake, warehouse.PublishedFile) {}, false},
	{"bucket down", func(_ *testing.T, l *cachedLake, _ warehouse.PublishedFile) {
		l.store.set(func(_ int, r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
			return answer(r, http.StatusInternalServerError, "InternalError"), nil
		})
	}, false},
	{"answer is cut", func(_ *testing.T, l *cachedLake, _ warehouse.PublishedFile) { l.store.set(onGet(faults["truncated answer"])) }, false},
	{"object damaged", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		content := bytes.Clone(l.contents[file.Name])
		content[len(content)/3] ^= 4
		l.put(t, file, content)
	}, true},
	{"object is shorter", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		l.put(t, file, l.contents[file.Name][:100])
	}, true},
	{"object is longer", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		l.put(t, file, append(bytes.Clone(l.contents[file.Name]), 0))
	}, true},
	{"object missing", func(t *testing.T, l *cachedLake, file warehouse.PublishedFile) {
		_, err := l.store.backend.DeleteObject(testBucket, l.key(file))
		warehousetest.NoError(t, err)
	}, true},
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
	_, err := l.store.backend.PutObject(testBucket, l.key(file), modified(), bytes.NewReader(content), int64(len(content)), nil)
	warehousetest.NoError(t, err)
}

// TestCache_RoadsOfEvictedFiles reads an evicted file on each road with each fault of the bucket. A road returns the right
// bytes or an ErrUnavailable. Roads that do not need the content work in any case. After the next publication and
// replication, every road works, and the bucket has the file.
func TestCache_RoadsOfEvictedFiles(t *testing.T) {
	l := newCachedLake(t)
	rows := func(t *testing.T) error {
		snapshot, err := l.Snapshot(t.Context(), warehousetest.TenantA)
		if err != nil {
			return err
		}
		defer snapshot.Close()
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
