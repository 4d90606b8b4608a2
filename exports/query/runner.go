package query

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

// Files tells which files a tenant has published, in one snapshot, and in which folders they are.
type Files interface {
	PublishedFiles(ctx context.Context, tenant uuid.UUID) ([]warehouse.PublishedFile, error)
	PublishedDirs(tenant uuid.UUID) []string
}

// Options of a runner; the zero value of each but Files is a sensible default.
type Options struct {
	Files     Files
	Command   []string     // how a worker is started; default: this program, with WorkerArgument
	LocksIn   func() error // reports whether the kernel can confine a worker; default: sandbox.Supported
	Unsandbox bool         // run workers that cannot be locked in all the same
	Memory    int64        // bytes that DuckDB may take in a worker; default 512 MiB
	MaxBytes  int64        // of a result; default 2 GiB
	Spares    int          // workers that are started ahead, for whoever asks next; default: none
	Log       *slog.Logger // told of workers that broke; default: none
}

// Runner runs queries, each in a process of its own. It is safe for concurrent use, and closed by who made it.
type Runner struct {
	Options
	sandboxed bool
	spares    spares
	logged    sync.Once // of the protections

	mu      sync.Mutex
	running map[named]context.CancelCauseFunc
}

// named is a query by its id, which is unique among those of its tenant.
type named struct {
	tenant uuid.UUID
	id     string
}

const workerThreads = 2

// New returns a runner.
func New(options Options) (*Runner, error) {
	options.Memory = cmp.Or(options.Memory, 512<<20)
	options.MaxBytes = cmp.Or(options.MaxBytes, MaxBytes)
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.LocksIn == nil {
		options.LocksIn = sandbox.Supported
	}
	if options.Command == nil {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		options.Command = []string{program, WorkerArgument}
	}
	unable := options.LocksIn()
	r := &Runner{Options: options, sandboxed: unable == nil, running: map[named]context.CancelCauseFunc{}}
	if unable != nil && r.Unsandbox {
		r.Log.Warn("the kernel lacks a protection of the SQL sandbox; SQL runs with the others", "error", unable)
	}
	r.keepSpares()
	return r, nil
}

// Available tells whether queries can be run: not where the kernel cannot lock a worker in, unless that is allowed.
func (r *Runner) Available() error {
	if r.sandboxed || r.Unsandbox {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, r.LocksIn())
}

// Cancel ends a tenant's query, and tells whether there was one.
func (r *Runner) Cancel(tenant uuid.UUID, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel, ok := r.running[named{tenant, id}]
	if ok {
		cancel(ErrCancelled)
	}
	return ok
}

// register notes a query, so that it can be cancelled, until forget.
func (r *Runner) register(query named, cancel context.CancelCauseFunc) (forget func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.running[query]; ok {
		return nil, ErrIDInUse
	}
	r.running[query] = cancel
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, query)
	}, nil
}

// Result is a query whose result has begun.
type Result struct {
	ID      string
	AsOf    *time.Time // of the newest file; nil: there are none
	Outcome *Outcome   // nil: not known before the result is written
	Short   []byte     // the beginning; all of it where Outcome is known

	worker   *worker
	maxBytes int64 // of the answer
	stop     func()
	after    func() // what waits until the answer is on its way
}

// maxShort is how long a short result may be.
const maxShort = ahead

// Start runs a query and returns when its result begins. It does not bound how many run: the caller does. Errors are of the kinds of this
// package, or the context's cause. The caller closes the result, which ends the query.
func (r *Runner) Start(ctx context.Context, id string, request Request) (_ *Result, err error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	if err := r.Available(); err != nil {
		return nil, err
	}
	started := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	forget, err := r.register(named{request.Tenant, id}, cancel)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	ctx, done := context.WithTimeoutCause(ctx, request.Timeout, &Failure{Kind: ErrTimeout, Message: fmt.Sprintf("The query took longer than %v", request.Timeout)})
	stop := func() {
		done()
		cancel(nil)
		forget()
	}
	defer func() {
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx) // the error is only what came of it
			}
			stop()
		}
	}()
	files, err := r.Files.PublishedFiles(ctx, request.Tenant)
	if err != nil {
		return nil, err
	}
	t := task{ID: id, SQL: request.SQL, Params: request.Params, Format: request.Format, Limit: request.Limit, MaxBytes: min(r.MaxBytes, cmp.Or(request.MaxBytes, r.MaxBytes)),
		Started: started, CPU: workerThreads*request.Timeout + time.Second, Files: map[string][]string{}, Dirs: r.Files.PublishedDirs(request.Tenant), Unsandbox: !r.sandboxed}
	for _, file := range files {
		t.Files[file.Export] = append(t.Files[file.Export], file.Name)
		if t.AsOf == nil || file.AsOf.After(*t.AsOf) {
			asOf := file.AsOf.Truncate(time.Millisecond)
			t.AsOf = &asOf
		}
	}
	w, err := r.takeWorker()
	if err != nil {
		return nil, err
	}
	if err = w.give(ctx, t); err == nil {
		err = r.requireConfined(w)
	}
	if err != nil {
		w.end()
		r.keepSpares()
		return nil, err
	}
	result := &Result{ID: id, AsOf: t.AsOf, worker: w, maxBytes: t.MaxBytes, stop: stop, after: r.keepSpares}
	if err := result.begin(); err != nil {
		w.end()
		r.keepSpares()
		return nil, err
	}
	return result, nil
}

// requireConfined waits for a worker's report of its protections, and returns an error if one is missing that the operator requires. The
// first report is logged.
func (r *Runner) requireConfined(w *worker) error {
	report, err := w.event()
	if err != nil {
		return err
	}
	if report.Confined == nil {
		return w.fault(errors.New("the worker did not report its protections"))
	}
	if !report.Confined.Complete() && r.sandboxed {
		return fmt.Errorf("%w: the worker's protections are %+v", ErrUnavailable, *report.Confined)
	}
	r.logged.Do(func() { r.Log.Info("the kernel confines SQL workers", "protections", *report.Confined) })
	return nil
}

// begin waits until the result begins, and for all of a short one.
func (r *Result) begin() error {
	first, err := r.worker.event()
	if err != nil {
		return err
	}
	if r.Outcome = first.Done; r.Outcome != nil { // of nothing at all
		return nil
	}
	if !first.Begins {
		return r.worker.fault(errors.New("the worker did not begin"))
	}
	var head bytes.Buffer
	_, err = io.CopyN(&head, r.worker.answer(), maxShort+1)
	r.Short = head.Bytes()
	if int64(len(r.Short)) > r.maxBytes {
		return r.tooLong()
	}
	if err == nil {
		return nil // Short is its beginning
	}
	return r.complete()
}

// complete waits for the word that the result is whole.
func (r *Result) complete() error {
	last, err := r.worker.event()
	if err != nil {
		return err
	}
	if last.Done == nil {
		return r.worker.fault(errors.New("the worker did not end"))
	}
	r.Outcome = last.Done
	return nil
}

// WriteTo writes the whole result. If it fails, the result is not whole, and the error is of the kinds of this package.
//
// It holds the limits of bytes and time whatever the worker does: it passes on no byte beyond the limit of bytes, and
// none after the context has ended.
func (r *Result) WriteTo(out io.Writer) (written int64, err error) {
	n, err := out.Write(r.Short)
	if written = int64(n); err != nil || r.Outcome != nil {
		return written, err
	}
	answer := inTime{r.worker.ctx, r.worker.answer()}
	// In large pieces: a writer's own ReadFrom reads small ones.
	more, err := io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(answer, r.maxBytes-written), make([]byte, maxShort))
	if written += more; err != nil {
		return written, err
	}
	if n, err := answer.Read(make([]byte, 1)); n > 0 {
		return written, r.tooLong()
	} else if err != nil && !errors.Is(err, io.EOF) {
		return written, err
	}
	return written, r.complete()
}

// tooLong ends a worker that sends more than it may.
func (r *Result) tooLong() error {
	return r.worker.fault(fmt.Errorf("the worker sent more than %d bytes", r.maxBytes))
}

// inTime reads until the context ends, and then returns its cause.
type inTime struct {
	ctx context.Context
	in  io.Reader
}

func (t inTime) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	if t.ctx.Err() != nil {
		return 0, context.Cause(t.ctx)
	}
	return n, err
}

// Close ends the query, if it has not ended, and waits for its process.
func (r *Result) Close() {
	r.after()
	r.worker.end()
	r.stop()
}
