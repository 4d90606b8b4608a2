package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

func TestUnsent_BoundsAnswersOfATenantAndOfAll(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small answers": 1, "large answers": 1 << 20,
		"one answer each": maxUnsentTenantBytes} {
		t.Run(name, func(t *testing.T) {
			u := unsent{tenants: map[uuid.UUID]int64{}}
			var all []func()
			fill := func(tenant uuid.UUID) (answers int) {
				for {
					sent := u.reserve(tenant, size)
					if sent == nil {
						return answers
					}
					answers++
					all = append(all, sent)
				}
			}
			want := maxUnsentTenantBytes / max(size, minUnsent)
			for n := range maxUnsentBytes / maxUnsentTenantBytes {
				if got := fill(uuid.New()); got != want {
					t.Errorf("tenant %d: got %d answers, want %d", n, got, want)
				}
			}
			last := uuid.New()
			if got := fill(last); got != 0 {
				t.Errorf("a tenant beyond the total: got %d answers, want 0", got)
			}
			for _, sent := range all {
				sent()
			}
			if u.total != 0 || len(u.tenants) != 0 {
				t.Errorf("after all were sent: got %d bytes of %d tenants, want 0", u.total, len(u.tenants))
			}
			if got := fill(last); got != want {
				t.Errorf("afterwards: got %d answers, want %d", got, want)
			}
		})
	}
}

func TestUnsent_AnswerBeyondTheBoundKeepsItsSlot(t *testing.T) {
	t.Parallel()
	u := unsent{tenants: map[uuid.UUID]int64{}}
	tenant := uuid.New()
	for _, test := range []struct {
		size     int
		released int
	}{{maxUnsentTenantBytes, 1}, {1, 0}, {maxUnsentTenantBytes + 1, 0}} {
		released := 0
		h := &held{release: func() { released++ }, unsent: &u, tenant: tenant}
		h.produced(test.size)
		if released != test.released {
			t.Errorf("an answer of %d bytes: got %d returned slots, want %d", test.size, released, test.released)
		}
	}
}

// pacedConn is a connection on which the client moves part bytes at once, and then pauses. It is both the response
// writer and the body of a request.
type pacedConn struct {
	http.ResponseWriter
	part     int // bytes at once
	pause    time.Duration
	deadline time.Time
	credit   int // bytes until the next pause
	left     int // bytes that are still to be read
}

func (c *pacedConn) SetReadDeadline(at time.Time) error  { c.deadline = at; return nil }
func (c *pacedConn) SetWriteDeadline(at time.Time) error { c.deadline = at; return nil }
func (c *pacedConn) WriteHeader(int)                     {}
func (c *pacedConn) Close() error                        { return nil }

// move waits for the client and returns how many of the bytes it moves, or an error if the deadline passes before.
func (c *pacedConn) move(bytes int) (int, error) {
	if c.credit == 0 {
		if wait := time.Until(c.deadline); !c.deadline.IsZero() && wait < c.pause {
			time.Sleep(wait)
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(c.pause)
		c.credit = c.part
	}
	bytes = min(bytes, c.credit)
	c.credit -= bytes
	return bytes, nil
}

func (c *pacedConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var moved int
		moved, err = c.move(len(p) - n)
		n += moved
	}
	return n, err
}

func (c *pacedConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.move(min(len(p), c.left))
	c.left -= n
	return n, err
}

func TestPace_OfAnswersAndBodies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		perSecond int
		pause     time.Duration // between two parts
		answer    bool          // an answer is kept; false: its client is cut off
		body      bool          // a body is kept
	}{
		"fast":                 {perSecond: 1 << 20, pause: time.Second, answer: true, body: true},
		"a little above":       {perSecond: 18 << 10, pause: time.Second, answer: true, body: true},
		"below that of answer": {perSecond: 16 << 10, pause: time.Second, answer: false, body: true},
		"above that of bodies": {perSecond: 7 << 10, pause: time.Second, answer: false, body: true},
		"below":                {perSecond: 6 << 10, pause: time.Second, answer: false, body: false},
		"one byte a second":    {perSecond: 1, pause: time.Second, answer: false, body: false},
		"in bursts":            {perSecond: 64 << 10, pause: 20 * time.Second, answer: true, body: true},
	} {
		t.Run(name, func(t *testing.T) {
			const bytes = 16 << 20
			part := test.perSecond * int(test.pause/time.Second)
			synctest.Test(t, func(t *testing.T) {
				conn := &pacedConn{part: part, pause: test.pause}
				rec := &web.ResponseRecorder{ResponseWriter: conn, Status: http.StatusOK}
				start := time.Now()
				_, err := io.Copy(web.NewPacedWriter(context.Background(), rec), io.LimitReader(zeros{}, bytes))
				if kept := err == nil; kept != test.answer || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("answer: got %v, want it kept: %v", err, test.answer)
				}
				if took := time.Since(start); err != nil && took > web.WriteGrace+test.pause {
					t.Errorf("answer: got its client cut off after %v, want at most %v", took, web.WriteGrace)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				conn := &pacedConn{part: part, pause: test.pause, left: bytes}
				state := &requestState{ResponseRecorder: &web.ResponseRecorder{ResponseWriter: conn}}
				r, err := http.NewRequestWithContext(context.WithValue(t.Context(), stateKey{}, state), http.MethodPost, "/", conn)
				if err != nil {
					t.Fatal(err)
				}
				body, _, done := (&api{Options: Options{MaxBody: bytes}}).pushBody(state, r)
				defer done()
				start := time.Now()
				_, err = io.Copy(io.Discard, body)
				p := (*web.Problem)(nil)
				if kept := err == nil; kept != test.body || err != nil &&
					(!errors.As(err, &p) || p.Status != http.StatusRequestTimeout) {
					t.Errorf("body: got %v, want it kept: %v", err, test.body)
				}
				if took := time.Since(start); err != nil && took > stallTimeout {
					t.Errorf("body: got its client cut off after %v, want at most %v", took, stallTimeout)
				}
			})
		})
	}
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
