package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/voicory/warehouse/warehouse"
)

// None is the request or the result of operations that have none.
type None struct{}

// Progress is a report of an operation that is running.
type Progress struct {
	Text  string `json:"text,omitempty"`  // line for the user; "" if there are only numbers
	Done  int64  `json:"done,omitempty"`  // finished part, in the unit of the operation
	Total int64  `json:"total,omitempty"` // 0 if it is unknown
}

// An Operation has a request of type Q and a result of type R.
type Operation[Q, R any] struct {
	name string
	run  func(ctx context.Context, l *Local, request Q, report func(Progress)) (R, error)
}

// Call runs the operation and returns its result.
func (o Operation[Q, R]) Call(ctx context.Context, c *Conn, request Q) (R, error) {
	return o.Watch(ctx, c, request, func(Progress) {})
}

// Watch is like Call, and calls report with the progress. It calls report from one goroutine at a time.
func (o Operation[Q, R]) Watch(
	ctx context.Context, c *Conn, request Q, report func(Progress),
) (result R, err error) {
	if c.local != nil {
		return o.run(ctx, c.local, request, report)
	}
	return result, c.remote.call(ctx, o.name, request, &result, report)
}

// operation returns an operation without progress, and registers its handler. The name is part of the path of the
// request.
func operation[Q, R any](
	name string, run func(ctx context.Context, l *Local, request Q) (R, error),
) Operation[Q, R] {
	return longOperation(name, func(ctx context.Context, l *Local, request Q, _ func(Progress)) (R, error) {
		return run(ctx, l, request)
	})
}

// longOperation returns an operation that reports progress, and registers its handler.
func longOperation[Q, R any](
	name string, work func(ctx context.Context, l *Local, request Q, report func(Progress)) (R, error),
) Operation[Q, R] {
	run := func(ctx context.Context, l *Local, request Q, report func(Progress)) (R, error) {
		var mu sync.Mutex // work may report from several goroutines
		return work(ctx, l, request, func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			report(p)
		})
	}
	register(name, func(l *Local, w http.ResponseWriter, r *http.Request) error {
		return replyEvents(w, func(report func(Progress)) (any, error) {
			var request Q
			if err := readRequest(r, &request); err != nil {
				return nil, err
			}
			return run(r.Context(), l, request, report)
		})
	})
	return Operation[Q, R]{name, run}
}

// A Download has a request of type Q, output of any size, and a small result of type R.
type Download[Q, R any] struct {
	name string
	run  func(ctx context.Context, l *Local, request Q, out io.Writer) (R, error)
}

// Write writes the output to out. If it returns an error, the output is incomplete.
func (d Download[Q, R]) Write(ctx context.Context, c *Conn, request Q, out io.Writer) (result R, err error) {
	if c.local != nil {
		return d.run(ctx, c.local, request, out)
	}
	response, err := c.remote.download(ctx, d.name, request)
	if err != nil {
		return result, err
	}
	defer response.Body.Close()
	switch _, err := io.Copy(out, response.Body); {
	case err != nil && ctx.Err() != nil:
		return result, ctx.Err()
	case err != nil:
		return result, fmt.Errorf("write the result of the running server, which is incomplete: %w", err)
	}
	if err := json.Unmarshal([]byte(response.Trailer.Get(resultTrailer)), &result); err != nil {
		return result, fmt.Errorf("read the end of the result from the running server: %w", err)
	}
	return result, nil
}

// download returns a download and registers its handler. The name is part of the path of the request.
func download[Q, R any](
	name string, run func(ctx context.Context, l *Local, request Q, out io.Writer) (R, error),
) Download[Q, R] {
	register(name, func(l *Local, w http.ResponseWriter, r *http.Request) error {
		return replyOutput(w, func(out io.Writer) (any, error) {
			var request Q
			if err := readRequest(r, &request); err != nil {
				return nil, err
			}
			return run(r.Context(), l, request, out)
		})
	})
	return Download[Q, R]{name, run}
}

// handlers holds the handler of each operation by its name. The variables of the operations fill it when the package is
// initialized.
var handlers = map[string]handler{}

// A handler runs an operation on l and replies to its request. It returns the error of the operation, which it has sent
// to the client, for the log.
type handler func(l *Local, w http.ResponseWriter, r *http.Request) error

func register(name string, h handler) {
	if handlers[name] != nil {
		panic("two operations have the name " + name)
	}
	handlers[name] = h
}

// Handler returns the handler of all operations and routes. It logs failed operations.
func Handler(l *Local, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, name string, h handler) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(l, w, r); err != nil {
				log.Warn("operation failed", "operation", name, "error", err)
				if incomplete := (incompleteError{}); errors.As(err, &incomplete) {
					panic(http.ErrAbortHandler)
				}
			}
		})
	}
	for name, h := range handlers {
		handle("POST "+operationPath+name, name, h)
	}
	for _, r := range routes {
		handle(r.pattern, r.operation, r.serve)
	}
	return mux
}

// readRequest reads the body of a request to its end, so that net/http notices when the client disconnects.
func readRequest(r *http.Request, request any) error {
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, request)
	}
	if err != nil {
		return fmt.Errorf("%w: read the request: %w", warehouse.ErrInvalid, err)
	}
	return nil
}
