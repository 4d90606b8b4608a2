package filereader

import (
	"bufio"
	"context"
	"encoding/binary"
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
	MaxColumns = 10_000    // columns, including nested ones
	Memory     = 512 << 20 // bytes for the parser, in addition to the runtime of the child

	minTime      = time.Minute
	timePerMByte = time.Second
	// waitFactor multiplied by the CPU time of a child is the time for which the parent waits. The child shares the CPU
	// with other processes, so it takes longer than its CPU time.
	waitFactor = 2
	// maxChildren is the maximum number of concurrent children. Further files wait.
	maxChildren = 4
	maxMessage  = 500  // bytes of an error text of a child; the rest is cut off
	maxLogged   = 1000 // bytes of the standard error of a child in the log
)

// TimeFor returns the CPU time that a child may use for a file of size bytes.
func TimeFor(size int64) time.Duration {
	return minTime + time.Duration(size/1_000_000)*timePerMByte
}

const (
	outputs        = 1                             // pipes from a child
	fileDescriptor = sandbox.FirstOutput + outputs // descriptor of the file in the child
)

// A task is the message of the parent to a child on its standard input. The first one sets the limits of the child.
type task struct {
	Format  string        `json:"format"`
	Dataset string        `json:"dataset"`
	CPU     time.Duration `json:"cpu"` // limit of the child
}

// The output of a child consists of frames: a length of 32 bits, and as many bytes. The frames of a file are rows, then
// one without bytes, then a verdict.
const frameHead = 4

// A verdict is the message of a child to the parent after the rows of a file.
type verdict struct {
	Error string `json:"error"` // empty if all rows were written
	// Tail is set if the child could read the file with another end: with Tail instead of the bytes from the offset From
	// on. A new child then reads the file from its beginning, and writes rows again that this child has written.
	Tail []byte `json:"tail,omitempty"`
	From int64  `json:"from,omitempty"`
}

// maxVerdict is the maximum length of a verdict as JSON, in bytes.
const maxVerdict = 32 << 20

// An Error is the reason why a file could not be read, or not to its end. Clients may see it.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

// children limits the number of children of this process, and so their total memory.
var children = semaphore.NewWeighted(maxChildren)

// A child is a process that reads one file after another from the same descriptor.
type child struct {
	log     *slog.Logger
	process *sandbox.Process
	output  *bufio.Reader
	frame   uint32        // bytes of the current frame that were not read
	stop    func() bool   // ends killing the child when its context ends
	cpu     time.Duration // CPU time limit
	format  string        // of its files
	used    bool          // it has read a file
	direct  bool          // its file is not the scratch file of the session
	last    verdict
}

// Options specify how to read files.
type Options struct {
	Command []string     // command that starts a child, see Command
	Dataset string       // name of the dataset of the rows; other columns are named, but not read
	Log     *slog.Logger // receives failures of children
}

// start starts a child for file, which must be open for reading only. It waits if maxChildren children are running. The
// child is killed when ctx ends.
func start(ctx context.Context, file *os.File, format string, o Options) (_ *child, err error) {
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
	sandbox.WidenPipe(process.Outputs[0])
	return &child{log: o.Log, process: process, output: bufio.NewReader(process.Outputs[0]), cpu: TimeFor(info.Size()),
		format: format, stop: context.AfterFunc(ctx, process.Kill)}, nil
}

// allocation is the environment of a child. A single malloc arena keeps its memory small.
var allocation = []string{"MALLOC_ARENA_MAX=1"}

// send makes the child read its file.
func (c *child) send(dataset string) error {
	err := json.NewEncoder(c.process.Input).Encode(task{c.format, dataset, c.cpu})
	if err != nil && !errors.Is(err, syscall.EPIPE) { // the first read returns the reason if the child has died
		return fmt.Errorf("send the task to the file reader: %w", err)
	}
	return nil
}

// close kills the child if it still runs, and releases its slot.
func (c *child) close() {
	c.stop()
	c.process.Close()
	children.Release(1)
}

// next reads the head of a frame if the current one has no more bytes. It returns io.EOF if the child has ended.
func (c *child) next() error {
	if c.frame > 0 {
		return nil
	}
	var head [frameHead]byte
	if _, err := io.ReadFull(c.output, head[:]); err != nil {
		return err
	}
	c.frame = binary.LittleEndian.Uint32(head[:])
	return nil
}

// read reads rows. It returns io.EOF at the end of a file that was read completely, and an *Error if the child could
// not read it, or has died.
func (c *child) read(p []byte) (n int, err error) {
	if err = c.next(); err == nil && c.frame > 0 {
		n, err = c.output.Read(p[:min(len(p), int(c.frame))])
		c.frame -= uint32(n)
	} else if err == nil {
		if c.last, err = c.verdict(); err == nil && c.last.Error == "" {
			return 0, io.EOF
		} else if err == nil {
			message := strings.ToValidUTF8(c.last.Error, "\uFFFD")
			return 0, &Error{strings.ToValidUTF8(message[:min(len(message), maxMessage)], "")}
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.death()
	}
	return n, err
}

// verdict reads the verdict on the file.
func (c *child) verdict() (v verdict, err error) {
	if err = c.next(); err != nil {
		return v, err
	}
	text := make([]byte, min(c.frame, maxVerdict))
	if _, err = io.ReadFull(c.output, text); err != nil {
		return v, err
	}
	c.frame = 0
	if json.Unmarshal(text, &v) != nil {
		v.Error = "the file reader failed on this file"
	}
	return v, nil
}

// death returns an *Error with the reason why the child has died.
func (c *child) death() error {
	c.process.Kill()
	state := c.process.Wait()
	stderr := c.process.Stderr()
	reason := fmt.Sprintf("the file reader failed on this file (%s)", state)
	switch {
	case state.UserTime()+state.SystemTime() >= c.cpu:
		reason = fmt.Sprintf("reading the file takes more than %s of CPU time", c.cpu)
	case strings.Contains(stderr, "out of memory"), strings.Contains(stderr, "cannot allocate memory"),
		strings.Contains(stderr, "bad_alloc"):
		reason = tooMuchMemory
	}
	c.log.Error("file reader died", "reason", reason, "state", state.String(),
		"stderr", stderr[:min(len(stderr), maxLogged)])
	return &Error{reason}
}

// tooMuchMemory is the reason if a child reaches its memory limit.
var tooMuchMemory = fmt.Sprintf("reading the file needs more than %d MiB of memory", Memory>>20)

// Rows is a reader of the rows of a file as NDJSON. It is not safe for concurrent use.
type Rows struct {
	ctx     context.Context
	child   *child
	session *Session
	file    *os.File      // that is read instead of the scratch file; nil: none
	mended  bool          // the tail of the file was replaced
	wait    time.Duration // remaining time that Read may wait for the child
	read    int64         // bytes that Read returned
	skip    int64         // bytes to skip, which Read returned from the former child
	ended   error         // result of all further calls of Read; nil while rows may follow
}

// Read reads NDJSON. It returns io.EOF after the last row, an *Error if the child could not read the whole file, or
// the error of the context. The total time that Read waits for the child is limited, and a child that exceeds it is
// killed.
func (r *Rows) Read(p []byte) (int, error) {
	for r.ended == nil {
		n, err := r.receive(p)
		if failure := (*Error)(nil); errors.As(err, &failure) {
			switch {
			case r.child.last.Tail != nil && !r.mended:
				err = r.mend(r.child.last)
			case r.child.used:
				err = r.readAgain()
			}
		}
		if r.ended = err; n == 0 {
			continue
		}
		skipped := int(min(int64(n), r.skip))
		r.skip -= int64(skipped)
		if n -= skipped; n > 0 {
			copy(p, p[skipped:skipped+n])
			r.read += int64(n)
			return n, nil
		}
	}
	return 0, r.ended
}

// receive reads from the child.
func (r *Rows) receive(p []byte) (int, error) {
	start := time.Now()
	if err := r.child.process.Outputs[0].SetReadDeadline(start.Add(r.wait)); err != nil {
		return 0, fmt.Errorf("set the deadline of the file reader: %w", err)
	}
	n, err := r.child.read(p)
	r.wait -= time.Since(start)
	failure := (*Error)(nil)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case r.ctx.Err() != nil:
		return n, r.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.child.process.Kill()
		err = &Error{fmt.Sprintf("reading the file takes longer than %s", waitFactor*r.child.cpu)}
		r.child.log.Warn("file reader killed", "error", err)
	case !errors.As(err, &failure):
		err = fmt.Errorf("read from the file reader: %w", err)
	}
	return n, err
}

// Close ends the child, unless the session can use it for another file.
func (r *Rows) Close() {
	if r.child.direct || !errors.Is(r.ended, io.EOF) {
		r.session.endChild()
	}
}
