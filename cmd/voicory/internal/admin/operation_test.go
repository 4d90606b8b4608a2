package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Operations of these tests. They are registered like every other operation.
var (
	waiting = longOperation("test/wait", func(ctx context.Context, _ *Local, n int, report func(Progress)) (int, error) {
		for i := range n {
			report(Progress{Text: fmt.Sprint("step ", i), Done: int64(i), Total: int64(n)})
		}
		if n == 0 { // wait for the end of the client
			report(Progress{Text: "waiting"})
			<-ctx.Done()
			ended <- context.Cause(ctx)
		}
		return 2 * n, ctx.Err()
	})
	failing = operation("test/fail", func(_ context.Context, _ *Local, kind int) (None, error) {
		return None{}, fmt.Errorf("%w: the reason", errorKinds[kind])
	})
	partial = operation("test/partial", func(_ context.Context, _ *Local, n int) (int, error) {
		return n, fmt.Errorf("%w: one of %d tenants", warehouse.ErrUnavailable, n+1)
	})
	writing = download("test/write", func(_ context.Context, _ *Local, fail string, out io.Writer) (int, error) {
		if fail == "early" {
			return 0, fmt.Errorf("%w: early", warehouse.ErrNotFound)
		}
		n, err := io.WriteString(out, strings.Repeat("x", 1<<20))
		if fail == "late" {
			err = errors.New("late")
		}
		return n, err
	})
	ended = make(chan error, 1)
)

// eachConn runs a test on a folder of this process and on one of a server.
func eachConn(t *testing.T, test func(t *testing.T, c *Conn)) {
	t.Run("local", func(t *testing.T) { test(t, &Conn{local: &Local{}}) })
	t.Run("remote", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		listener, err := Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: Handler(&Local{}, slog.New(slog.DiscardHandler))}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		c := Dial(path)
		test(t, c)
		if err := errors.Join(c.Close(), server.Close()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func TestOperation_ReportsProgressInOrder(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		var got []Progress
		result, err := waiting.Watch(t.Context(), c, 3, func(p Progress) { got = append(got, p) })
		if err != nil || result != 6 {
			t.Errorf("got %d, %v, want 6", result, err)
		}
		want := []Progress{{"step 0", 0, 3}, {"step 1", 1, 3}, {"step 2", 2, 3}}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestOperation_IsCancelledWithItsContext(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		reported := false
		_, err := waiting.Watch(ctx, c, 0, func(Progress) {
			reported = true
			cancel()
		})
		if !reported {
			t.Error("got no progress")
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) { // the operation itself
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestOperation_KeepsTheKindOfError(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		for i, kind := range errorKinds {
			_, err := failing.Call(t.Context(), c, i)
			if want := fmt.Sprintf("%v: the reason", kind); !errors.Is(err, kind) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	})
}

func TestOperation_ErrorKeepsTheResultOfTheOthers(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		got, err := partial.Call(t.Context(), c, 3)
		if got != 3 || !errors.Is(err, warehouse.ErrUnavailable) {
			t.Errorf("got %d and error %v, want 3 and %v", got, err, warehouse.ErrUnavailable)
		}
	})
}

func TestOperation_UnknownToTheServer(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		newer := Operation[None, None]{"test/newer", func(context.Context, *Local, None, func(Progress)) (None, error) {
			return None{}, nil
		}}
		_, err := newer.Call(t.Context(), c, None{})
		if c.remote != nil && (err == nil || !strings.Contains(err.Error(), "restart it")) {
			t.Errorf("got %v, want an error that names the version of the server", err)
		}
	})
}

// A download returns its output and its result. If it fails, it returns an error, also after the first byte.
func TestDownload_FailsAsAWhole(t *testing.T) {
	eachConn(t, func(t *testing.T, c *Conn) {
		var out strings.Builder
		if n, err := writing.Write(t.Context(), c, "", &out); err != nil || n != 1<<20 || out.Len() != n {
			t.Errorf("got %d, %d bytes and %v, want %d", n, out.Len(), err, 1<<20)
		}
		out.Reset()
		_, err := writing.Write(t.Context(), c, "early", &out)
		if !errors.Is(err, warehouse.ErrNotFound) || out.Len() != 0 {
			t.Errorf("got %v after %d bytes, want %v", err, out.Len(), warehouse.ErrNotFound)
		}
		if _, err := writing.Write(t.Context(), c, "late", &out); err == nil {
			t.Error("got no error after an incomplete output")
		}
	})
}
