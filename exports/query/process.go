package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/voicory/warehouse/exports/internal/pipe"
)

// worker is the process of a query.
type worker struct {
	ctx    context.Context // of its query
	log    *slog.Logger
	pid    int
	task   *os.File
	stdout *os.File
	events *json.Decoder
	outs   []*os.File
	stderr *tail
	ended  chan struct{} // closed when the process has
	state  *os.ProcessState
	stop   func() bool // ends waiting for the context
}

// allocation is the environment of a worker: the C library keeps what one batch of a result has freed for the next, instead of giving it
// back to the system, which clears it each time; with an arena for each thread it would keep several times as much.
var allocation = []string{"MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=67108864"}

// startWorker starts a process without an environment or anything open but its pipes, and has it make itself ready.
func (r *Runner) startWorker() (_ *worker, err error) {
	var pipes [6]*os.File // the worker's end and ours: task, result, events
	for i := 0; i < len(pipes); i += 2 {
		if pipes[i], pipes[i+1], err = os.Pipe(); err != nil {
			closeAll(pipes[:]...)
			return nil, fmt.Errorf("start a worker: %w", err)
		}
	}
	stdin, task, stdout, result, events, outcome := pipes[0], pipes[1], pipes[3], pipes[2], pipes[4], pipes[5]
	pipe.Widen(result)
	w := &worker{log: r.Log, task: task, stdout: result, events: json.NewDecoder(events), outs: []*os.File{result, events}, stderr: &tail{}, ended: make(chan struct{}), stop: func() bool { return true }}
	process := exec.Command(r.Command[0], r.Command[1:]...) //nolint:noctx // it is ended with its whole group
	process.Env, process.Dir = allocation, "/"
	process.Stdin, process.Stdout, process.Stderr, process.ExtraFiles = stdin, stdout, w.stderr, []*os.File{outcome}
	process.SysProcAttr = processAttributes()
	startErr := make(chan error)
	go func() {
		// The kernel ends the worker when the thread that started it ends, so that one must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := process.Start()
		startErr <- err
		if err != nil {
			return
		}
		_ = process.Wait() // its state says all
		w.state = process.ProcessState
		close(w.ended)
	}()
	err = <-startErr
	closeAll(stdin, stdout, outcome)
	if err != nil {
		closeAll(task, result, events)
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w.pid = process.Process.Pid
	if err := w.tell(settings{Memory: r.Memory, Threads: workerThreads}); err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// tell writes to the worker. One that does not read all says why.
func (w *worker) tell(what any) error {
	if err := json.NewEncoder(w.task).Encode(what); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("tell the worker: %w", err)
	}
	return nil
}

// give gives the worker its task, which ends with the context.
func (w *worker) give(ctx context.Context, t task) error {
	w.ctx = ctx
	w.stop = context.AfterFunc(ctx, func() { killGroup(w.pid, w.ended) })
	defer closeAll(w.task)
	return w.tell(t)
}

// over tells whether the process has ended.
func (w *worker) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

func (w *worker) kill() {
	w.stop()
	killGroup(w.pid, w.ended)
}

func closeAll(files ...*os.File) {
	for _, file := range files {
		if file != nil {
			file.Close()
		}
	}
}

// killGroup ends a worker and what it may have started.
func killGroup(pid int, ended <-chan struct{}) {
	select {
	case <-ended: // the number may be another process's
	default:
		_ = syscall.Kill(-pid, syscall.SIGKILL) // it may end just now
	}
}

// end ends the process and waits for it.
func (w *worker) end() {
	w.kill()
	<-w.ended
	closeAll(append(w.outs, w.task)...)
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
		<-w.ended // it says more by itself
		w.log.Error("a query failed", "error", failure, "stderr", w.stderr.String())
	}
	return e, failure
}

// fault is why a worker said nothing more: it was ended, or has broken.
func (w *worker) fault(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.kill()
	<-w.ended
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	w.log.Error("a query broke its worker", "error", err, "state", w.state.String(), "stderr", w.stderr.String())
	if status, ok := w.state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGXCPU {
		return &Failure{Kind: ErrTimeout, Message: "The query took more processor time than it may"}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}

// tail keeps the last words of a process, and so many.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := maxTail - len(t.text); room > 0 { // a Go process that breaks says why first
		t.text = append(t.text, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
