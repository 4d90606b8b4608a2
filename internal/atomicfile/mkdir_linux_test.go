package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/voicory/warehouse/internal/atomicfile"
	"github.com/voicory/warehouse/internal/faultfs"
)

// A power cut takes no folder of a path, also if another process created some of them and ended before it synced them.
func TestMkdirAll_SyncsFoldersThatExist(t *testing.T) {
	t.Parallel()
	disk := faultfs.New(t, faultfs.Options{Recording: true})
	for _, existing := range []string{"", "a", "a/b", "a/b/c"} {
		root := "after " + filepath.Base(existing)
		if err := os.MkdirAll(filepath.Join(disk.Path(), root, existing), 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, "a", "b", "c")
		if err := atomicfile.MkdirAll(filepath.Join(disk.Path(), path), 0o700); err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(8) {
			cut := filepath.Join(t.TempDir(), "cut")
			disk.PowerCut(cut, seed)
			if _, err := os.Stat(filepath.Join(cut, path)); err != nil {
				t.Errorf("%q existed: %v", existing, err)
			}
		}
	}
}
