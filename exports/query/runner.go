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

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

// Files is the interface to the published files of tenants. It is implemented by [warehouse.Warehouse].
type Files interface {
	// VerifiedFiles returns the published files of one snapshot of a tenant, whose content is verified. The files stay
	// on the disk until the caller calls release.
	VerifiedFiles(ctx context.Context, tenant uuid.UUID) (_ []warehouse.VerifiedFile, release func(), err error)
	// PublishedDirs returns the folders that may contain a tenant's published files, in the order to look in them.
	PublishedDirs(tenant uuid.UUID) []string
}

// Options configures a [Runner]. Only Files is required.
type Options struct {
	Files            Files
	Command          []string     // command line of a worker; default: this program with WorkerArgument
	SandboxSupported func() error // returns an error if the kernel cannot confine a worker; default: sandbox.Supported
	AllowUnsandboxed bool         // run workers even if the kernel lacks a protection
	Memory           int64        // maximum bytes of DuckDB in a worker; default: 512 MiB
	MaxBytes         int64        // maximum bytes of a result; default: the constant MaxBytes
	IdleWorkers      int          // number of workers to start before a query needs them
	Log              *slog.Logger // for failures of workers; default: none
}

// A Runner runs queries, each in a process of its own. It is safe for concurrent use. The caller of [New] closes it.
type Runner struct {
	Options
	sandboxed bool
	pool      workerPool
	logged    sync.Once // guards the log entry of the protections

	mu      sync.Mutex
	running map[queryKey]context.CancelCauseFunc // guarded by mu
}

// A queryKey identifies a running query. IDs are unique per tenant.
type queryKey struct {
	tenant uuid.UUID
	id     string
}

// workerThreads is the number of DuckDB's threads in a worker.
const workerThreads = 2

// New returns a runner and starts its idle workers. If the kernel cannot confine workers, New returns a runner that
// refuses queries, unless AllowUnsandboxed is set. It returns an error if this program's path cannot be determined.
func New(options Options) (*Runner, error) {
	options.Memory = cmp.Or(options.Memory, 512<<20)
	options.MaxBytes = cmp.Or(options.MaxBytes, MaxBytes)
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.SandboxSupported == nil {
		options.SandboxSupported = sandbox.Supported
	}
	if options.Command == nil {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		options.Command = []string{program, WorkerArgument}
	}
	unsupported := options.SandboxSupported()
	r := &Runner{Options: options, sandboxed: unsupported == nil, running: map[queryKey]context.CancelCauseFunc{}}
	if unsupported != nil && r.AllowUnsandboxed {
		r.Log.Warn("the kernel lacks a protection of the SQL sandbox; SQL runs with the others", "error", unsupported)
	}
	r.fillPool()
	return r, nil
}

// Available returns nil if queries can run, or ErrUnavailable if the kernel cannot confine a worker and
// AllowUnsandboxed is not set.
func (r *Runner) Available() error {
	if r.sandboxed || r.AllowUnsandboxed {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, r.SandboxSupported())
}

// Cancel cancels a tenant's query, and reports whether it was running.
func (r *Runner) Cancel(tenant uuid.UUID, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel, ok := r.running[queryKey{tenant, id}]
	if ok {
		cancel(ErrCancelled)
	}
	return ok
}

// register registers a running query for Cancel until forget is called. It returns ErrIDInUse if the tenant has a
// running query with the same ID.
func (r *Runner) register(query queryKey, cancel context.CancelCauseFunc) (forget func(), err error) {
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

// A Result is the result of a query that has begun to return it. The caller closes it.
type Result struct {
	ID      string
	AsOf    *time.Time // time of the newest file; nil if there are no files
	Outcome *Outcome   // nil until the result is complete
	Head    []byte     // the first bytes; the whole result if Outcome is set

	worker   *workerProcess
	maxBytes int64 // limit of the result
	stop     func()
	refill   func() // refills the pool of idle workers
}

// maxHead is the maximum size of a result's head in bytes.
const maxHead = protocol.HeadBytes

// Start starts a query and returns when its result begins. It returns an error of this package's kinds, or the
// context's cause. The caller bounds the number of queries that run at the same time.
func (r *Runner) Start(ctx context.Context, id string, request Request) (_ *Result, err error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	if err := r.Available(); err != nil {
		return nil, err
	}
	started := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	forget, err := r.register(queryKey{request.Tenant, id}, cancel)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	late := &Failure{Kind: ErrTimeout, Message: fmt.Sprintf("The query took longer than %v", request.Timeout)}
	ctx, done := context.WithTimeoutCause(ctx, request.Timeout, late)
	release := func() {}
	stop := func() {
		done()
		cancel(nil)
		forget()
		release()
	}
	defer func() {
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx) // err is only its consequence
			}
			stop()
		}
	}()
	files, release, err := r.Files.VerifiedFiles(ctx, request.Tenant)
	if err != nil {
		release = func() {}
		return nil, err
	}
	t := protocol.Task{
		ID: id, SQL: request.SQL, Params: request.Params, Format: request.Format, Limit: request.Limit,
		MaxBytes: min(r.MaxBytes, cmp.Or(request.MaxBytes, r.MaxBytes)), Started: started,
		CPU:   workerThreads*request.Timeout + time.Second,
		Files: map[string][]protocol.File{}, Dirs: r.Files.PublishedDirs(request.Tenant), AllowUnsandboxed: !r.sandboxed,
	}
	for _, file := range files {
		t.Files[file.Export] = append(t.Files[file.Export],
			protocol.File{Name: file.Name, Device: file.Device, Inode: file.Inode, Bytes: file.Bytes})
		if t.AsOf == nil || file.AsOf.After(*t.AsOf) {
			asOf := file.AsOf.Truncate(time.Millisecond)
			t.AsOf = &asOf
		}
	}
	w, err := r.acquireWorker()
	if err != nil {
		return nil, err
	}
	if err = w.assign(ctx, t); err == nil {
		err = r.requireConfined(w)
	}
	if err != nil {
		w.end()
		r.fillPool()
		return nil, err
	}
	result := &Result{ID: id, AsOf: t.AsOf, worker: w, maxBytes: t.MaxBytes, stop: stop, refill: r.fillPool}
	if err := result.begin(); err != nil {
		w.end()
		r.fillPool()
		return nil, err
	}
	return result, nil
}

// requireConfined waits for the worker's report of its protections. It returns ErrUnavailable if a protection is
// missing, unless AllowUnsandboxed applies. The first report of the runner is logged.
func (r *Runner) requireConfined(w *workerProcess) error {
	report, err := w.nextEvent()
	if err != nil {
		return err
	}
	if report.Confined == nil {
		return w.exitError(errors.New("the worker did not report its protections"))
	}
	if !report.Confined.Complete() && r.sandboxed {
		return fmt.Errorf("%w: the worker's protections are %+v", ErrUnavailable, *report.Confined)
	}
	r.logged.Do(func() { r.Log.Info("the kernel confines SQL workers", "protections", *report.Confined) })
	return nil
}

// begin waits until the result begins and reads its head. If the result is not longer than the head, begin also waits
// for its outcome.
func (r *Result) begin() error {
	first, err := r.worker.nextEvent()
	if err != nil {
		return err
	}
	if r.Outcome = first.Done; r.Outcome != nil { // the result has no bytes
		return nil
	}
	if !first.Begins {
		return r.worker.exitError(errors.New("the worker did not report the beginning of the result"))
	}
	var head bytes.Buffer
	_, err = io.CopyN(&head, r.worker.result(), maxHead+1)
	r.Head = head.Bytes()
	if int64(len(r.Head)) > r.maxBytes {
		return r.tooLong()
	}
	if err == nil {
		return nil // the result is longer than its head
	}
	return r.complete()
}

// complete waits for the event that the result is complete, and sets the outcome.
func (r *Result) complete() error {
	last, err := r.worker.nextEvent()
	if err != nil {
		return err
	}
	if last.Done == nil {
		return r.worker.exitError(errors.New("the worker did not report the end of the result"))
	}
	r.Outcome = last.Done
	return nil
}

// WriteTo writes the whole result to out. If it returns an error, the result is incomplete; the error is a write error
// of out, an error of this package's kinds, or the context's cause.
//
// WriteTo does not rely on the worker for the limits: it writes no byte beyond the limit of bytes, and none after the
// context has ended.
func (r *Result) WriteTo(out io.Writer) (written int64, err error) {
	n, err := out.Write(r.Head)
	if written = int64(n); err != nil || r.Outcome != nil {
		return written, err
	}
	in := deadlineReader{r.worker.ctx, r.worker.result()}
	// Hide the writer's ReadFrom method, which would use a smaller buffer.
	writer := struct{ io.Writer }{out}
	more, err := io.CopyBuffer(writer, io.LimitReader(in, r.maxBytes-written), make([]byte, maxHead))
	if written += more; err != nil {
		return written, err
	}
	if n, err := in.Read(make([]byte, 1)); n > 0 {
		return written, r.tooLong()
	} else if err != nil && !errors.Is(err, io.EOF) {
		return written, err
	}
	return written, r.complete()
}

// tooLong ends the worker, which has sent more than maxBytes, and returns the failure of the query.
func (r *Result) tooLong() error {
	return r.worker.exitError(fmt.Errorf("the worker sent more than %d bytes", r.maxBytes))
}

// A deadlineReader reads until its context ends, and then returns the context's cause.
type deadlineReader struct {
	ctx context.Context
	in  io.Reader
}

func (t deadlineReader) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	if t.ctx.Err() != nil {
		return 0, context.Cause(t.ctx)
	}
	return n, err
}

// Close ends the query if it is running, waits for its process and refills the pool of idle workers.
func (r *Result) Close() {
	r.refill()
	r.worker.end()
	r.stop()
}
