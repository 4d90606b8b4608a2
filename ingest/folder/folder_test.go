package folder_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/folder"
	"github.com/voicory/warehouse/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// taker remembers what it took, and the state of that.
type taker struct {
	taken []string
	state json.RawMessage
	fail  error
}

// pull has the source give until want was taken: fresh files are left alone for a while.
func (k *taker) pull(t *testing.T, s *folder.Source, want ...string) {
	t.Helper()
	k.taken = nil
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-look.C {
		err := s.Pull(t.Context(), k.state, func(_ context.Context, p ingest.Portion) error {
			if k.fail != nil {
				return k.fail
			}
			k.taken, k.state = append(k.taken, filepath.Base(p.File.Name)), p.State
			return nil
		})
		if err != nil && !errors.Is(err, k.fail) {
			t.Fatal(err)
		}
		if k.fail == nil && len(k.taken) >= len(want) || err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("took %v, not %v", k.taken, want)
		}
	}
	if got := strings.Join(k.taken, " "); got != strings.Join(want, " ") {
		t.Errorf("took %s, not %s", got, want)
	}
}

func TestNewAndChangedFilesInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	last := time.Time{}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		for before := last; !last.After(before); { // the file system's clock ticks some hundred times a second only
			noError(t, os.WriteFile(path, []byte(text), 0o600))
			info, err := os.Stat(path)
			noError(t, err)
			last = info.ModTime()
		}
	}
	s, err := folder.New(folder.Options{Path: dir})
	noError(t, err)
	var k taker
	k.pull(t, s)
	write("calls-2.ndjson", "")
	write("calls-1.ndjson", "")
	write(".calls-3.ndjson", "") // still being written
	write("below/calls-4.ndjson", "")
	k.fail = errors.New("full")
	k.pull(t, s)
	k.fail = nil
	k.pull(t, s, "calls-2.ndjson", "calls-1.ndjson", "calls-4.ndjson")
	k.pull(t, s)
	old := time.Now().Add(-time.Hour)
	noError(t, os.Rename(filepath.Join(dir, ".calls-3.ndjson"), filepath.Join(dir, "calls-3.ndjson")))
	noError(t, os.Chtimes(filepath.Join(dir, "calls-3.ndjson"), old, old)) // as a copy that keeps its times has it
	k.pull(t, s, "calls-3.ndjson")
	write("calls-1.ndjson", "{}\n")
	k.pull(t, s, "calls-1.ndjson")
	noError(t, os.RemoveAll(filepath.Join(dir, "below")))
	k.pull(t, s)
	if len(k.state) > 500 {
		t.Errorf("the state is %s", k.state)
	}
	if err := s.Pull(t.Context(), json.RawMessage("[]"), nil); !errors.Is(err, warehouse.ErrInvalid) {
		t.Error(err)
	}
	noError(t, os.RemoveAll(dir))
	if err := s.Pull(t.Context(), nil, nil); !errors.Is(err, warehouse.ErrNotFound) || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
}

func TestWrongOptions(t *testing.T) {
	for _, o := range []folder.Options{{}, {Path: "x", Dataset: "calsl"}} {
		if _, err := folder.New(o); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
