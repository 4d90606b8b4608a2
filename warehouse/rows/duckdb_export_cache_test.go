package rows_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

func keptFiles(t *testing.T, w *warehouse.Warehouse) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.TempDir(), "*.duckdb*"))
	NoError(t, err)
	return files
}

// Concurrent callers share one build, which is cancelled when all of them give up.
func TestOpenDatabase_SharedBuild(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	admitted, begin, left := make(chan struct{}), make(chan struct{}), 0
	ask := func(ctx context.Context) (warehouse.CachedDatabase, error) {
		file, content, err := w.OpenDatabase(ctx, TenantA, "", func() (func(), error) {
			close(admitted)
			<-begin
			return func() { left++ }, nil
		})
		if err == nil {
			err = content.Close()
		}
		return file, err
	}
	leaving, leave := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := ask(leaving); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-admitted
	leave() // before the file is begun
	close(begin)
	asking.Wait()
	if files := keptFiles(t, w); len(files) > 0 || left != 1 {
		t.Errorf("got files %v and %d releases, want none and 1", files, left)
	}
	refused := errors.New("too many")
	if _, _, err := w.OpenDatabase(t.Context(), TenantA, "",
		func() (func(), error) { return nil, refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	admitted, begin = make(chan struct{}), make(chan struct{})
	close(begin)
	files := make([]warehouse.CachedDatabase, 5)
	for i := range files {
		asking.Go(func() {
			var err error
			if files[i], err = ask(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	for _, file := range files {
		if file.SHA256 == "" || file.SHA256 != files[0].SHA256 || file.Rows["calls"] != 1 || left != 2 {
			t.Error(file, left)
		}
	}
}

// The two newest files stay in the cache. An open file can be read after it was removed from the cache.
func TestOpenDatabase_CacheKeepsTwoFiles(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	free := func() (func(), error) { return func() {}, nil }
	var sums []string
	var first *os.File
	for n := range 3 {
		Merge(t, w, schema.Calls, Call(TenantA, n, nil))
		file, content, err := w.OpenDatabase(t.Context(), TenantA, "", free)
		NoError(t, err)
		defer content.Close()
		if sums = append(sums, file.SHA256); n == 0 {
			first = content
		}
	}
	if got := len(keptFiles(t, w)); got != 2 || sums[0] == sums[1] || sums[1] == sums[2] {
		t.Error(got, sums)
	}
	for sum, want := range map[string]string{sums[0]: sums[2], sums[1]: sums[1], sums[2]: sums[2], "": sums[2]} {
		file, content, err := w.OpenDatabase(t.Context(), TenantA, sum,
			func() (func(), error) { return nil, errors.New("it is written anew") })
		NoError(t, err)
		NoError(t, content.Close())
		if file.SHA256 != want {
			t.Errorf("open %s: got %s, want %s", sum, file.SHA256, want)
		}
	}
	if _, err := first.ReadAt(make([]byte, 100), 0); err != nil {
		t.Error(err)
	}
}
