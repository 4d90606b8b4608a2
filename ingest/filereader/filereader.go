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

// Limits of a file. A child enforces those of the schema before it reads data; the kernel enforces the others.
const (
	MaxDepth   = 16        // nested lists, and nested structs, of a column
	MaxColumns = 2000      // columns, those within others included
	Memory     = 512 << 20 // bytes that the parser may take, beside the child's runtime

	minTime      = time.Minute
	timePerMByte = time.Second
	// waitFactor is how much longer than its processor time the parent waits for a child: it shares the processor with others.
	waitFactor = 2
	// maxChildren is the number of files that are read at the same time. Further ones wait.
	maxChildren = 4
	maxMessage  = 500  // bytes of a child's reason that are kept
	maxLogged   = 1000 // bytes of a child's standard error that are logged
)

// TimeFor returns the processor time that reading a file of the given bytes may take.
func TimeFor(size int64) time.Duration {
	return minTime + time.Duration(size/1_000_000)*timePerMByte
}

// Outputs of a child: rows are the lines, and the verdict follows them.
const (
	rowsOutput = iota
	verdictOutput
	outputs
	fileDescriptor = sandbox.FirstOutput + outputs // of the file in the child
)

// task is what the parent sends to a child.
type task struct {
	Format  string        `json:"format"`
	Dataset string        `json:"dataset"`
	CPU     time.Duration `json:"cpu"`
}

// verdict is what a child sends after the rows.
type verdict struct {
	Error string `json:"error"` // empty: the rows are complete
}

// Error is the reason for which a file could not be read, or not to its end. It is safe to be shown to the client.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

// children limits the child processes of this program, and so their memory.
var children = semaphore.NewWeighted(maxChildren)

// Rows are the rows of a file as NDJSON.
type Rows struct {
	ctx     context.Context
	log     *slog.Logger
	process *sandbox.Process
	stop    func() bool
	cpu     time.Duration // limit of the child
	wait    time.Duration // left of the time that Read waits for the child
	ended   error         // returned by Read from now on
}

// Options of a file to be read.
type Options struct {
	Command []string // starts a child
	Format  string   // Parquet or Arrow
	Dataset string   // of the rows; columns that it does not have are named, but not read
	Log     *slog.Logger
}

// Open starts to read a file, which must be opened for reading only and positioned at its begin. It waits while many files are being
// read. When the context ends, so does the child. The caller closes the rows, and the file once Open has returned.
func Open(ctx context.Context, file *os.File, o Options) (_ *Rows, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the file's size: %w", err)
	}
	if err := children.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	process, err := sandbox.Start(sandbox.Command{Args: o.Command, Env: allocation, Outputs: outputs, Files: []*os.File{file}})
	if err != nil {
		children.Release(1)
		return nil, fmt.Errorf("start a file reader: %w", err)
	}
	cpu := TimeFor(info.Size())
	r := &Rows{ctx: ctx, log: o.Log, process: process, cpu: cpu, wait: waitFactor * cpu}
	r.stop = context.AfterFunc(ctx, process.Kill)
	sandbox.WidenPipe(process.Outputs[rowsOutput])
	err = json.NewEncoder(process.Input).Encode(task{o.Format, o.Dataset, cpu})
	if err != nil && !errors.Is(err, syscall.EPIPE) { // a child that has died already is found by Read
		r.Close()
		return nil, fmt.Errorf("send to the file reader: %w", err)
	}
	return r, nil
}

// allocation is the environment of a child: one arena of the C library keeps its memory small.
var allocation = []string{"MALLOC_ARENA_MAX=1"}

// Read reads lines. It returns io.EOF after the last row of the file, an *Error if the child could not read all of it, or the context's
// error. The time that it waits for the child is limited, so a child that hangs ends, too.
func (r *Rows) Read(p []byte) (int, error) {
	if r.ended != nil {
		return 0, r.ended
	}
	start := time.Now()
	rows := r.process.Outputs[rowsOutput]
	if err := rows.SetReadDeadline(start.Add(r.wait)); err != nil {
		return 0, fmt.Errorf("limit the time of the file reader: %w", err)
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
		r.ended = &Error{fmt.Sprintf("reading it takes longer than %s", waitFactor*r.cpu)}
		r.log.Warn("file reader killed", "error", r.ended)
	case errors.Is(err, io.EOF):
		r.ended = r.verdict()
	default:
		r.ended = fmt.Errorf("read from the file reader: %w", err)
	}
	return 0, r.ended
}

// verdict returns how the child has ended after its last row: io.EOF, or the reason for which rows are missing.
func (r *Rows) verdict() error {
	var v verdict
	output := r.process.Outputs[verdictOutput]
	if err := output.SetReadDeadline(time.Now().Add(r.wait)); err != nil {
		return fmt.Errorf("limit the time of the file reader: %w", err)
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
	reason := fmt.Sprintf("the file makes its reader fail (%s)", state)
	switch {
	case state.UserTime()+state.SystemTime() >= r.cpu:
		reason = fmt.Sprintf("reading it takes more than %s of processor time", r.cpu)
	case strings.Contains(stderr, "out of memory") || strings.Contains(stderr, "cannot allocate memory") || strings.Contains(stderr, "bad_alloc"):
		reason = tooMuchMemory
	}
	r.log.Error("file reader died", "reason", reason, "state", state.String(), "stderr", stderr[:min(len(stderr), maxLogged)])
	return &Error{reason}
}

var tooMuchMemory = fmt.Sprintf("reading it needs more than %d MiB of memory", Memory>>20)

// Close ends the child.
func (r *Rows) Close() {
	r.stop()
	r.process.Close()
	children.Release(1)
}
