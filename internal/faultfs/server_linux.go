package faultfs

import (
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// childVariable is the environment variable of the process that serves a file system.
const childVariable = "VOICORY_FAULTFS"

// The child process is the program of the tests, which must not run its tests again.
func init() {
	if os.Getenv(childVariable) == "" {
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "faultfs:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A request is a call of the parent process. Its kind determines which fields are set.
type request struct {
	Kind         requestKind
	Disk, Folder string
	Options      Options
	Rule         Rule
	Fault        int // id of a rule
	Seed         uint64
}

type requestKind int

const (
	mountRequest requestKind = iota
	addRequest
	removeRequest
	hitsRequest
	cutRequest
)

// A reply is the answer to a request.
type reply struct {
	Error string        // ""; or why the request failed
	Errno syscall.Errno // of the failure, if the operating system has refused it
	Fault int           // id of the rule that was added
	Hits  []Hit
}

// serve answers the requests of the parent process until it closes its pipe or ends, and unmounts the file system.
func serve() error {
	debug.SetGCPercent(400) // nearly all garbage is buffers of requests
	s := &server{recorder: newRecorder()}
	requests, replies := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	for {
		var r request
		if err := requests.Decode(&r); err != nil {
			break // the parent process has ended
		}
		got, err := s.answer(r)
		if err != nil {
			got.Error = err.Error()
			errors.As(err, &got.Errno)
		}
		if err := replies.Encode(got); err != nil {
			break
		}
	}
	if s.mounted == nil {
		return nil
	}
	if err := unix.Unmount(s.mount, unix.MNT_DETACH); err != nil { // also if files are open
		return s.mounted.Unmount()
	}
	return nil
}

// A server serves a file system and the requests of the parent process.
type server struct {
	mount     string
	mounted   *fuse.Server
	recording bool
	recorder  *recorder

	mu    sync.Mutex
	rules []*activeRule // newest first; guarded by mu
}

// An activeRule is a rule with the operations that it has matched.
type activeRule struct {
	Rule
	matched int // operations, without those past Count
	removed bool
	hits    []Hit
}

// answer carries out a request and returns its reply.
func (s *server) answer(r request) (got reply, err error) {
	switch r.Kind {
	case mountRequest:
		return got, s.start(r)
	case addRequest:
		got.Fault, err = s.add(r.Rule)
		return got, err
	case cutRequest:
		if !s.recording {
			return got, errors.New("the file system does not record changes")
		}
		return got, s.recorder.powerCut(r.Folder, r.Seed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rule := s.rules[len(s.rules)-r.Fault]
	if r.Kind == removeRequest {
		rule.removed = true
	} else {
		got.Hits = slices.Clone(rule.hits)
	}
	return got, nil
}

// maxWrite is the length in bytes of the largest write that is one operation: a block of DuckDB. go-fuse allocates
// this much for each request.
const maxWrite = 256 << 10

// start mounts the file system.
func (s *server) start(r request) error {
	var stat syscall.Stat_t
	if err := syscall.Stat(r.Disk, &stat); err != nil {
		return err
	}
	data := &fs.LoopbackRoot{Path: r.Disk, Dev: stat.Dev}
	data.RootNode = s.node(data)
	s.mount, s.recording, s.recorder.disk = r.Folder, r.Options.Recording, r.Disk
	known := time.Minute // all changes are made through the mount, so the kernel may remember names and attributes
	mounted, err := fs.Mount(s.mount, data.RootNode, &fs.Options{
		NullPermissions: true, EntryTimeout: &known, AttrTimeout: &known,
		MountOptions: fuse.MountOptions{
			FsName: "faultfs", Name: "faultfs", DirectMount: true, MaxWrite: maxWrite, DisableReadDirPlus: true,
			Options: []string{"default_permissions"},
		},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", s.mount, err)
	}
	s.mounted = mounted
	return nil
}

// add adds a rule and returns its id.
func (s *server) add(rule Rule) (id int, err error) {
	if _, err := path.Match(rule.Path, ""); err != nil {
		return 0, fmt.Errorf("pattern %q: %w", rule.Path, err)
	}
	if len(rule.Ops) == 0 {
		rule.Ops = Changes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id = len(s.rules) + 1
	s.rules = slices.Insert(s.rules, 0, &activeRule{Rule: rule})
	return id, nil
}

// check returns the error of an operation on one or two paths, and whether a write is short.
func (s *server) check(op Op, paths ...string) (errno syscall.Errno, short bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if !r.active() || !slices.Contains(r.Ops, op) || !slices.ContainsFunc(paths, r.matches) {
			continue
		}
		if r.matched++; r.matched <= r.Skip {
			continue
		}
		r.hits = append(r.hits, Hit{op, paths[len(paths)-1]})
		if r.Errno != 0 || r.Short && op == Write {
			return r.Errno, r.Short && op == Write
		}
	}
	return 0, false
}

// active reports whether the rule still has an effect.
func (r *activeRule) active() bool {
	return !r.removed && (r.Count == 0 || r.matched < r.Skip+r.Count)
}

// matches reports whether the pattern of the rule matches a path.
func (r *activeRule) matches(name string) bool {
	switch {
	case r.Path == "":
		return true
	case strings.HasSuffix(r.Path, "/"):
		return strings.HasPrefix(name, r.Path)
	case !strings.Contains(r.Path, "/"):
		name = path.Base(name)
	}
	matched, _ := path.Match(r.Path, name) // Add has checked the pattern
	return matched
}

// full reports whether an active rule has the error ENOSPC.
func (s *server) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.rules, func(r *activeRule) bool { return r.active() && r.Errno == syscall.ENOSPC })
}
