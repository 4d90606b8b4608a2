package warehouse

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Authentication needs keyring.mu on every request, so no change of keys may hold it while it waits for the control
// database, whose one connection may be busy for long.
func TestKeyring_UnlockedDuringControlWrites(t *testing.T) {
	w, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	key, _, err := w.CreateKey(t.Context(), uuid.New(), Secret, KeySettings{})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(context.Context) error{
		"update": func(ctx context.Context) error { _, err := w.UpdateKey(ctx, key.ID, KeySettings{}); return err },
		"revoke": func(ctx context.Context) error { _, err := w.RevokeKey(ctx, key.ID); return err },
		"import": func(ctx context.Context) error { return w.ImportKeys(ctx, KeySource{Name: "upstream"}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			busy, err := w.control.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			waiting, done := w.control.Stats().WaitCount, make(chan error)
			go func() { done <- change(t.Context()) }()
			for w.control.Stats().WaitCount == waiting {
				time.Sleep(time.Millisecond)
			}
			if w.keys.mu.TryLock() {
				w.keys.mu.Unlock()
			} else {
				t.Error("keyring.mu is held while the control database is busy")
			}
			if err := errors.Join(busy.Close(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
}
