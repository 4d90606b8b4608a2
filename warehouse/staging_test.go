package warehouse

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// hangingRows are rows whose reading ends with the context.
type hangingRows struct{}

func (hangingRows) open(ctx context.Context, _ *stagingSlot, _ uuid.UUID) (string, func(), error) {
	<-ctx.Done()
	return "", nil, ctx.Err()
}

func (hangingRows) err() error { return nil }

// A throttled batch that takes too long is refused, and leaves its slot to the next.
func TestStage_Timeout(t *testing.T) { // alone, because stagingTimeout applies to the batches of all tests
	w, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	defer func(before time.Duration) { stagingTimeout = before }(stagingTimeout)
	stagingTimeout = time.Millisecond
	batch := Batch{Dataset: schema.Calls, Tenant: uuid.New(), Origin: "push", Rows: hangingRows{}, Throttled: true}
	for range maxStaged + 1 {
		if _, err := w.Stage(t.Context(), batch); !errors.Is(err, ErrUnreadable) {
			t.Errorf("got %v, want %v", err, ErrUnreadable)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	stagingTimeout = time.Hour
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := w.Stage(ctx, batch); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreadable) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
