package voicory

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// newMixedAPI returns an API with n rows per dataset, a tie of 450 customers, and 20 calls older than the window.
func newMixedAPI(n int) *fakeAPI {
	u := newFakeAPI()
	u.fill(n)
	at := time.Now().Add(-time.Hour)
	for range 450 {
		u.add("customers", at)
	}
	for range 20 {
		u.add("calls", time.Now().Add(-DefaultWindow-time.Hour))
	}
	return u
}

// A pull resumes after the last successful request, whichever request failed.
func TestPull_ResumesAfterEveryRequest(t *testing.T) {
	whole := 0
	synctest.Test(t, func(t *testing.T) {
		u, k := newMixedAPI(330), newFakeWarehouse(t)
		k.pull(k.newSource(u, nil))
		k.checkAllRows(u)
		whole = len(u.requests)
	})
	if whole < 15 {
		t.Fatalf("got %d requests, want at least 15", whole)
	}
	for broken := 1; broken <= whole; broken++ {
		synctest.Test(t, func(t *testing.T) {
			u, k := newMixedAPI(330), newFakeWarehouse(t)
			u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
				if n == broken {
					return func(w http.ResponseWriter, _ *http.Request) { writeError(w, 403, "FORBIDDEN", "Not now") }
				}
				return nil
			}
			if err := k.newSource(u, nil).Pull(t.Context(), nil, k.take); !errors.Is(err, warehouse.ErrInvalid) {
				t.Fatalf("request %d failed: got %v, want ErrInvalid", broken, err)
			}
			if len(u.requests) != broken {
				t.Errorf("got %d requests after the one that failed, want 0", len(u.requests)-broken)
			}
			rows := k.rows
			k.pull(k.newSource(u, nil))
			k.checkAllRows(u)
			// The failed request is repeated, and a short pass looks for new rows.
			if again := len(u.requests) - whole; again > 4 {
				t.Errorf("request %d failed (%d rows): got %d more requests, want at most 4", broken, rows, again)
			}
		})
	}
}

// A portion that could not be stored is delivered again.
func TestPull_ResumesAfterEveryPortion(t *testing.T) {
	full := errors.New("disk is full")
	for refused := 1; ; refused++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			u, k := newMixedAPI(120), newFakeWarehouse(t)
			k.failPortion = func(portion int) error {
				if portion == refused {
					return full
				}
				return nil
			}
			details := func(o *Options) { o.Details = true }
			s := k.newSource(u, details)
			if err := s.Pull(t.Context(), nil, k.take); err == nil {
				done = true
				return
			} else if !errors.Is(err, full) {
				t.Fatal(err)
			}
			if refused%2 == 0 { // otherwise the same process continues
				s = k.newSource(u, details)
			}
			interrupted := string(k.state)
			k.pull(s)
			k.checkAllRows(u)
			k.checkDetails(u)
			if t.Failed() {
				t.Logf("portion %d failed, with state %s", refused, interrupted)
			}
		})
		if done && refused > 15 {
			return
		}
		if done || t.Failed() {
			t.Fatalf("got %d portions, want more than 15", refused)
		}
	}
}

// Waiting pages of one dataset become one portion with the last state.
func TestBatchQueue_MergesPages(t *testing.T) {
	q := newBatchQueue()
	for i, state := range []json.RawMessage{json.RawMessage("1"), json.RawMessage("2"), nil} {
		if err := q.add(t.Context(), schema.Calls, false, []row{{raw: strconv.Itoa(i)}}, state, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.add(t.Context(), schema.Messages, false, []row{{raw: "3"}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	q.close()
	var got []string
	err := q.forEach(t.Context(), func(b *batch) error {
		p := b.portion(tenant)
		rows, err := io.ReadAll(p.Rows)
		got = append(got, p.Dataset.Name+" "+strings.ReplaceAll(string(rows), "\n", " ")+string(p.State))
		return err
	})
	if want := []string{"calls 0 1 2 2", "messages 3 "}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got portions %q and error %v, want %q", got, err, want)
	}
}

func TestPull_InvalidState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeWarehouse(t)
		err := k.newSource(newFakeAPI(), nil).Pull(t.Context(), json.RawMessage(`{"lists":7}`), k.take)
		if !errors.Is(err, warehouse.ErrInvalid) {
			t.Fatalf("got %v, want ErrInvalid", err)
		}
	})
}

func TestPull_Cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(5000)
		s := k.newSource(u, nil)
		for _, after := range []time.Duration{0, time.Second, 20 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			began := time.Now()
			err := s.Pull(ctx, k.state, k.take)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != after {
				t.Errorf("cancelled after %s: got %v after %s", after, err, time.Since(began))
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(t.Context())
		k.failPortion = func(int) error { cancel(); return ctx.Err() }
		if err := s.Pull(ctx, k.state, k.take); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

// A new key of the same account continues; the key of another account reads all of that account's rows.
func TestPull_KeyOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const newKey = "sk_another0123456789abcdefghijklmno"
		with := func(o *Options) { o.APIKey = newKey }
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(10)
		for i := range 2000 {
			u.add("calls", time.Now().Add(-DefaultWindow-time.Duration(i)*time.Minute))
		}
		k.pull(k.newSource(u, nil))
		whole := len(u.requests)
		u.key = newKey
		k.pull(k.newSource(u, with))
		if again := len(u.requests) - whole; again > 5 {
			t.Errorf("new key of the account: got %d requests after %d, want a sample and the window", again, whole)
		}
		other := newFakeAPI()
		other.key = "pk_other0123456789abcdefghijklmnopq"
		at := time.Now().Add(-DefaultWindow - 1000*time.Hour)
		for range 250 {
			other.add("calls", at)
			other.add("messages", at)
		}
		k.pull(k.newSource(other, func(o *Options) { o.APIKey = other.key }))
		k.checkAllRows(other)
		k.pull(k.newSource(u, with)) // and back
		k.checkAllRows(u)
	})
}
