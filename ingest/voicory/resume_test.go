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
)

// mixed has a bit of everything: pages, a knot, and calls before the window.
func mixed(n int) *upstream {
	u := newUpstream()
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

// Whatever request it is that ends a pull, the next goes on from there.
func TestResumeAtEveryPage(t *testing.T) {
	whole := 0
	synctest.Test(t, func(t *testing.T) {
		u, k := mixed(330), newKeeper(t)
		k.pull(k.source(u, nil))
		k.holdsAll(u)
		whole = len(u.asked)
	})
	if whole < 15 {
		t.Fatalf("only %d requests", whole)
	}
	for broken := 1; broken <= whole; broken++ {
		synctest.Test(t, func(t *testing.T) {
			u, k := mixed(330), newKeeper(t)
			u.before = func(n int, _ *http.Request) http.HandlerFunc {
				if n == broken {
					return func(w http.ResponseWriter, _ *http.Request) { fail(w, 403, "FORBIDDEN", "Not now") }
				}
				return nil
			}
			if err := k.source(u, nil).Pull(t.Context(), nil, k.take); !errors.Is(err, warehouse.ErrInvalid) {
				t.Fatalf("request %d failed, and the pull with %v", broken, err)
			}
			if len(u.asked) != broken {
				t.Errorf("%d requests after the one that failed", len(u.asked)-broken)
			}
			rows := k.rows
			k.pull(k.source(u, nil))
			k.holdsAll(u)
			// The failed request once more, and a look for what came meanwhile.
			if again := len(u.asked) - whole; again > 4 {
				t.Errorf("after request %d (%d rows) %d requests were repeated", broken, rows, again)
			}
		})
	}
}

// Whatever portion cannot be taken, it is given again.
func TestResumeAtEveryPortion(t *testing.T) {
	full := errors.New("disk is full")
	for refused := 1; ; refused++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			u, k := mixed(120), newKeeper(t)
			k.fail = func(portion int) error {
				if portion == refused {
					return full
				}
				return nil
			}
			details := func(o *Options) { o.Details = true }
			s := k.source(u, details)
			if err := s.Pull(t.Context(), nil, k.take); err == nil {
				done = true
				return
			} else if !errors.Is(err, full) {
				t.Fatal(err)
			}
			if refused%2 == 0 { // the same process goes on, or another one
				s = k.source(u, details)
			}
			interrupted := string(k.state)
			k.pull(s)
			k.holdsAll(u)
			k.holdsDetails(u)
			if t.Failed() {
				t.Logf("after portion %d, with state %s", refused, interrupted)
			}
		})
		if done && refused > 15 {
			return
		}
		if done || t.Failed() {
			t.Fatalf("only %d portions", refused)
		}
	}
}

// Pages that wait grow to one portion, with the last state that any of them has.
func TestPortionsGrow(t *testing.T) {
	q := newQueue()
	for i, state := range []json.RawMessage{json.RawMessage("1"), json.RawMessage("2"), nil} {
		if err := q.add(t.Context(), warehouse.Calls, false, []row{{raw: strconv.Itoa(i)}}, state, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.add(t.Context(), warehouse.Messages, false, []row{{raw: "3"}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	q.close()
	var got []string
	err := q.drain(t.Context(), func(b *batch) error {
		p := b.portion(tenant)
		rows, err := io.ReadAll(p.Rows)
		got = append(got, p.Dataset.Name+" "+strings.ReplaceAll(string(rows), "\n", " ")+string(p.State))
		return err
	})
	if want := []string{"calls 0 1 2 2", "messages 3 "}; err != nil || !slices.Equal(got, want) {
		t.Errorf("portions are %q, %v", got, err)
	}
}

func TestForeignStateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		err := k.source(newUpstream(), nil).Pull(t.Context(), json.RawMessage(`{"lists":7}`), k.take)
		if !errors.Is(err, warehouse.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func TestCancelReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(5000)
		s := k.source(u, nil)
		for _, after := range []time.Duration{0, time.Second, 20 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			began := time.Now()
			err := s.Pull(ctx, k.state, k.take)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != after {
				t.Errorf("cancelled after %s, ended after %s: %v", after, time.Since(began), err)
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(t.Context())
		k.fail = func(int) error { cancel(); return ctx.Err() }
		if err := s.Pull(ctx, k.state, k.take); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
