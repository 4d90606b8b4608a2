package filereader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/voicory/warehouse/warehouse/sandbox"
)

// Formats of a file.
const (
	Parquet = "parquet"
	Arrow   = "arrow"
)

// Limits of a file. The child checks the schema before it reads data. The kernel enforces the limits of memory and
// CPU time.
const (
	MaxDepth   = 16        // nested lists, or nested structs, of a column
	MaxColumns = 2000      // columns, including nested ones
	Memory     = 512 << 20 // bytes for the parser, in addition to the runtime of the child

	minTime      = time.Minute
	timePerMByte = time.Second
	// waitFactor times its CPU time is how long the parent waits for a child, which shares the CPU with other
	// processes.
	waitFactor = 2
	// maxChildren is the maximum number of concurrent children. Further calls of Open wait.
	maxChildren = 4
	maxMessage  = 500  // bytes of an error text of a child; the rest is cut off
	maxLogged   = 1000 // bytes of the standard error of a child in the log
)

// TimeFor returns the CPU time that a child may use for a file of size bytes.
func TimeFor(size int64) time.Duration {
	return minTime + time.Duration(size/1_000_000)*timePerMByte
}

// Outputs of a child: the rows as NDJSON, and after them a verdict.
const (
	rowsOutput = iota
	verdictOutput
	outputs
	fileDescriptor = sandbox.FirstOutput + outputs // descriptor of the file in the child
)

// A task is the message of the parent to a child on its standard input.
type task struct {
	Format  string        `json:"format"`
	Dataset string        `json:"dataset"`
	CPU     time.Duration `json:"cpu"` // limit
}

// A verdict is the message of a child to the parent after the rows.
type verdict struct {
	Error string `json:"error"` // empty if all rows were written
}

// An Error is the reason why a file could not be read, or not to its end. Clients may see it.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

// children limits the number of children of this process, and so their total memory.
var children = semaphore.NewWeighted(maxChildren)

// Rows is a reader of the rows of a file as NDJSON. It is not safe for concurrent use.
type Rows struct {
	ctx     context.Context
	log     *slog.Logger
	process *sandbox.Process
	stop    func() bool   // ends killing the child when ctx ends
	cpu     time.Duration // CPU time limit of the child
	wait    time.Duration // remaining time that Read may wait for the child
	ended   error         // result of all further calls of Read; nil while rows may follow
}

// Options specify how to read a file.
type Options struct {
	Command []string     // command that starts a child, see Command
	Format  string       // Parquet or Arrow
	Dataset string       // name of the dataset of the rows; other columns are named, but not read
	Log     *slog.Logger // receives failures of children
}

// Open starts a child that reads file, which must be open for reading only and positioned at its start. It waits if
// maxChildren children are running. The child is killed when ctx ends. The caller must close the returned rows. It
// may close file as soon as Open has returned.
func Open(ctx context.Context, file *os.File, o Options) (_ *Rows, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the file's size: %w", err)
	}
	if err := children.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	command := sandbox.Command{Args: o.Command, Env: allocation, Outputs: outputs, Files: []*os.File{file}}
	process, err := sandbox.Start(command)
	if err != nil {
		children.Release(1)
		return nil, fmt.Errorf("start a file reader: %w", err)
	}
	cpu := TimeFor(info.Size())
	r := &Rows{ctx: ctx, log: o.Log, process: process, cpu: cpu, wait: waitFactor * cpu}
	r.stop = context.AfterFunc(ctx, process.Kill)
	sandbox.WidenPipe(process.Outputs[rowsOutput])
	err = json.NewEncoder(process.Input).Encode(task{o.Format, o.Dataset, cpu})
	if err != nil && !errors.Is(err, syscall.EPIPE) { // Read returns the reason if the child has died
		r.Close()
		return nil, fmt.Errorf("send the task to the file reader: %w", err)
	}
	return r, nil
}

// allocation is the environment of a child. A single malloc arena keeps its memory small.
var allocation = []string{"MALLOC_ARENA_MAX=1"}

// Read reads NDJSON. It returns io.EOF after the last row, an *Error if the child could not read the whole file, or
// the error of the context. The total time that Read waits for the child is limited, and a child that exceeds it is
// killed.
func (r *Rows) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	start := time.Now()
	rows := r.process.Outputs[rowsOutput]
	if err := rows.SetReadDeadline(start.Add(r.wait)); err != nil {
		return 0, fmt.Errorf("set the deadline of the file reader: %w", err)
	}
	n, err := rows.Read(p)
	r.wait -= time.Since(start)
	switch {
	case err == nil:
		return n, nil
	case r.ctx.Err() != nil:
		r.ended = r.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.process.Kill()
		r.ended = &Error{fmt.Sprintf("reading the file takes longer than %s", waitFactor*r.cpu)}
		r.log.Warn("file reader killed", "error", r.ended)
	case errors.Is(err, io.EOF):
		r.ended = r.verdict()
	default:
		r.ended = fmt.Errorf("read from the file reader: %w", err)
	}
	return 0, r.ended
}

// verdict reads the verdict of the child after its last row. It returns io.EOF if the rows are complete, an *Error if
// the file could not be read or the child died, or the error of the context.
func (r *Rows) verdict() error {
	var v verdict
	output := r.process.Outputs[verdictOutput]
	if err := output.SetReadDeadline(time.Now().Add(r.wait)); err != nil {
		return fmt.Errorf("set the deadline of the file reader: %w", err)
	}
	err := json.NewDecoder(io.LimitReader(output, 16*maxMessage)).Decode(&v)
	switch {
	case err == nil && v.Error == "":
		return io.EOF
	case err == nil:
		message := strings.ToValidUTF8(v.Error, "\uFFFD")
		return &Error{strings.ToValidUTF8(message[:min(len(message), maxMessage)], "")}
	}
	r.process.Kill()
	state := r.process.Wait()
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	stderr := r.process.Stderr()
	reason := fmt.Sprintf("the file reader failed on this file (%s)", state)
	switch {
	case state.UserTime()+state.SystemTime() >= r.cpu:
		reason = fmt.Sprintf("reading the file takes more than %s of CPU time", r.cpu)
	case strings.Contains(stderr, "out of memory"), strings.Contains(stderr, "cannot allocate memory"),
		strings.Contains(stderr, "bad_alloc"):
		reason = tooMuchMemory
	}
	r.log.Error("file reader died", "reason", reason, "state", state.String(),
		"stderr", stderr[:min(len(stderr), maxLogged)])
	return &Error{reason}
}

// tooMuchMemory is the reason if a child reaches its memory limit.
var tooMuchMemory = fmt.Sprintf("reading the file needs more than %d MiB of memory", Memory>>20)

// Close kills the child if it still runs, and releases its slot.
func (r *Rows) Close() {
	r.stop()
	r.process.Close()
	children.Release(1)
}
