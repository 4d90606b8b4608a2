package warehouse_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A merge that exceeds the memory limit returns ErrNoMemory and stores nothing.
func TestErrors_MemoryFull(t *testing.T) {
	t.Parallel()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "12MB"})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	rows := make([]any, 300)
	for i := range rows {
		rows[i] = call(tenantA, i, row{"summary": strings.Repeat(noise(i), 1+200_000/len(noise(i)))})
	}
	_, _, err = w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x", Rows: lines(t, rows...)})
	wantKind(t, err, warehouse.ErrNoMemory)
}

// If the disk fills up, the merge returns ErrNoSpace. Committed rows are complete, and merging continues once there
// is space.
func TestErrors_DiskFull(t *testing.T) {
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	noError(t, os.Mkdir(disk, 0o755))
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs",
		disk).CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v %s", err, out)
	}
	t.Cleanup(func() {
		// Lazy, because a child process that another test is starting may share open files of the disk.
		//nolint:noctx // the test's context has ended
		if out, err := exec.Command("umount", "--lazy", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	dir := filepath.Join(disk, "data")
	w := open(t, dir)
	batch := func(from int) warehouse.Batch {
		rows := make([]any, 4000)
		for i := range rows {
			// Texts that do not compress.
			rows[i] = call(tenantA, from+i, row{"summary": strings.Repeat(fmt.Sprintf("%x", (from+i)*2654435761), 60),
				"transcript": noise(from + i)})
		}
		return warehouse.Batch{Dataset: schema.Calls, Origin: "x", Rows: lines(t, rows...)}
	}
	var err error
	merged := 0
	for range 40 {
		if _, _, err = w.Merge(t.Context(), batch(merged)); err != nil {
			break
		}
		merged += 4000
	}
	wantKind(t, err, warehouse.ErrNoSpace)
	if closing := w.Close(); closing != nil {
		t.Logf("closing: %v", closing) // it may have nowhere to write either
	}
	noError(t, exec.CommandContext(t.Context(), "mount", "-o", "remount,size=200m", disk).Run())
	w = open(t, dir)
	counts, _, err := w.Merge(t.Context(), batch(merged))
	noError(t, err)
	wantCounts(t, counts, schema.Counts{Read: 4000, New: 4000})
	noError(t, w.Close())
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls"), fmt.Sprint(merged+4000))
}
