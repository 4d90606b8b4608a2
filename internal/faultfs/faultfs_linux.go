package faultfs

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An Op is a kind of operation of a file system.
type Op string

// Operations. Truncate includes the reservation of space; SetAttr is a change of the mode, the owner or the times.
const (
	Open     Op = "open"
	Create   Op = "create"
	Read     Op = "read"
	Write    Op = "write"
	Truncate Op = "truncate"
	SetAttr  Op = "setattr"
	Fsync    Op = "fsync"
	FsyncDir Op = "fsyncdir"
	Unlink   Op = "unlink"
	Rename   Op = "rename"
	Link     Op = "link"
	Mkdir    Op = "mkdir"
	Rmdir    Op = "rmdir"
	ReadDir  Op = "readdir"
)

// Changes lists the operations that change the file system or make a change durable.
var Changes = []Op{Create, Write, Truncate, SetAttr, Fsync, FsyncDir, Unlink, Rename, Link, Mkdir, Rmdir}

// A Rule makes operations fail. If several rules make an operation fail, the newest one decides. While a rule with the
// error ENOSPC has an effect, the file system reports no free space.
type Rule struct {
	Ops []Op // operations that match; empty: Changes
	// Path is a pattern of [path.Match]. It is compared with the path relative to the root of the file system, or with
	// its last element if the pattern has no slash. A pattern that ends in a slash matches everything below a folder.
	// A rename or a link matches if one of its two paths does. Empty: every path.
	Path  string
	Skip  int           // matching operations that succeed before the first one that fails
	Count int           // operations that fail, after which the rule has no effect; 0: all until Remove
	Errno syscall.Errno // error; 0: no operation fails, and the rule records the hits
	// Short makes a write store only the first half of its data. It then returns the error or, if Errno is 0, this length.
	Short bool
}

// A Hit is an operation that a rule has matched after the first Skip ones.
type Hit struct {
	Op   Op
	Path string // relative to the root of the file system; of a rename: the new path
}

// Options are the settings of a file system.
type Options struct {
	// Recording keeps the content of changes that are not durable in memory, which PowerCut requires.
	Recording bool
}

// ErrUnavailable is returned by Mount if this machine does not let the process mount file systems.
var ErrUnavailable = errors.New("no file system can be mounted")

// An FS is a mounted file system. It is safe for concurrent use. Its methods panic if the process that serves the file
// system has ended.
type FS struct {
	mount string
	child *exec.Cmd

	input    io.Closer  // of the child process, which ends when it is closed
	mu       sync.Mutex // held during a request
	requests *gob.Encoder
	replies  *gob.Decoder
}

// New mounts a new folder and unmounts it at the end of the test. It skips the test if that is not possible.
func New(t testing.TB, options Options) *FS {
	t.Helper()
	dir := t.TempDir()
	disk, mount := filepath.Join(dir, "disk"), filepath.Join(dir, "mount")
	if err := errors.Join(os.Mkdir(disk, 0o700), os.Mkdir(mount, 0o700)); err != nil {
		t.Fatal(err)
	}
	f, err := Mount(disk, mount, options)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// Mount mounts the content of the folder disk at the folder mount. The caller must close the file system.
func Mount(disk, mount string, options Options) (_ *FS, err error) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	device.Close()
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &FS{mount: mount, child: exec.Command(program)} //nolint:noctx // ends when its input is closed
	f.child.Env = append(os.Environ(), childVariable+"=1")
	f.child.Stderr = os.Stderr
	f.child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the tests must not end it first
	out, err := f.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := f.child.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := f.child.Start(); err != nil {
		return nil, err
	}
	f.input, f.requests, f.replies = in, gob.NewEncoder(in), gob.NewDecoder(out)
	got, err := f.try(request{Kind: mountRequest, Disk: disk, Folder: mount, Options: options})
	if err == nil {
		return f, nil
	}
	if got.Errno == syscall.EPERM || got.Errno == syscall.EACCES {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil, errors.Join(err, f.Close())
}

// Path returns the folder at which the file system is mounted.
func (f *FS) Path() string { return f.mount }

// Add adds a rule before all others.
func (f *FS) Add(rule Rule) *Fault {
	return &Fault{f, f.call(request{Kind: addRequest, Rule: rule}).Fault}
}

// PowerCut writes to a new folder a possible content of the disk if the power fails now. The file system itself is not
// changed. The seed decides for each page of data that was not synced whether it survives. Of the changes of names that
// were not synced, those up to one change survive. The sync of a file includes its names, as on ext4, XFS and Btrfs.
// Data of a failed sync is there or not, too, even if a later sync of the file succeeds.
func (f *FS) PowerCut(folder string, seed uint64) {
	f.call(request{Kind: cutRequest, Folder: folder, Seed: seed})
}

// try sends a request to the child process and returns its reply.
func (f *FS) try(r request) (reply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var got reply
	if err := f.requests.Encode(r); err != nil {
		return got, err
	}
	if err := f.replies.Decode(&got); err != nil {
		return got, err
	}
	if got.Error != "" {
		return got, errors.New(got.Error)
	}
	return got, nil
}

// call is try for requests that do not fail.
func (f *FS) call(r request) reply {
	got, err := f.try(r)
	if err != nil {
		panic(fmt.Sprintf("faultfs: %v", err))
	}
	return got
}

// Close unmounts the file system. Files that are open fail from then on.
func (f *FS) Close() error {
	closed := f.input.Close()
	ended := make(chan error, 1)
	go func() { ended <- f.child.Wait() }()
	select {
	case err := <-ended:
		return errors.Join(closed, err)
	case <-time.After(time.Minute):
		return errors.Join(closed, f.child.Process.Kill(), <-ended)
	}
}

// A Fault is a rule of a mounted file system.
type Fault struct {
	fs *FS
	id int
}

// Remove ends the effect of the rule.
func (f *Fault) Remove() { f.fs.call(request{Kind: removeRequest, Fault: f.id}) }

// Hits returns the operations that the rule has matched, in their order.
func (f *Fault) Hits() []Hit { return f.fs.call(request{Kind: hitsRequest, Fault: f.id}).Hits }
