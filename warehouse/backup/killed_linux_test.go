package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/voicory/warehouse/internal/faultfs"
)

// A backup that finds its contents among the objects of a killed one is as durable as another: the killed backup has
// not synced their folders.
func TestBackup_DurableWithObjectsOfAKilledOne(t *testing.T) {
	t.Parallel()
	disk := faultfs.New(t, faultfs.Options{Recording: true})
	dest := filepath.Join(disk.Path(), "backups")
	w, err := Create(dest)
	noError(t, err)
	for path, text := range someFiles {
		file := filepath.Join(t.TempDir(), "content")
		noError(t, os.WriteFile(file, []byte(text), 0o600))
		in, err := os.Open(file)
		noError(t, err)
		_, err = w.Add(t.Context(), Content{Path: path, File: in, Size: int64(len(text))})
		noError(t, err)
		noError(t, in.Close())
	}
	noError(t, w.Close()) // as the end of a process does
	write(t, dest, someFiles, 0)
	for seed := range uint64(10) {
		cut := filepath.Join(t.TempDir(), "cut")
		disk.PowerCut(cut, seed)
		files, entries, err := read(t, filepath.Join(cut, "backups"))
		if err != nil || fmt.Sprint(files) != fmt.Sprint(someFiles) || entries != 1 {
			t.Errorf("seed %d: got %d files, %d entries and error %v, want the whole backup", seed, len(files), entries, err)
		}
	}
}
