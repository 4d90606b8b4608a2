package faultfs

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A node is a file or a folder. It checks the rules and records changes, and leaves the rest to go-fuse.
type node struct {
	fs.LoopbackNode
	s *server
}

// node returns a node of the file system.
func (s *server) node(data *fs.LoopbackRoot) *node {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: data}, s: s}
}

// WrapChild returns the node of a file or folder that go-fuse has found.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return n.s.node(n.RootData)
}

// A handle is an open file. It is always open for reading, because the recorder reads the bytes that a write replaces.
type handle struct {
	*fs.LoopbackFile
	path string // when it was opened
}

// PassthroughFd keeps the kernel from reading and writing the file without this process.
func (h *handle) PassthroughFd() (int, bool) { return 0, false }

// fd returns the descriptor of the file, which stays open until the handle is released.
func (h *handle) fd() int {
	fd, _ := h.LoopbackFile.PassthroughFd()
	return fd
}

// rel returns the path of the node, or of an entry of the folder, relative to the root.
func (n *node) rel(name ...string) string {
	return filepath.Join(append([]string{n.Path(n.Root())}, name...)...)
}

// abs returns the path of the node in the folder that is mounted.
func (n *node) abs() string { return filepath.Join(n.RootData.Path, n.rel()) }

// handlePath returns the path of an open file, which may have no name any more.
func (n *node) handlePath(h *handle) string {
	if _, parent := n.Parent(); parent == nil && !n.IsRoot() {
		return h.path
	}
	return n.rel()
}

// opened returns the handle of a file that go-fuse has opened.
func opened(file fs.FileHandle, path string) fs.FileHandle {
	return &handle{file.(*fs.LoopbackFile), path}
}

// readable returns flags of an open with which the file can be read too.
func readable(flags uint32) uint32 {
	if flags&syscall.O_ACCMODE == syscall.O_WRONLY {
		flags = flags&^syscall.O_ACCMODE | syscall.O_RDWR
	}
	return flags
}

// change calls do for a change of names, and records the names that it has changed.
func (n *node) change(do func() syscall.Errno, names ...entry) syscall.Errno {
	if !n.s.recording {
		return do()
	}
	return n.s.recorder.changeNames(do, names)
}

// Open opens the file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	path := n.rel()
	if errno, _ := n.s.check(Open, path); errno != 0 {
		return nil, 0, errno
	}
	file, out, errno := n.LoopbackNode.Open(ctx, readable(flags&^syscall.O_TRUNC))
	if errno != 0 {
		return nil, 0, errno
	}
	h := opened(file, path)
	if flags&syscall.O_TRUNC != 0 {
		if errno := n.truncate(h.(*handle), 0); errno != 0 {
			_ = h.(*handle).Release(ctx)
			return nil, 0, errno
		}
	}
	return h, out, 0
}

// Create creates and opens a file.
func (n *node) Create(
	ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut,
) (child *fs.Inode, file fs.FileHandle, fuseFlags uint32, errno syscall.Errno) {
	path := n.rel(name)
	if errno, _ := n.s.check(Create, path); errno != 0 {
		return nil, nil, 0, errno
	}
	errno = n.change(func() (errno syscall.Errno) {
		child, file, fuseFlags, errno = n.LoopbackNode.Create(ctx, name, readable(flags), mode, out)
		return errno
	}, entry{n.abs(), name})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return child, opened(file, path), fuseFlags, 0
}

// Read reads from an open file.
func (n *node) Read(ctx context.Context, f fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h := f.(*handle)
	if errno, _ := n.s.check(Read, n.handlePath(h)); errno != 0 {
		return nil, errno
	}
	return h.Read(ctx, dest, off)
}

// Write writes to an open file.
func (n *node) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	h := f.(*handle)
	failure, short := n.s.check(Write, n.handlePath(h))
	if failure != 0 && !short {
		return 0, failure
	}
	if short {
		data = data[:len(data)/2]
	}
	written := uint32(0)
	errno := n.changeData(h, change{off: off, data: data}, func() (errno syscall.Errno) {
		written, errno = h.Write(ctx, data, off)
		return errno
	})
	if failure != 0 {
		return 0, failure
	}
	return written, errno
}

// changeData calls do, which makes the change of the content of a file.
func (n *node) changeData(h *handle, c change, do func() syscall.Errno) syscall.Errno {
	if !n.s.recording {
		return do()
	}
	return n.s.recorder.changeData(h.fd(), c, do)
}

func (n *node) truncate(h *handle, size int64) syscall.Errno {
	return n.changeData(h, change{truncate: true, size: size}, func() syscall.Errno {
		return fs.ToErrno(unix.Ftruncate(h.fd(), size))
	})
}

// Allocate reserves space, extends the file, or makes a hole.
func (n *node) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	h := f.(*handle)
	if errno, _ := n.s.check(Truncate, n.handlePath(h)); errno != 0 {
		return errno
	}
	do := func() syscall.Errno { return h.Allocate(ctx, off, size, mode) }
	switch {
	case mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0:
		return n.changeData(h, change{off: int64(off), data: make([]byte, size)}, do)
	case mode&unix.FALLOC_FL_KEEP_SIZE != 0:
		return do()
	case mode != 0:
		return syscall.EOPNOTSUPP
	}
	return n.changeData(h, change{truncate: true, size: int64(off + size), grow: true}, do)
}

// CopyFileRange makes the kernel copy with reads and writes.
func (n *node) CopyFileRange(
	context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64,
) (uint32, syscall.Errno) {
	return 0, syscall.EOPNOTSUPP
}

// Setattr changes the size and other attributes of the node.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	h, _ := f.(*handle)
	path := ""
	if h != nil {
		path = n.handlePath(h)
	} else {
		path = n.rel()
	}
	size, truncates := in.GetSize()
	if truncates {
		if errno, _ := n.s.check(Truncate, path); errno != 0 {
			return errno
		}
		if h == nil {
			file, _, errno := n.LoopbackNode.Open(ctx, syscall.O_RDWR)
			if errno != 0 {
				return errno
			}
			h = opened(file, path).(*handle)
			defer func() { _ = h.Release(ctx) }()
		}
		if errno := n.truncate(h, int64(size)); errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	other := in.Valid &^ (fuse.FATTR_FH | fuse.FATTR_LOCKOWNER | fuse.FATTR_KILL_SUIDGID)
	if !truncates && other != 0 {
		if errno, _ := n.s.check(SetAttr, path); errno != 0 {
			return errno
		}
	}
	if h != nil {
		return h.Setattr(ctx, in, out)
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

// Fsync records that the file is durable. It does not sync the file on the real disk, because tests need no file after
// a real power cut.
func (n *node) Fsync(_ context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	h := f.(*handle)
	if errno, _ := n.s.check(Fsync, n.handlePath(h)); errno != 0 {
		n.s.recorder.failData(h.fd())
		return errno
	}
	n.s.recorder.syncFile(h.fd())
	return 0
}

// A dirStream is the type of the value that go-fuse returns for an open folder.
type dirStream interface {
	fs.FileReaddirenter
	fs.FileReleasedirer
	fs.FileSeekdirer
}

// A dirHandle is an open folder.
type dirHandle struct {
	dirStream
	n *node
}

// OpendirHandle opens the folder.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno, _ := n.s.check(ReadDir, n.rel()); errno != 0 {
		return nil, 0, errno
	}
	stream, out, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &dirHandle{stream.(dirStream), n}, out, 0
}

// Fsyncdir records that the names in the folder are durable.
func (d *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno {
	if errno, _ := d.n.s.check(FsyncDir, d.n.rel()); errno != 0 {
		return errno
	}
	d.n.s.recorder.syncDir(d.n.abs())
	return 0
}

// Mkdir creates a folder.
func (n *node) Mkdir(
	ctx context.Context, name string, mode uint32, out *fuse.EntryOut,
) (child *fs.Inode, errno syscall.Errno) {
	if errno, _ := n.s.check(Mkdir, n.rel(name)); errno != 0 {
		return nil, errno
	}
	errno = n.change(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	}, entry{n.abs(), name})
	return child, errno
}

// Rmdir removes an empty folder.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if errno, _ := n.s.check(Rmdir, n.rel(name)); errno != 0 {
		return errno
	}
	return n.change(func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) }, entry{n.abs(), name})
}

// Unlink removes a file.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno, _ := n.s.check(Unlink, n.rel(name)); errno != 0 {
		return errno
	}
	return n.change(func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) }, entry{n.abs(), name})
}

// Rename renames a file or a folder.
func (n *node) Rename(
	ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32,
) syscall.Errno {
	to := parent.(*node)
	if errno, _ := n.s.check(Rename, n.rel(name), to.rel(newName)); errno != 0 {
		return errno
	}
	return n.change(func() syscall.Errno {
		return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
	}, entry{n.abs(), name}, entry{to.abs(), newName})
}

// Link creates another name of a file.
func (n *node) Link(
	ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut,
) (child *fs.Inode, errno syscall.Errno) {
	if errno, _ := n.s.check(Link, target.(*node).rel(), n.rel(name)); errno != 0 {
		return nil, errno
	}
	errno = n.change(func() (errno syscall.Errno) {
		child, errno = n.LoopbackNode.Link(ctx, target, name, out)
		return errno
	}, entry{n.abs(), name})
	return child, errno
}

// Statfs returns the free space of the disk.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	if n.s.full() {
		out.Bfree, out.Bavail = 0, 0
	}
	return errno
}
