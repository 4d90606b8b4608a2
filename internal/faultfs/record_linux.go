package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
)

// A recorder keeps the changes that a power cut would lose. The folder on the disk always has the newest state; the
// recorder has the former content and names, from which powerCut makes an older state. Files and folders are known by
// their inode numbers. The recorder holds each removed file open as long as a change refers to it, so that no number is
// used twice.
type recorder struct {
	disk string // folder that is mounted; constant

	mu    sync.Mutex // held during each change of the disk
	files map[uint64][]change
	names []nameChange // in the order in which they were made
	held  map[uint64]*os.File
}

// A change is a change of the content of a file that was not synced. It has the data that was written, or the new size.
type change struct {
	off      int64
	data     []byte
	truncate bool
	size     int64
	grow     bool // a truncation to size that never makes the file smaller

	oldSize int64
	old     []byte // former content behind off, or behind size
	// state is pending, durable for a change that was synced after a sync had failed, or failed if its sync has failed.
	state changeState
}

type changeState int

const (
	pending changeState = iota
	durable
	failed
)

// An entry is a name in a folder.
type entry struct{ dir, name string }

// A nameChange is an operation on names that was not synced: a file created, removed, linked or renamed.
type nameChange []edit

// An edit is the change of one name. A number is 0 if the name is not used.
type edit struct {
	dir           uint64
	name          string
	before, after uint64
}

func newRecorder() *recorder {
	return &recorder{files: map[uint64][]change{}, held: map[uint64]*os.File{}}
}

// inode returns the number of the file with the name, or 0.
func inode(path string) uint64 {
	var stat syscall.Stat_t
	if syscall.Lstat(path, &stat) != nil {
		return 0
	}
	return stat.Ino
}

// changeNames calls do and records how it has changed the names.
func (r *recorder) changeNames(do func() syscall.Errno, names []entry) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	var made nameChange
	opened := map[uint64]*os.File{}
	for _, n := range names {
		path := filepath.Join(n.dir, n.name)
		e := edit{dir: inode(n.dir), name: n.name, before: inode(path)}
		if e.before != 0 && r.held[e.before] == nil && opened[e.before] == nil {
			if file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err == nil {
				opened[e.before] = file
			}
		}
		made = append(made, e)
	}
	errno := do()
	for i, n := range names {
		made[i].after = inode(filepath.Join(n.dir, n.name))
	}
	if errno == 0 {
		r.names = append(r.names, made)
		maps.Copy(r.held, opened)
		return 0
	}
	for _, file := range opened {
		file.Close()
	}
	return errno
}

// changeData calls do and records the change of a file.
func (r *recorder) changeData(fd int, c change, do func() syscall.Errno) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return gofs.ToErrno(err)
	}
	if stat.Nlink == 0 && r.held[stat.Ino] == nil { // no power cut brings it back
		return do()
	}
	c.oldSize = stat.Size
	from, length := c.off, int64(len(c.data))
	if c.truncate {
		if c.grow {
			c.size = max(c.size, c.oldSize)
		}
		from, length = c.size, max(0, c.oldSize-c.size)
	}
	c.old = make([]byte, max(0, min(length, c.oldSize-from)))
	for n := 0; n < len(c.old); {
		read, err := syscall.Pread(fd, c.old[n:], from+int64(n))
		if err != nil || read == 0 {
			return syscall.EIO
		}
		n += read
	}
	c.data = slices.Clone(c.data)
	if errno := do(); errno != 0 {
		return errno
	}
	r.files[stat.Ino] = append(r.files[stat.Ino], c)
	return 0
}

// syncFile makes the content of a file and its names durable, except the data of an earlier sync that failed.
func (r *recorder) syncFile(fd int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number := fdInode(fd)
	r.setState(number, durable)
	if !slices.ContainsFunc(r.files[number], func(c change) bool { return c.state == failed }) {
		delete(r.files, number)
	}
	r.syncNames(func(e edit) bool { return e.after == number })
}

// failData marks the changes of a file that were not synced as failed, because its sync has failed.
func (r *recorder) failData(fd int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setState(fdInode(fd), failed)
}

// setState sets the state of the pending changes of a file.
func (r *recorder) setState(number uint64, state changeState) {
	for i := range r.files[number] {
		if r.files[number][i].state == pending {
			r.files[number][i].state = state
		}
	}
}

// syncDir makes the names in a folder durable.
func (r *recorder) syncDir(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number := inode(path)
	r.syncNames(func(e edit) bool { return e.dir == number })
}

// syncNames makes the changes of names durable that have a matching edit, and the earlier changes of the same names.
func (r *recorder) syncNames(match func(edit) bool) {
	type place struct {
		dir  uint64
		name string
	}
	synced, kept := map[place]bool{}, []nameChange{}
	for _, made := range slices.Backward(r.names) {
		if slices.ContainsFunc(made, func(e edit) bool { return match(e) || synced[place{e.dir, e.name}] }) {
			for _, e := range made {
				synced[place{e.dir, e.name}] = true
			}
			continue
		}
		kept = append(kept, made)
	}
	slices.Reverse(kept)
	r.names = kept
	for number, file := range r.held {
		refers := func(e edit) bool { return e.before == number || e.after == number || e.dir == number }
		if slices.ContainsFunc(r.names, func(made nameChange) bool { return slices.ContainsFunc(made, refers) }) {
			continue
		}
		var stat syscall.Stat_t
		if syscall.Fstat(int(file.Fd()), &stat) == nil && stat.Nlink == 0 {
			delete(r.files, number)
		}
		file.Close()
		delete(r.held, number)
	}
}

// fdInode returns the number of an open file.
func fdInode(fd int) uint64 {
	var stat syscall.Stat_t
	if syscall.Fstat(fd, &stat) != nil {
		return 0
	}
	return stat.Ino
}

// powerCut writes to a new folder a possible content of the disk after a power cut.
func (r *recorder) powerCut(folder string, seed uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	random := rand.New(rand.NewPCG(seed, 0))
	root := inode(r.disk)
	paths := map[uint64]string{root: r.disk} // of the files and folders that exist now
	dirs := map[uint64]map[string]uint64{}
	err := filepath.WalkDir(r.disk, func(path string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		number := inode(path)
		paths[number] = path
		if found.IsDir() {
			dirs[number] = map[string]uint64{}
		}
		if path != r.disk {
			dirs[inode(filepath.Dir(path))][found.Name()] = number
		}
		return nil
	})
	if err != nil {
		return err
	}
	survive := random.IntN(len(r.names) + 1)
	for _, made := range slices.Backward(r.names[survive:]) {
		for _, e := range slices.Backward(made) {
			if dirs[e.dir] == nil {
				dirs[e.dir] = map[string]uint64{} // the folder was removed
			}
			if e.before == 0 {
				delete(dirs[e.dir], e.name)
			} else {
				dirs[e.dir][e.name] = e.before
			}
		}
	}
	return r.write(root, folder, paths, dirs, map[uint64]string{}, random)
}

// write writes the file or folder with the number to a new path. written has the paths of the files that were written.
func (r *recorder) write(
	number uint64, to string, paths map[uint64]string, dirs map[uint64]map[string]uint64, written map[uint64]string,
	random *rand.Rand,
) error {
	if first, ok := written[number]; ok {
		return os.Link(first, to)
	}
	var source *os.File
	switch path, exists := paths[number]; {
	case exists:
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			return errors.Join(err, os.Symlink(target, to))
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return nil // a socket
		}
		if source, err = os.Open(path); err != nil {
			return err
		}
		defer source.Close()
	case r.held[number] != nil:
		source = r.held[number]
	default:
		return fmt.Errorf("the file %s is gone", to)
	}
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(dirs[number])) {
			if err := r.write(dirs[number][name], filepath.Join(to, name), paths, dirs, written, random); err != nil {
				return err
			}
		}
		return os.Chmod(to, info.Mode().Perm())
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(source, 0, info.Size()), content); err != nil {
		return err
	}
	written[number] = to
	content = cutContent(content, r.files[number], random)
	if err := os.WriteFile(to, content, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Chmod(to, info.Mode().Perm()), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// page is the unit in bytes in which data reaches the disk.
const page = 4096

// cutContent reverts the changes of a file's content, and makes again the changes that survive the power cut. random
// decides for each page of a pending change.
func cutContent(content []byte, changes []change, random *rand.Rand) []byte {
	for _, c := range slices.Backward(changes) {
		from := c.off
		if c.truncate {
			from = c.size
		}
		content = resize(content, c.oldSize)
		copy(content[min(from, c.oldSize):], c.old)
	}
	for _, c := range changes {
		survives := func() bool { return c.state == durable || random.IntN(2) == 0 }
		if c.truncate {
			if survives() {
				content = resize(content, c.size)
			}
			continue
		}
		for at := c.off; at < c.off+int64(len(c.data)); {
			end := min(at/page*page+page, c.off+int64(len(c.data)))
			if survives() {
				content = resize(content, max(int64(len(content)), end))
				copy(content[at:end], c.data[at-c.off:])
			}
			at = end
		}
	}
	return content
}

// resize returns the content with the length, filled with zeros.
func resize(content []byte, size int64) []byte {
	if int64(len(content)) >= size {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}
