package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/worker"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

// A workerProcess is the server's handle of a worker process.
type workerProcess struct {
	*sandbox.Process
	ctx    context.Context // context of the query; set by assign
	log    *slog.Logger
	events *json.Decoder
	stop   func() bool // stops watching ctx
}

// WorkerArgument is the only argument of this program if it is to run as a worker.
const WorkerArgument = "query-worker"

// Work runs this process as a worker and returns its exit status.
func Work() int { return worker.Work(worker.Hooks{}) }

// mallocSettings is the environment of a worker. Freed memory is kept, because the kernel would have to clear it again
// for the next batch. The number of arenas is bounded, because an arena per thread would hold several times the
// memory.
var mallocSettings = []string{
	"MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=67108864",
}

// startWorker starts a worker process and sends its settings. It does not wait until the worker has prepared itself.
func (r *Runner) startWorker() (*workerProcess, error) {
	process, err := sandbox.Start(sandbox.Command{Args: r.Command, Env: mallocSettings, Outputs: protocol.Outputs})
	if err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w := &workerProcess{
		Process: process, log: r.Log, events: json.NewDecoder(process.Outputs[protocol.EventsOutput]),
		stop: func() bool { return true },
	}
	sandbox.WidenPipe(w.result())
	if err := w.send(protocol.Settings{Memory: r.Memory, Threads: workerThreads}); err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// result returns the pipe from which the result is read.
func (w *workerProcess) result() *os.File { return w.Outputs[protocol.ResultOutput] }

// send writes a message to the worker. It ignores EPIPE: a worker that ends before it has read the message reports the
// reason as an event.
func (w *workerProcess) send(message any) error {
	if err := json.NewEncoder(w.Input).Encode(message); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("send to the worker: %w", err)
	}
	return nil
}

// assign sends the worker its task. The worker is killed when ctx ends.
func (w *workerProcess) assign(ctx context.Context, t protocol.Task) error {
	w.ctx = ctx
	w.stop = context.AfterFunc(ctx, w.Kill)
	defer w.Input.Close()
	return w.send(t)
}

// end kills the process, waits for it and closes its pipes.
func (w *workerProcess) end() {
	w.stop()
	w.Close()
}

// nextEvent waits for the worker's next event. It returns the worker's failure, if it reports one, or exitError's if
// the worker has ended without an event.
func (w *workerProcess) nextEvent() (protocol.Event, error) {
	var e protocol.Event
	if err := w.events.Decode(&e); err != nil {
		return e, w.exitError(err)
	}
	if e.Failure == nil {
		return e, nil
	}
	failure := e.Failure.Reported()
	if errors.Is(failure, ErrCrashed) || errors.Is(failure, ErrUnavailable) {
		w.Wait() // so that its standard error is complete
		w.log.Error("query worker failed", "error", failure, "stderr", w.Stderr())
	}
	return e, failure
}

// exitError ends the worker after err, a violation of the protocol, and returns the failure of the query. It returns
// the context's cause if the query was ended, ErrTimeout if the worker has used up its CPU time, and ErrCrashed
// otherwise.
func (w *workerProcess) exitError(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.stop()
	w.Kill()
	state := w.Wait()
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.log.Error("query worker crashed", "error", err, "state", state.String(), "stderr", w.Stderr())
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGXCPU {
		return &Failure{Kind: ErrTimeout, Message: "The query exceeded its limit of processor time"}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}
