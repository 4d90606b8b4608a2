package control

import (
	"context"
	"errors"
	"testing"
	"time"
)

// The validity of a key follows the wall clock at each request, whichever way it is corrected.
func TestKeyExpiry_FollowsTheWallClock(t *testing.T) {
	expires := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, hours := range map[string][]int{ // clock of each request, relative to the expiry
		"expires":                  {-1, 0},
		"expired at the start":     {0, 1},
		"ahead at the start":       {40 * 24, -1},
		"ahead for a while":        {-2, 40 * 24, -1, 1},
		"behind at the start":      {-1000, 1},
		"moves to and fro":         {1, -1, 1, -1, 1},
		"never within the expiry":  {-3, -2, -1},
		"behind for a while later": {2, -1000, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var now time.Time
			alive, revoke := context.WithCancelCause(t.Context())
			at := func(hours int) { now = expires.Add(time.Duration(hours) * time.Hour) }
			at(hours[0])
			expiry := newKeyExpiry(alive, expires, func() time.Time { return now })
			defer expiry.timer.Stop()
			for _, h := range hours {
				before := expiry.valid
				at(h)
				got := context.Cause(expiry.context())
				if expired := h >= 0; errors.Is(got, ErrExpiredKey) != expired || !expired && got != nil {
					t.Errorf("%d h after the expiry: got %v", h, got)
				}
				if h >= 0 && before.Err() == nil {
					t.Errorf("%d h after the expiry: the context of an earlier request is not done", h)
				}
			}
			revoke(ErrRevokedKey)
			at(-1)
			if got := context.Cause(expiry.context()); got == nil {
				t.Error("got a valid key after its revocation")
			}
		})
	}
}

// Each use of a stored key compares the clock, also before its timer fires.
func TestStoredKey_ComparesTheClockAtEachUse(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	var k storedKey
	k.ExpiresAt = &expires
	k.activate()
	defer k.expiry.timer.Stop()
	var ahead time.Duration
	k.expiry.now = func() time.Time { return time.Now().Add(ahead) }
	for _, clock := range []struct {
		ahead   time.Duration
		expired bool
	}{{0, false}, {2 * time.Hour, true}, {0, false}, {40 * 24 * time.Hour, true}} {
		ahead = clock.ahead
		if got := context.Cause(k.valid()); errors.Is(got, ErrExpiredKey) != clock.expired {
			t.Errorf("%s ahead: got %v, want an expired key: %t", ahead, got, clock.expired)
		}
	}
}

// Only a clock that the log or a long run confirms deletes entries.
func TestLogClock_NeedsConfirmation(t *testing.T) {
	started := time.Now()
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		sinceNewest time.Duration // from the newest entry to the start; 0: no entries
		ran         time.Duration // of the monotonic clock
		moved       time.Duration // of the wall clock, beyond ran
		confirmed   bool
	}{
		"no entries":                  {0, 0, 0, true},
		"restart within a day":        {time.Hour, 0, 0, true},
		"40 days ahead at the start":  {40 * day, 0, 0, false},
		"an hour later":               {40 * day, time.Hour, 0, false},
		"after a pause of 40 days":    {40 * day, 25 * time.Hour, 0, true},
		"moved ahead while it runs":   {time.Hour, 2 * day, 40 * day, false},
		"corrected by a second":       {40 * day, 2 * day, time.Second, true},
		"behind the newest entry":     {-40 * day, 0, 0, true},
		"runs for a year, no restart": {time.Hour, 365 * day, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := logClock{started: started}
			if test.sinceNewest != 0 {
				clock.newest = started.Round(0).Add(-test.sinceNewest)
			}
			now := started.Add(test.ran + test.moved)
			want := now
			if !test.confirmed {
				want = clock.newest
			}
			if got := clock.at(now, test.ran); !got.Equal(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
