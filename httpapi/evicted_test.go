package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// A fakeBucket has the published files of a tenant. down lets each request fail.
type fakeBucket struct {
	contents map[string][]byte // by name
	down     atomic.Bool
}

func (b *fakeBucket) FetchPublished(_ context.Context, _ uuid.UUID, file warehouse.PublishedFile, out io.Writer) error {
	content, exists := b.contents[file.Name]
	switch {
	case b.down.Load():
		return errors.New("the bucket is down")
	case !exists:
		return fs.ErrNotExist
	}
	_, err := out.Write(content)
	return err
}

func (b *fakeBucket) PublishedObjects(context.Context, uuid.UUID) (map[string]int64, error) {
	return map[string]int64{}, nil
}

func (b *fakeBucket) NoteDamaged(uuid.UUID, string, string) {}

// evict evicts the tenant's files of calls, and waits until the file is not on the disk. Then nothing is evicted any
// more.
func (l *lake) evict(t *testing.T, bucket *fakeBucket, path string) {
	t.Helper()
	names := map[string]bool{}
	for name := range bucket.contents {
		names[name] = true
	}
	l.warehouse.UseLakeCache(bucket, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	var running sync.WaitGroup
	running.Go(func() { l.warehouse.RunLakeCache(ctx) })
	l.warehouse.NoteReplicated(mine, names)
	for evicted := false; !evicted && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		_, err := os.Stat(path)
		evicted = errors.Is(err, fs.ErrNotExist)
	}
	if ctx.Err() != nil {
		t.Fatal("the file was not evicted")
	}
	cancel()
	running.Wait()
	l.warehouse.UseLakeCache(bucket, 1<<30)
}

// TestFiles_EvictedMatrix requests a file that is in the bucket of the lake only on each road: while the bucket works,
// each answer has the right bytes. While it does not, the roads that need the file answer 503 with Retry-After.
func TestFiles_EvictedMatrix(t *testing.T) {
	l := startLake(t, withSQL(t))
	dir := l.warehouse.PublishedDirs(mine)[0]
	bucket := &fakeBucket{contents: map[string][]byte{}}
	entries, err := os.ReadDir(dir)
	noError(t, err)
	for _, entry := range entries {
		bucket.contents[entry.Name()], err = os.ReadFile(filepath.Join(dir, entry.Name()))
		noError(t, err)
	}
	file := l.files(t, l.secret, "calls", "?signed=true")[1]
	needless := map[string]bool{"Iceberg table": true, "Parquet export": true, "Arrow export": true, "DuckDB file": true,
		"rest of the DuckDB file": true, "list": true}
	for _, road := range l.roads(t) {
		for _, down := range []bool{true, false} {
			bucket.down.Store(false)
			l.evict(t, bucket, filepath.Join(dir, file.Name))
			bucket.down.Store(down)
			status, fault := road.ask(file, bucket.contents[file.Name])
			switch {
			case down && !needless[road.name]:
				if status != http.StatusServiceUnavailable {
					t.Errorf("%s, bucket down: got status %d", road.name, status)
				}
			case fault != "":
				t.Errorf("%s, bucket down %t: got %s", road.name, down, fault)
			}
		}
	}
	bucket.down.Store(true)
	l.evict(t, bucket, filepath.Join(dir, file.Name))
	for range 2 { // the second one is refused without a request
		got := l.ask(t, "GET", "/api/v1/exports/calls/files/"+file.Name, l.secret)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if conditions := l.warehouse.Conditions(); len(conditions) != 0 {
		t.Errorf("got conditions %v", fmt.Sprint(conditions))
	}
}
