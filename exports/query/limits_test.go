package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/querytest"
)

// A value of 50 MB fits in every format, in a worker with the default memory limit. A value above the limit of bytes
// does not.
func TestLimits_OneHugeValue(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	for _, format := range Formats {
		text, outcome, err := runQuery(t.Context(), r, Request{SQL: "SELECT 7 AS n, repeat('x', 20000000) AS t",
			Format: format})
		if err != nil || outcome != (Outcome{Rows: 1}) || format != Parquet && len(text) < 20_000_000 {
			t.Errorf("%s: got %+v, %d bytes and %v", format, outcome, len(text), err)
		}
		_, outcome, err = runQuery(t.Context(), r, Request{SQL: "SELECT 7 AS n, repeat('x', 5000000) AS t", Format: format,
			MaxBytes: 1_000_000})
		if err != nil || outcome != (Outcome{Truncated: protocol.TruncatedBytes}) {
			t.Errorf("%s within 1 MB: got %+v and %v", format, outcome, err)
		}
	}
}

// WriteTo writes no more than the limit, even if the worker sends more.
func TestResult_PassesOnNoMoreThanTheLimit(t *testing.T) {
	const worker = `echo '{"confined":{"landlock":1,"seccomp":true,"privileges":true}}' >&3; read settings; read task
		echo '{"begins":true}' >&3; head -c 5000000 /dev/zero >&4; exec 4>&-; echo '{"done":{"rows":1,"truncated":""}}' >&3`
	for _, most := range []int64{10, maxHead, maxHead + 1, 3 * maxHead} {
		var log bytes.Buffer
		r := newRunner(t, sharedLake(t), func(o *Options) {
			o.MaxBytes, o.IdleWorkers, o.Command = most, 0, []string{"/bin/sh", "-c", worker}
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		result, err := r.Start(t.Context(), "id", Request{Tenant: tenantA, SQL: "SELECT 1", Format: NDJSON})
		var out bytes.Buffer
		if err == nil {
			_, err = result.WriteTo(&out)
			result.Close()
		}
		want := most
		if most <= maxHead { // the server reads so much before it begins its answer
			want = 0
		}
		if !errors.Is(err, ErrCrashed) || int64(out.Len()) != want ||
			!strings.Contains(log.String(), fmt.Sprintf("sent more than %d bytes", most)) {
			t.Errorf("within %d bytes: got %d and %v, want %d; the log is %s", most, out.Len(), err, want, &log)
		}
	}
}

// A stalled client blocks its first write until it is released.
type stalled struct {
	bytes.Buffer
	reached chan struct{} // closed when the first bytes come
	release chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	if s.Len() == 0 {
		close(s.reached)
		<-s.release
	}
	return s.Buffer.Write(p)
}

// WriteTo writes nothing after its context has ended, even if the worker has sent the whole result.
func TestResult_PassesOnNothingAfterItsTime(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	result, err := r.Start(ctx, "id", Request{Tenant: tenantA, SQL: "SELECT repeat('x', 1000) FROM range(500)",
		Format: NDJSON})
	querytest.NoError(t, err)
	defer result.Close()
	client := &stalled{reached: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := result.WriteTo(client)
		done <- err
	}()
	<-client.reached
	late := errors.New("too late")
	cancel(late)
	close(client.release)
	if err := <-done; !errors.Is(err, late) || client.Len() != len(result.Head) {
		t.Errorf("got %v after %d bytes, want %d", err, client.Len(), len(result.Head))
	}
}
