package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/voicory/warehouse/internal/faultfs"
)

// shutdownRequest is FS_IOC_SHUTDOWN, and noLogFlush its flag to write nothing more, as when the power fails.
const (
	shutdownRequest = 0x8004587d
	noLogFlush      = 2
)

// openPlace returns a place for the data folder of a history: a file system whose operations fail on demand, or an ext4
// file system of its own. missing says why the machine does not allow the one or the other.
func openPlace(ctx context.Context, dir string, faulty bool) (p *place, missing string, err error) {
	p = &place{dir: dir, folder: filepath.Join(dir, "mount")}
	disk := filepath.Join(dir, "disk")
	if err := errors.Join(os.MkdirAll(p.folder, 0o700), os.MkdirAll(disk, 0o700)); err != nil {
		return nil, "", err
	}
	if faulty {
		f, err := faultfs.Mount(disk, p.folder, faultfs.Options{Recording: true})
		if errors.Is(err, faultfs.ErrUnavailable) {
			return p, err.Error(), nil
		}
		p.faulty = f
		return p, "", err
	}
	p.image = filepath.Join(dir, "ext4")
	if failed := p.makeExt4(ctx); failed != nil {
		p.image, missing = "", failed.Error()
	}
	return p, missing, nil
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (p *place) makeExt4(ctx context.Context) error {
	f, err := os.Create(p.image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(512<<20), f.Close()); err != nil {
		return err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-F", p.image); err != nil {
		return err
	}
	return p.mountExt4(ctx)
}

func (p *place) mountExt4(ctx context.Context) error {
	return command(ctx, "mount", "-o", "loop", p.image, p.folder)
}

// close unmounts the place. The caller has stopped the server.
func (p *place) close() error {
	switch {
	case p.faulty != nil:
		err := p.faulty.(*faultfs.FS).Close()
		p.faulty = nil
		return err
	case p.image != "":
		p.image = ""
		return unmount(context.Background(), p.folder)
	}
	return nil
}

// unmount unmounts a file system. A process that is being started shares the open files of this one for a moment, so
// unmount waits while the file system is busy, for a minute at most.
func unmount(ctx context.Context, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := unix.Unmount(folder, 0)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: %w", folder, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// placeFaults returns the faults that need a file system of their own.
func placeFaults() (faults []*fault) {
	onExt4 := func(p *place) bool { return p.image != "" }
	onFaulty := func(p *place) bool { return p.faulty != nil }
	faults = append(faults,
		&fault{name: "power cut, ext4", needs: onExt4, power: true, atOnce: func(m *machine, _ draw) error {
			root, err := os.Open(m.where.folder)
			if err != nil {
				return err
			}
			defer root.Close()
			return unix.IoctlSetPointerInt(int(root.Fd()), shutdownRequest, noLogFlush)
		}, stop: syscall.SIGKILL, harm: func(m *machine, _ draw) error {
			return errors.Join(unmount(m.ctx, m.where.folder), m.where.mountExt4(m.ctx))
		}},
		&fault{name: "power cut, unsynced pages lost and reordered", needs: onFaulty, failing: true, power: true,
			stop: syscall.SIGKILL,
			harm: func(m *machine, d draw) error {
				left, disk := filepath.Join(m.where.dir, "left"), filepath.Join(m.where.dir, "disk")
				f := m.where.faulty.(*faultfs.FS)
				f.PowerCut(left, uint64(d.Which))
				if err := errors.Join(f.Close(), os.RemoveAll(disk), os.Rename(left, disk)); err != nil {
					return err
				}
				f, err := faultfs.Mount(disk, m.where.folder, faultfs.Options{Recording: true})
				m.where.faulty = f
				return err
			}},
	)
	failing := func(name string, errno syscall.Errno, ops ...faultfs.Op) {
		var active *faultfs.Fault
		faults = append(faults, &fault{name: fmt.Sprintf("%s: %s", name, unix.ErrnoName(errno)), needs: onFaulty,
			failing: true,
			before: func(m *machine, d draw) error {
				active = m.where.faulty.(*faultfs.FS).Add(faultfs.Rule{
					Ops: ops, Path: "data/", Errno: errno, Skip: d.Which % 12, Count: 1 + d.Which%5,
					Short: errno == unix.ENOSPC && d.Bit%2 == 0,
				})
				return nil
			},
			after: func(m *machine, d draw) error {
				defer func() { active.Remove() }()
				if len(active.Hits()) > 0 {
					return nil
				}
				active.Remove() // the requests had fewer operations than the rule skips
				active = m.where.faulty.(*faultfs.FS).Add(faultfs.Rule{
					Ops: ops, Path: "data/", Errno: errno, Count: 1 + d.Which%5, Short: errno == unix.ENOSPC && d.Bit%2 == 0,
				})
				m.changeEverything(d)
				if len(active.Hits()) == 0 {
					return errNothing
				}
				return nil
			},
		})
	}
	for _, op := range append([]faultfs.Op{faultfs.Open, faultfs.Read}, faultfs.Changes...) {
		failing(string(op), unix.EIO, op)
	}
	for _, op := range []faultfs.Op{faultfs.Create, faultfs.Write, faultfs.Truncate, faultfs.Fsync, faultfs.Mkdir} {
		failing(string(op), unix.ENOSPC, op)
	}
	return faults
}
