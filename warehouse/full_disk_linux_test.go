package warehouse_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// fillDisk writes a file that leaves no byte free on its file system.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	noError(t, err)
	defer file.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// TestFullDisk_RevocationsErasuresAndDeletions revokes a key, erases a customer and deletes a tenant while no byte is
// free. The revocation and the deletion hold. The erasure is recorded before it fails, so that the next try completes
// it, and no source brings the rows back.
func TestFullDisk_RevocationsErasuresAndDeletions(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("mount a file system: %v", err)
	}
	// A child process that another test is starting may share open files of the disk.
	defer func() { noError(t, unix.Unmount(disk, unix.MNT_DETACH)) }()
	w := open(t, filepath.Join(disk, "data"))
	person := row{"from_number": "+49301234567"}
	merge(t, w, schema.Calls, call(tenantA, 1, person), call(tenantA, 2, nil), call(tenantB, 1, nil))
	deleted, kept := tenantB, tenantA
	revoked, text, err := w.CreateKey(t.Context(), kept, control.Secret, control.KeySettings{})
	noError(t, err)
	_, ended, err := w.CreateKey(t.Context(), deleted, control.Secret, control.KeySettings{})
	noError(t, err)
	publish(t, w)

	balloon := filepath.Join(disk, "balloon")
	fillDisk(t, balloon)
	_, err = w.RevokeKey(t.Context(), revoked.ID)
	noError(t, err)
	fillDisk(t, balloon)
	_, err = w.Erase(t.Context(), kept, "+49301234567", warehouse.EraseOptions{})
	wantKind(t, err, warehouse.ErrNoSpace)
	wantText(t, err, "it is recorded")
	fillDisk(t, balloon)
	if err := w.DeleteTenant(t.Context(), deleted); err != nil {
		wantText(t, err, "its keys are refused and its files are removed")
	}
	if w.CheckDeleted(deleted) == nil {
		t.Error("got no deletion")
	}
	check := func(w *warehouse.Warehouse) {
		t.Helper()
		_, _, err := w.Authenticate(text)
		wantKind(t, err, warehouse.ErrRevokedKey)
		if _, _, err = w.Authenticate(ended); err == nil {
			t.Error("got no error for a key of the deleted tenant")
		}
	}
	check(w)
	found, err := w.Verify(t.Context(), uuid.Nil)
	noError(t, err)
	for _, f := range found.Findings {
		if f.Kind != warehouse.FoundUnfinished {
			t.Errorf("got finding %s: %s: %s", f.Kind, f.File, f.Detail)
		}
	}

	noError(t, os.Remove(balloon))
	eventually(t, func() error {
		noError(t, w.FinishErasures(t.Context()))
		if list := w.Conditions(); len(list) > 0 {
			return errors.New(list[0].Error)
		}
		found, err := w.Verify(t.Context(), uuid.Nil)
		if err == nil && len(found.Findings) > 0 {
			err = errors.New(found.Findings[0].Detail)
		}
		return err
	})
	merge(t, w, schema.Calls, call(kept, 1, person)) // comes from a source again
	wantCallCount(t, w, kept, 1)
	noError(t, w.Close())
	w = open(t, filepath.Join(disk, "data"))
	check(w)
	wantCallCount(t, w, kept, 1)
	noError(t, w.Close())
}
