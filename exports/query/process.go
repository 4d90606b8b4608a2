package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/voicory/warehouse/warehouse/sandbox"
)

// worker is the process of a query.
type worker struct {
	*sandbox.Process
	ctx    context.Context // of its query
	log    *slog.Logger
	events *json.Decoder
	stop   func() bool // stops watching the context
}

// allocation is the environment of a worker. It keeps the C library from returning freed memory to the kernel after each batch, which
// would clear it again, and from creating an arena per thread, which would hold several times as much.
var allocation = []string{"MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=67108864"}

// Outputs of a worker: events say what becomes of the task, and the answer is the query's result.
const (
	eventsOutput = iota
	answerOutput
	outputs
)

// startWorker starts a process and sends it its settings. The process gets ready by itself.
func (r *Runner) startWorker() (*worker, error) {
	process, err := sandbox.Start(sandbox.Command{Args: r.Command, Env: allocation, Outputs: outputs})
	if err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w := &worker{Process: process, log: r.Log, events: json.NewDecoder(process.Outputs[eventsOutput]), stop: func() bool { return true }}
	sandbox.WidenPipe(w.answer())
	if err := w.send(settings{Memory: r.Memory, Threads: workerThreads}); err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// answer returns the pipe that the result is read from.
func (w *worker) answer() *os.File { return w.Outputs[answerOutput] }

// send writes a message to the worker. A worker that ends before it has read the message gives the reason in its events.
func (w *worker) send(message any) error {
	if err := json.NewEncoder(w.Input).Encode(message); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("send to the worker: %w", err)
	}
	return nil
}

// give sends the worker its task. The worker is killed when the context ends.
func (w *worker) give(ctx context.Context, t task) error {
	w.ctx = ctx
	w.stop = context.AfterFunc(ctx, w.Kill)
	defer w.Input.Close()
	return w.send(t)
}

// end kills the process, waits for it and closes its pipes.
func (w *worker) end() {
	w.stop()
	w.Close()
}

// event waits for the worker's next word.
func (w *worker) event() (event, error) {
	var e event
	if err := w.events.Decode(&e); err != nil {
		return e, w.fault(err)
	}
	if e.Failure == nil {
		return e, nil
	}
	failure := e.Failure.failure()
	if errors.Is(failure, ErrCrashed) || errors.Is(failure, ErrUnavailable) {
		w.Wait() // for all of its standard error
		w.log.Error("a query failed", "error", failure, "stderr", w.Stderr())
	}
	return e, failure
}

// fault is why a worker said nothing more: it was ended, or has broken.
func (w *worker) fault(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.stop()
	w.Kill()
	state := w.Wait()
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.log.Error("a query broke its worker", "error", err, "state", state.String(), "stderr", w.Stderr())
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGXCPU {
		return &Failure{Kind: ErrTimeout, Message: "The query took more processor time than it may"}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}
