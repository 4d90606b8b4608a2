package warehouse_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// inChild runs the test in a process of its own and reports whether this process is it. The limit of withoutSpace is
// one of the whole process, and would apply to the log that `go test` keeps of the files that a test opens.
func inChild(t *testing.T) bool {
	t.Helper()
	const isChild = "VOICORY_TEST_IS_CHILD"
	if os.Getenv(isChild) != "" {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), isChild+"=yes", "GORACE=atexit_sleep_ms=10")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// withoutSpace calls do while no file of the process can grow, so that every checkpoint fails.
func withoutSpace(t *testing.T, do func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var limit unix.Rlimit
	noError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	noError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: limit.Max}))
	defer func() { noError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }()
	do()
}

// eventually waits until do succeeds. It logs the last error otherwise.
func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	defer func() {
		if err != nil {
			t.Log(err)
		}
	}()
	waitUntil(t, "success", func() bool {
		err = do()
		return err == nil
	})
}

// A database whose checkpoint fails is attached again by itself, with every commit.
func TestReattach_AfterAFailedCheckpoint(t *testing.T) {
	t.Parallel()
	if !inChild(t) {
		return
	}
	dir := emptyFolder(t)
	noError(t, open(t, dir).Close())
	log := filepath.Join(dir, "control.duckdb.wal")
	unfit := warehousetest.UnfitLog(t, filepath.Join(dir, "control.duckdb"))
	w := open(t, dir)
	w.SetHealPause(10 * time.Millisecond)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil))
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
	noError(t, err)
	list := func(tenant uuid.UUID) error {
		page, err := w.List(t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 10})
		if err == nil && len(page.Items) != 1 {
			err = errors.New("the row is lost")
		}
		return err
	}
	for name, tenant := range map[string]uuid.UUID{"tenant": tenantA, "control": uuid.Nil} {
		t.Run(name, func(t *testing.T) {
			withoutSpace(t, func() {
				if err := w.Checkpoint(t.Context(), tenant); !errors.Is(err, warehouse.ErrInvalidated) {
					t.Errorf("got %v, want the error of an invalidated database", err)
				}
				noError(t, list(tenantB))
			})
			eventually(t, func() error { return list(tenantA) })
			eventually(t, func() error { return w.Ping(t.Context()) })
			eventually(t, func() error {
				if found := w.Conditions(); len(found) > 0 {
					return errors.New(found[0].Error)
				}
				return nil
			})
		})
	}
	t.Run("control with a log that cannot be replayed", func(t *testing.T) {
		key, _, err := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
		noError(t, err)
		noError(t, os.Rename(log, log+".own"))
		noError(t, os.WriteFile(log, []byte(unfit), 0o600))
		withoutSpace(t, func() {
			if err := w.Checkpoint(t.Context(), uuid.Nil); !errors.Is(err, warehouse.ErrInvalidated) {
				t.Errorf("got %v, want the error of an invalidated database", err)
			}
		})
		refused := func(c warehouse.Condition) bool { return !strings.Contains(c.Error, "a checkpoint of the database") }
		waitUntil(t, "a try to attach it again", func() bool { return slices.ContainsFunc(w.Conditions(), refused) })
		noError(t, list(tenantA)) // the other databases of the instance are not affected
		noError(t, list(tenantB))
		noError(t, os.Rename(log+".own", log))
		eventually(t, func() error { _, err := w.RevokeKey(t.Context(), key.ID); return err })
		waitUntil(t, "no condition", func() bool { return len(w.Conditions()) == 0 })
	})
	_, err = w.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	noError(t, w.Close())
	w = open(t, dir)
	noError(t, list(tenantA))
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
	noError(t, w.Close())
}

// A revocation that can be stored nowhere holds until the process ends, and the caller gets an error.
func TestRevokeKey_HoldsWithoutSpace(t *testing.T) {
	t.Parallel()
	if !inChild(t) {
		return
	}
	w := openNew(t)
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
	noError(t, err)
	withoutSpace(t, func() { _, _ = w.RevokeKey(t.Context(), key.ID) }) // stored if there is a reserve
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
}
