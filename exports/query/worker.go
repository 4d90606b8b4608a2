package query

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/warehouse/arrowbatch"
	"github.com/voicory/warehouse/warehouse/sandbox"
	"github.com/voicory/warehouse/warehouse/schema"
)

// WorkerArgument is the only argument of this program if it is to run as a worker.
const WorkerArgument = "query-worker"

// Work runs a worker and returns its exit status. It reads the settings and then one task from standard input, writes
// the result to answerOutput, and reports its progress to eventsOutput. Only run writes to answerOutput: the standard
// output, which a statement can make DuckDB write to, is a bounded log.
func Work() int {
	nothing := func() error { return nil }
	return work(probe{nothing, nothing})
}

// A probe holds functions that a test runs in a worker: open before the worker is confined, and locked after.
type probe struct{ open, locked func() error }

// work is Work with a probe.
func work(p probe) int {
	events := json.NewEncoder(os.NewFile(sandbox.FirstOutput+eventsOutput, "events"))
	fail := func(err error) int {
		failure := (*Failure)(nil)
		if !errors.As(err, &failure) {
			failure = &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
			if errors.Is(err, ErrUnavailable) {
				failure = &Failure{Kind: ErrUnavailable, Message: ErrUnavailable.Error()}
			}
			fmt.Fprintln(os.Stderr, err)
		}
		// If this write fails, the server sees that the worker ended without an event.
		_ = events.Encode(event{Failure: &failureEvent{
			Kind: failure.Kind.Error(), Message: failure.Message, Line: failure.Line, Column: failure.Column,
		}})
		return 1
	}
	answer := os.NewFile(sandbox.FirstOutput+answerOutput, "answer")
	input := json.NewDecoder(os.Stdin)
	var ready settings
	if err := input.Decode(&ready); err != nil {
		return fail(fmt.Errorf("read the settings: %w", err))
	}
	if err := p.open(); err != nil {
		return fail(err)
	}
	engine, err := newWorkerEngine(ready)
	if err != nil {
		return fail(err)
	}
	var t task
	if err := input.Decode(&t); errors.Is(err, io.EOF) { // the server closed the idle worker
		return 0
	} else if err != nil {
		return fail(fmt.Errorf("read the task: %w", err))
	}
	protections, err := engine.bindTask(&t)
	if err != nil {
		return fail(err)
	}
	if err := events.Encode(event{Confined: &protections}); err != nil {
		return fail(fmt.Errorf("report the protections: %w", err))
	}
	if err := p.locked(); err != nil {
		return fail(err)
	}
	report := func() error { return events.Encode(event{Begins: true}) }
	outcome, err := run(engine, &t, &beginWriter{out: answer, report: report})
	if err != nil {
		return fail(err)
	}
	if answer.Close() != nil || events.Encode(event{Done: &outcome}) != nil { // the server has closed the pipes
		return 1
	}
	return 0
}

// streamingBuffer bounds the rows that DuckDB holds ahead of the reader. DuckDB does not count the text of their
// strings, so that its default of 1 MB can mean hundreds of megabytes of long transcripts. A smaller buffer is not
// slower.
const streamingBuffer = "64KB"

// newWorkerEngine limits the memory of the process, opens DuckDB and creates the views, which have no rows until
// bindTask binds them to a tenant's files.
func newWorkerEngine(s settings) (*engine, error) {
	if err := sandbox.LimitMemory(s.Memory); err != nil {
		return nil, err
	}
	engine, err := openEngine(map[string]string{
		"memory_limit": strconv.FormatInt(s.Memory, 10) + "B", "threads": "1", "temp_directory": "",
	})
	if err != nil {
		return nil, err
	}
	// The optimizer and further threads are of no use to the many small CREATE VIEW statements, which take half as long
	// without them.
	return engine, engine.run("PRAGMA disable_optimizer;" + schema.CreateQueryViews() + "PRAGMA enable_optimizer;" +
		"SET threads = " + strconv.Itoa(s.Threads) + "; SET streaming_buffer_size = '" + streamingBuffer + "';")
}

// unordered reports whether rows of the format may be written in any order: Arrow and Parquet, the formats of large
// results. Keeping the order of the files would take a tenth more time. A statement with ORDER BY keeps its order.
func (t *task) unordered() bool { return t.Format == Arrow || t.Format == Parquet }

// bindTask opens the files of the task, binds the views to them, and confines the process. It returns the active
// protections.
func (e *engine) bindTask(t *task) (sandbox.Protections, error) {
	var active sandbox.Protections
	files, names, err := openFiles(t)
	if err != nil {
		return active, err
	}
	if err := sandbox.LimitCPU(t.CPU); err != nil {
		return active, err
	}
	script := schema.BindQueryViews(names)
	if t.unordered() {
		script += "SET preserve_insertion_order = false;"
	}
	if err := e.run(script); err != nil {
		return active, err
	}
	policy := sandbox.Policy{ReadFiles: files, AllowUnsupported: t.AllowUnsandboxed}
	if active, err = sandbox.Confine(policy); err != nil {
		return active, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return active, e.run(schema.LockQueryViews(names))
}

// openFiles opens the files of the task, which stay open until the process ends, and names each by its descriptor.
// Files that are published or removed later do not affect the task.
func openFiles(t *task) (descriptors []int, names map[string][]string, err error) {
	names = map[string][]string{}
	for export, all := range t.Files {
		for _, name := range all {
			fd, err := openFirst(t.Dirs, name)
			if err != nil {
				return nil, nil, fmt.Errorf("open %s: %w", name, err)
			}
			descriptors = append(descriptors, fd)
			names[export] = append(names[export], fmt.Sprintf("/dev/fd/%d", fd))
		}
	}
	return descriptors, names, nil
}

// openFirst opens the named file in the first of the folders that contains it.
func openFirst(dirs []string, name string) (fd int, err error) {
	for _, dir := range dirs {
		const flags = syscall.O_RDONLY | syscall.O_CLOEXEC | syscall.O_NOFOLLOW
		if fd, err = syscall.Open(filepath.Join(dir, name), flags, 0); !errors.Is(err, syscall.ENOENT) {
			break
		}
	}
	return fd, err
}

// A beginWriter reports that the result begins before it writes the first byte.
type beginWriter struct {
	out      io.Writer
	report   func() error
	reported bool
}

func (b *beginWriter) Write(p []byte) (int, error) {
	if !b.reported {
		b.reported = true
		if err := b.report(); err != nil {
			return 0, err
		}
	}
	return b.out.Write(p)
}

// sinkBuffer is the size in bytes of the buffer of a result. A statement that fails before it is full sends no byte.
const sinkBuffer = 256 << 10

// run runs the task's statement and writes its result to out. It releases nothing, because the process ends with it.
func run(e *engine, t *task, out io.Writer) (outcome Outcome, err error) {
	statement, err := e.prepare(t.SQL)
	if err != nil {
		return outcome, err
	}
	if err := statement.bind(t.Params); err != nil {
		return outcome, err
	}
	rows, err := statement.query(t)
	if err != nil {
		return outcome, err
	}
	sink := newSink(out, t.MaxBytes)
	encoder, err := newEncoder(t, sink, rows)
	if err != nil {
		return outcome, err
	}
	err = rows.each(func(batch arrow.RecordBatch) error { return outcome.write(batch, t, encoder) })
	if err != nil && !errors.Is(err, errLimitReached) {
		return outcome, err
	}
	if err := encoder.end(outcome); err != nil {
		return outcome, err
	}
	return outcome, sink.Flush()
}

// query prepares to read the statement's rows: by a callback if their order does not matter, which is faster, and else
// by fetching them.
func (s *statement) query(t *task) (*rows, error) {
	if t.unordered() {
		if r, err := s.callbackRows(); err != nil || r != nil {
			return r, err
		}
	}
	return s.fetchRows()
}

// errLimitReached ends the reading of rows when a limit of the task is reached.
var errLimitReached = errors.New("a limit of the result is reached")

// write writes the rows of a batch that the limits of the task allow. If a limit is reached, it sets Truncated and
// returns errLimitReached.
func (o *Outcome) write(batch arrow.RecordBatch, t *task, encoder encoder) error {
	if left := t.Limit - o.Rows; batch.NumRows() > left {
		if o.Truncated = truncatedRows; left == 0 {
			return errLimitReached
		}
		first, err := arrowbatch.Head(batch, left)
		if err != nil {
			return err
		}
		defer first.Release()
		batch = first
	}
	written, err := encoder.write(batch)
	if o.Rows += written; err != nil {
		return err
	}
	if written < batch.NumRows() {
		o.Truncated = truncatedBytes
	}
	if o.Truncated != "" {
		return errLimitReached
	}
	return nil
}

// A sink buffers a result, counts its bytes and enforces its limit. Encoders check remaining before they write, and
// reserve bytes for the end of their format. A write beyond the limit is a bug of the encoder, and returns an error.
type sink struct {
	*bufio.Writer
	limit   int64 // bytes
	written int64 // bytes
}

// newSink returns a sink that accepts at most limit bytes.
func newSink(out io.Writer, limit int64) *sink {
	return &sink{Writer: bufio.NewWriterSize(out, sinkBuffer), limit: limit}
}

// remaining returns how many more bytes the result may have.
func (s *sink) remaining() int64 { return s.limit - s.written }

// begin writes the head of a result. It returns a Failure if the head and the reserved bytes exceed the limit.
func (s *sink) begin(head []byte, reserve int64) error {
	if need := int64(len(head)) + reserve; need > s.remaining() {
		return limitTooSmall(need, s.remaining())
	}
	_, err := s.Write(head)
	return err
}

// limitTooSmall returns the failure of a result whose limit is too small for an empty result of its format.
func limitTooSmall(need, limit int64) error {
	return &Failure{Kind: ErrLimitTooSmall, Message: fmt.Sprintf(
		"The result takes at least %d bytes in this format without any row, and may have %d", need, limit)}
}

func (s *sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.remaining() {
		return 0, fmt.Errorf("write %d bytes of a result: only %d bytes remain", len(p), s.remaining())
	}
	n, err := s.Writer.Write(p)
	s.written += int64(n)
	return n, err
}
