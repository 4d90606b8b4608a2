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

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/arrowbatch"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

// WorkerArgument is the only argument of a program that is to be a worker.
const WorkerArgument = "query-worker"

// Work runs a worker. It reads its settings and then its one task from the standard input, writes the result to answerOutput and what
// became of the task to eventsOutput, and returns the exit status. Nothing else in the process can write to the result: the standard
// output, which DuckDB can be made to write to, is a bounded log.
func Work() int {
	nothing := func() error { return nil }
	return work(probe{nothing, nothing})
}

// probe is what a test does in a worker, before it is locked in and after.
type probe struct{ open, locked func() error }

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
		_ = events.Encode(event{Failure: &failed{failure.Kind.Error(), failure.Message, failure.Line, failure.Column}}) // else the server sees that it is missing
		return 1
	}
	answer := os.NewFile(sandbox.FirstOutput+answerOutput, "answer")
	told := json.NewDecoder(os.Stdin)
	var ready settings
	if err := told.Decode(&ready); err != nil {
		return fail(fmt.Errorf("read the settings: %w", err))
	}
	if err := p.open(); err != nil {
		return fail(err)
	}
	engine, err := readyEngine(ready)
	if err != nil {
		return fail(err)
	}
	var t task
	if err := told.Decode(&t); errors.Is(err, io.EOF) { // the server ends, and never had one
		return 0
	} else if err != nil {
		return fail(fmt.Errorf("read the task: %w", err))
	}
	protections, err := engine.bindTo(&t)
	if err != nil {
		return fail(err)
	}
	if err := events.Encode(event{Confined: &protections}); err != nil {
		return fail(fmt.Errorf("report the protections: %w", err))
	}
	if err := p.locked(); err != nil {
		return fail(err)
	}
	outcome, err := run(engine, &t, &beginning{out: answer, tell: func() error { return events.Encode(event{Begins: true}) }})
	if err != nil {
		return fail(err)
	}
	if answer.Close() != nil || events.Encode(event{Done: &outcome}) != nil { // nobody waits for the process to end
		return 1
	}
	return 0
}

// madeAhead is how much of a result DuckDB may hold that is not taken yet. It counts rows without the text of their strings, so the
// megabyte it takes by itself is hundreds of megabytes of long transcripts. Results leave no slower with less.
const madeAhead = "64KB"

// readyEngine bounds what the process may take, opens DuckDB and makes the relations, which are still of nobody and hold no rows.
func readyEngine(s settings) (*engine, error) {
	if err := sandbox.LimitMemory(s.Memory); err != nil {
		return nil, err
	}
	engine, err := openEngine(map[string]string{"memory_limit": strconv.FormatInt(s.Memory, 10) + "B", "threads": "1", "temp_directory": ""})
	if err != nil {
		return nil, err
	}
	// The many small statements that make the relations have nothing for an optimizer or a second thread to do, and take half as long without.
	return engine, engine.run("PRAGMA disable_optimizer;" + warehouse.CreateQueryViews() + "PRAGMA enable_optimizer;" +
		"SET threads = " + strconv.Itoa(s.Threads) + "; SET streaming_buffer_size = '" + madeAhead + "';")
}

// unordered tells whether the format is one that large results are taken in: rows leave as they are made, in no order but what the statement
// asks for. To keep them in that of the files, batch by batch, takes a tenth of the time.
func (t *task) unordered() bool { return t.Format == Arrow || t.Format == Parquet }

// bindTo opens the files of the task, makes the views read them, and confines the process. It returns the protections that are active.
func (e *engine) bindTo(t *task) (sandbox.Protections, error) {
	var active sandbox.Protections
	files, names, err := openFiles(t)
	if err != nil {
		return active, err
	}
	if err := sandbox.LimitCPU(t.CPU); err != nil {
		return active, err
	}
	script := warehouse.BindQueryViews(names)
	if t.unordered() {
		script += "SET preserve_insertion_order = false;"
	}
	if err := e.run(script); err != nil {
		return active, err
	}
	if active, err = sandbox.Confine(sandbox.Policy{ReadFiles: files, AllowUnsupported: t.Unsandbox}); err != nil {
		return active, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return active, e.run(warehouse.LockQueryViews(names))
}

// openFiles opens the files of the task, for as long as the process lives, and names each by its descriptor. What is published or removed
// from now on changes nothing.
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

func openFirst(dirs []string, name string) (fd int, err error) {
	for _, dir := range dirs {
		if fd, err = syscall.Open(filepath.Join(dir, name), syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0); !errors.Is(err, syscall.ENOENT) {
			break
		}
	}
	return fd, err
}

// beginning tells once that the result begins, before its first byte leaves.
type beginning struct {
	out  io.Writer
	tell func() error
	told bool
}

func (b *beginning) Write(p []byte) (int, error) {
	if !b.told {
		b.told = true
		if err := b.tell(); err != nil {
			return 0, err
		}
	}
	return b.out.Write(p)
}

// ahead is how much of a result is held back, so that what fails early fails before its first byte.
const ahead = 256 << 10

// run runs the task's statement and writes its result. Nothing of it is let go, since the process ends with it.
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
	if err := rows.each(func(batch arrow.RecordBatch) error { return outcome.take(batch, t, encoder) }); err != nil && !errors.Is(err, errEnough) {
		return outcome, err
	}
	if err := encoder.end(outcome); err != nil {
		return outcome, err
	}
	return outcome, sink.Flush()
}

// query makes the statement's rows ready: pushed where that may be, which is the quicker way.
func (s *statement) query(t *task) (*rows, error) {
	if t.unordered() {
		if r, err := s.push(); err != nil || r != nil {
			return r, err
		}
	}
	return s.pull()
}

// errEnough says that no more rows are wanted.
var errEnough = errors.New("no more rows are wanted")

// take writes rows as far as the limits of the task allow. If a limit is reached, it returns errEnough.
func (o *Outcome) take(batch arrow.RecordBatch, t *task, encoder encoder) error {
	if left := t.Limit - o.Rows; batch.NumRows() > left {
		if o.Truncated = truncatedRows; left == 0 {
			return errEnough
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
		return errEnough
	}
	return nil
}

// sink buffers a result, counts its bytes, and takes at most as many as the result may have. Encoders leave room for
// what they still have to write; a write beyond the limit is an error of the encoder, and ends the result.
type sink struct {
	*bufio.Writer
	most    int64 // bytes
	written int64 // bytes
}

func newSink(out io.Writer, most int64) *sink {
	return &sink{Writer: bufio.NewWriterSize(out, ahead), most: most}
}

// room returns how many bytes the result may still have.
func (s *sink) room() int64 { return s.most - s.written }

// begin writes the head of a result, unless the limit leaves no room for it and for the reserved bytes after it.
func (s *sink) begin(head []byte, reserve int64) error {
	if need := int64(len(head)) + reserve; need > s.room() {
		return limitTooSmall(need, s.room())
	}
	_, err := s.Write(head)
	return err
}

// limitTooSmall is the failure of a result whose limit leaves no room for its format alone.
func limitTooSmall(need, most int64) error {
	return &Failure{Kind: ErrLimitTooSmall, Message: fmt.Sprintf("The result takes at least %d bytes in this format without any row, and may have %d", need, most)}
}

func (s *sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.room() {
		return 0, fmt.Errorf("write %d bytes of a result with room for %d", len(p), s.room())
	}
	n, err := s.Writer.Write(p)
	s.written += int64(n)
	return n, err
}
