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

// A receiver records the files that it received and the last state.
type receiver struct {
	taken []string
	state json.RawMessage
	err   error
}

// pull repeats pulls until the wanted files have been received, because young files are left out at first.
func (r *receiver) pull(t *testing.T, s *folder.Source, want ...string) {
	t.Helper()
	r.taken = nil
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-ticker.C {
		err := s.Pull(t.Context(), r.state, func(_ context.Context, p ingest.Portion) error {
			if r.err != nil {
				return r.err
			}
			r.taken, r.state = append(r.taken, filepath.Base(p.File.Name)), p.State
			return nil
		})
		if err != nil && !errors.Is(err, r.err) {
			t.Fatal(err)
		}
		if r.err == nil && len(r.taken) >= len(want) || err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v after a minute, want %v", r.taken, want)
		}
	}
	if got := strings.Join(r.taken, " "); got != strings.Join(want, " ") {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPull_NewAndChangedFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	last := time.Time{}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		for before := last; !last.After(before); { // the file system's clock has a resolution of some milliseconds
			noError(t, os.WriteFile(path, []byte(text), 0o600))
			info, err := os.Stat(path)
			noError(t, err)
			last = info.ModTime()
		}
	}
	s, err := folder.New(folder.Options{Path: dir})
	noError(t, err)
	var r receiver
	r.pull(t, s)
	write("calls-2.ndjson", "")
	write("calls-1.ndjson", "")
	write(".calls-3.ndjson", "") // hidden, as if it were still being written
	write("below/calls-4.ndjson", "")
	r.err = errors.New("full")
	r.pull(t, s)
	r.err = nil
	r.pull(t, s, "calls-2.ndjson", "calls-1.ndjson", "calls-4.ndjson")
	r.pull(t, s)
	old := time.Now().Add(-time.Hour)
	noError(t, os.Rename(filepath.Join(dir, ".calls-3.ndjson"), filepath.Join(dir, "calls-3.ndjson")))
	noError(t, os.Chtimes(filepath.Join(dir, "calls-3.ndjson"), old, old)) // like a copy that preserves times
	r.pull(t, s, "calls-3.ndjson")
	write("calls-1.ndjson", "{}\n")
	r.pull(t, s, "calls-1.ndjson")
	noError(t, os.RemoveAll(filepath.Join(dir, "below")))
	r.pull(t, s)
	if len(r.state) > 500 {
		t.Errorf("got a state of %d bytes, want at most 500: %s", len(r.state), r.state)
	}
	if err := s.Pull(t.Context(), json.RawMessage("[]"), nil); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("invalid state: got %v, want ErrInvalid", err)
	}
	noError(t, os.RemoveAll(dir))
	err = s.Pull(t.Context(), nil, nil)
	if !errors.Is(err, warehouse.ErrNotFound) || !strings.Contains(err.Error(), dir) {
		t.Errorf("missing folder: got %v, want ErrNotFound with its path", err)
	}
}

func TestNew_InvalidOptions(t *testing.T) {
	for name, o := range map[string]folder.Options{
		"no path":         {},
		"unknown dataset": {Path: "x", Dataset: "calsl"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := folder.New(o); !errors.Is(err, warehouse.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}
