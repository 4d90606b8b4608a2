package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// FirstOutput is the descriptor of a child's first output. The others follow it, and after them the inherited files.
const FirstOutput = 3

// Command describes a child process.
type Command struct {
	Args    []string   // executable and its arguments
	Env     []string   // complete environment
	Outputs int        // number of pipes from the child, on its descriptors FirstOutput, FirstOutput+1, …
	Files   []*os.File // files that the child inherits on the descriptors after its outputs; the caller closes them
}

// Process is a child process. Its methods may be called by several goroutines.
type Process struct {
	Input   *os.File   // write end of the child's standard input
	Outputs []*os.File // read ends of the child's outputs

	pid    int
	stderr head
	done   chan struct{} // closed when the child has ended
	state  *os.ProcessState
}

// Start starts a child process in "/", in a process group of its own. The kernel kills it when this process ends. The
// caller must call Close.
func Start(c Command) (*Process, error) {
	p := &Process{done: make(chan struct{})}
	theirs := make([]*os.File, 1+c.Outputs) // the child's ends: standard input, outputs
	err := p.openPipes(theirs)
	defer closeAll(theirs...)
	if err != nil {
		closeAll(append(p.Outputs, p.Input)...)
		return nil, err
	}
	child := exec.Command(c.Args[0], c.Args[1:]...) //nolint:noctx // Kill ends the whole process group
	// The child closes all descriptors from this one on before it does anything else: see close_inherited.
	child.Env = append(slices.Clip(c.Env), fmt.Sprintf("VOICORY_CHILD_DESCRIPTORS=%d", FirstOutput+c.Outputs+len(c.Files)))
	child.Dir = "/"
	child.Stdin, child.Stdout, child.Stderr = theirs[0], &p.stderr, &p.stderr
	child.ExtraFiles = slices.Concat(theirs[1:], c.Files)
	child.SysProcAttr = processAttributes()
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, so the thread must not be reused.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := child.Start()
		if err == nil {
			p.pid = child.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		_ = child.Wait() // the state has the result
		p.state = child.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		closeAll(append(p.Outputs, p.Input)...)
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	return p, nil
}

// openPipes opens the pipes of a child: theirs[0] is its standard input, the rest its outputs.
func (p *Process) openPipes(theirs []*os.File) (err error) {
	if theirs[0], p.Input, err = os.Pipe(); err != nil {
		return fmt.Errorf("open a pipe to a child process: %w", err)
	}
	for i := range theirs[1:] {
		var output *os.File
		if output, theirs[1+i], err = os.Pipe(); err != nil {
			return fmt.Errorf("open a pipe from a child process: %w", err)
		}
		p.Outputs = append(p.Outputs, output)
	}
	return nil
}

// PID returns the process id of the child.
func (p *Process) PID() int { return p.pid }

// Done returns a channel that is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the child has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill kills the child and its process group. It does not wait.
func (p *Process) Kill() {
	if !p.Ended() { // else the id may belong to another process
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // fails if the child ends at this moment
	}
}

// Wait waits until the child has ended and returns its state.
func (p *Process) Wait() *os.ProcessState {
	<-p.done
	return p.state
}

// Stderr returns the first bytes that the child wrote to its standard output and standard error, at most 8 KiB. A Go
// program that crashes prints the reason first.
func (p *Process) Stderr() string { return p.stderr.String() }

// Close kills the child, waits for its end and closes the pipes.
func (p *Process) Close() {
	p.Kill()
	<-p.done
	closeAll(append(p.Outputs, p.Input)...)
}

func closeAll(files ...*os.File) {
	for _, file := range files {
		if file != nil {
			file.Close()
		}
	}
}

// head is a writer that keeps the first maxHead bytes and discards the rest.
type head struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxHead = 8 << 10

func (t *head) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if free := maxHead - len(t.text); free > 0 {
		t.text = append(t.text, p[:min(free, len(p))]...)
	}
	return len(p), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
