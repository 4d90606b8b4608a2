package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/exports/query/internal/encode"
	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse/arrowbatch"
	"github.com/voicory/warehouse/warehouse/sandbox"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Hooks are functions that a test runs in a worker: Open before the worker is confined, and Locked after. Either may be
// nil.
type Hooks struct{ Open, Locked func() error }

// Work runs a worker and returns its exit status. It reads the settings and then one task from standard input, writes
// the result to ResultOutput, and reports its progress to EventsOutput. Only runTask writes to ResultOutput: the
// standard output, which a statement can make DuckDB write to, is a bounded log.
func Work(hooks Hooks) int {
	events := json.NewEncoder(os.NewFile(sandbox.FirstOutput+protocol.EventsOutput, "events"))
	fail := func(err error) int {
		failure := (*protocol.Failure)(nil)
		if !errors.As(err, &failure) {
			failure = &protocol.Failure{Kind: protocol.ErrCrashed, Message: protocol.ErrCrashed.Error()}
			if errors.Is(err, protocol.ErrUnavailable) {
				failure = &protocol.Failure{Kind: protocol.ErrUnavailable, Message: protocol.ErrUnavailable.Error()}
			}
			fmt.Fprintln(os.Stderr, err)
		}
		// If this write fails, the server sees that the worker ended without an event.
		_ = events.Encode(protocol.Event{Failure: &protocol.FailureEvent{
			Kind: failure.Kind.Error(), Message: failure.Message, Line: failure.Line, Column: failure.Column,
		}})
		return 1
	}
	result := os.NewFile(sandbox.FirstOutput+protocol.ResultOutput, "result")
	input := json.NewDecoder(os.Stdin)
	var ready protocol.Settings
	if err := input.Decode(&ready); err != nil {
		return fail(fmt.Errorf("read the settings: %w", err))
	}
	if err := call(hooks.Open); err != nil {
		return fail(err)
	}
	engine, err := newWorkerEngine(ready)
	if err != nil {
		return fail(err)
	}
	var t protocol.Task
	if err := input.Decode(&t); errors.Is(err, io.EOF) { // the server closed the idle worker
		return 0
	} else if err != nil {
		return fail(fmt.Errorf("read the task: %w", err))
	}
	protections, err := engine.bindTask(&t)
	if err != nil {
		return fail(err)
	}
	if err := events.Encode(protocol.Event{Confined: &protections}); err != nil {
		return fail(fmt.Errorf("report the protections: %w", err))
	}
	if err := call(hooks.Locked); err != nil {
		return fail(err)
	}
	report := func() error { return events.Encode(protocol.Event{Begins: true}) }
	outcome, err := runTask(engine, &t, &beginWriter{out: result, report: report})
	if err != nil {
		return fail(err)
	}
	if result.Close() != nil || events.Encode(protocol.Event{Done: &outcome}) != nil { // the server has closed the pipes
		return 1
	}
	return 0
}

// call calls a hook if there is one.
func call(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

// streamingBuffer bounds the rows that DuckDB holds ahead of the reader. DuckDB does not count the text of their
// strings, so that its default of 1 MB can mean hundreds of megabytes of long transcripts. A smaller buffer is not
// slower.
const streamingBuffer = "64KB"

// newWorkerEngine limits the memory of the process, opens DuckDB and creates the views, which have no rows until
// bindTask binds them to a tenant's files.
func newWorkerEngine(s protocol.Settings) (*engine, error) {
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
	return engine, engine.exec("PRAGMA disable_optimizer;" + schema.CreateQueryViews() + "PRAGMA enable_optimizer;" +
		"SET threads = " + strconv.Itoa(s.Threads) + "; SET streaming_buffer_size = '" + streamingBuffer + "';")
}

// unordered reports whether rows of a format may be written in any order: Arrow and Parquet, the formats of large
// results. Keeping the order of the files would take a tenth more time. A statement with ORDER BY keeps its order.
func unordered(format string) bool { return format == protocol.Arrow || format == protocol.Parquet }

// bindTask opens the files of the task, binds the views to them, and confines the process. It returns the active
// protections.
func (e *engine) bindTask(t *protocol.Task) (sandbox.Protections, error) {
	var active sandbox.Protections
	files, names, err := openFiles(t)
	if err != nil {
		return active, err
	}
	if err := sandbox.LimitCPU(t.CPU); err != nil {
		return active, err
	}
	script := schema.BindQueryViews(names)
	if unordered(t.Format) {
		script += "SET preserve_insertion_order = false;"
	}
	if err := e.exec(script); err != nil {
		return active, err
	}
	policy := sandbox.Policy{ReadFiles: files, AllowUnsupported: t.AllowUnsandboxed}
	if active, err = sandbox.Confine(policy); err != nil {
		return active, fmt.Errorf("%w: %w", protocol.ErrUnavailable, err)
	}
	return active, e.exec(schema.LockQueryViews(names))
}

// openFiles opens the files of the task, which stay open until the process ends, and names each by its descriptor.
// Files that are published or removed later do not affect the task.
func openFiles(t *protocol.Task) (descriptors []int, names map[string][]string, err error) {
	names = map[string][]string{}
	for export, all := range t.Files {
		for _, file := range all {
			fd, err := openFirst(t.Dirs, file)
			if err != nil {
				return nil, nil, fmt.Errorf("open %s: %w", file.Name, err)
			}
			descriptors = append(descriptors, fd)
			names[export] = append(names[export], fmt.Sprintf("/dev/fd/%d", fd))
		}
	}
	return descriptors, names, nil
}

// openFirst opens the file in the first of the folders that contains it, and compares its identity.
func openFirst(dirs []string, file protocol.File) (fd int, err error) {
	for _, dir := range dirs {
		const flags = syscall.O_RDONLY | syscall.O_CLOEXEC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
		if fd, err = syscall.Open(filepath.Join(dir, file.Name), flags, 0); !errors.Is(err, syscall.ENOENT) {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	//nolint:unconvert // Dev has another type on macOS
	if uint64(stat.Dev) != file.Device || stat.Ino != file.Inode || stat.Size != file.Bytes {
		return 0, errors.New("the file was replaced after the server had verified it")
	}
	return fd, nil
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

// runTask runs the task's statement and writes its result to out. It releases nothing, because the process ends with
// it.
func runTask(e *engine, t *protocol.Task, out io.Writer) (outcome protocol.Outcome, err error) {
	statement, err := e.prepare(t.SQL)
	if err != nil {
		return outcome, err
	}
	if err := statement.bind(t.Params); err != nil {
		return outcome, err
	}
	rows, err := statement.start()
	if err != nil {
		return outcome, err
	}
	sink := encode.NewSink(out, t.MaxBytes)
	encoder, err := encode.New(t, sink, rows.converter.Schema, rows.columns)
	if err != nil {
		return outcome, err
	}
	err = rows.each(func(batch arrow.RecordBatch) error { return write(batch, &outcome, t, encoder) })
	if err != nil && !errors.Is(err, errLimitReached) {
		return outcome, err
	}
	if err := encoder.End(outcome); err != nil {
		return outcome, err
	}
	return outcome, sink.Flush()
}

// errLimitReached ends the reading of rows when a limit of the task is reached.
var errLimitReached = errors.New("a limit of the result is reached")

// write writes the rows of a batch that the limits of the task allow. If a limit is reached, it sets Truncated and
// returns errLimitReached.
func write(batch arrow.RecordBatch, o *protocol.Outcome, t *protocol.Task, encoder encode.Encoder) error {
	if left := t.Limit - o.Rows; batch.NumRows() > left {
		if o.Truncated = protocol.TruncatedRows; left == 0 {
			return errLimitReached
		}
		first, err := arrowbatch.Head(batch, left)
		if err != nil {
			return err
		}
		defer first.Release()
		batch = first
	}
	written, err := encoder.Write(batch)
	if o.Rows += written; err != nil {
		return err
	}
	if written < batch.NumRows() {
		o.Truncated = protocol.TruncatedBytes
	}
	if o.Truncated != "" {
		return errLimitReached
	}
	return nil
}
