package warehouse_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
)

// killedFolder is the variable with the data folder of a process that TestKilled_AfterAFailedSync starts and kills.
const killedFolder = "VOICORY_TEST_KILLED_FOLDER"

// newTenant is a tenant that only the killed process has tried to create.
var newTenant = uuid.MustParse("cccccccc-0000-4000-8000-000000000001")

// killedSteps are operations of the killed process during which a sync fails.
var killedSteps = []struct {
	name string
	path string // whose sync fails, in the data folder
	op   faultfs.Op
	skip int // syncs of the path that succeed before
	do   func(f *faultyWarehouse) error
}{
	{"headers of a store", "warehouse/" + tenantA.String() + ".duckdb", faultfs.Fsync, 1, func(f *faultyWarehouse) error {
		return errors.Join(f.push(tenantA), f.w.Checkpoint(f.t.Context(), tenantA))
	}},
	{"log of a store", "warehouse/" + tenantA.String() + ".duckdb.wal", faultfs.Fsync, 0, pushA},
	{"name of a store", "warehouse", faultfs.FsyncDir, 0, func(f *faultyWarehouse) error { return f.push(newTenant) }},
	{"headers of the control database", "control.duckdb", faultfs.Fsync, 1, func(f *faultyWarehouse) error {
		return errors.Join(f.createKey(), f.w.Checkpoint(f.t.Context(), uuid.Nil))
	}},
	{"log of the control database", "control.duckdb.wal", faultfs.Fsync, 0, (*faultyWarehouse).createKey},
	{"journal", "journal.ndjson", faultfs.Fsync, 0, (*faultyWarehouse).createKey},
}

// A sync has failed and the process was killed. The next process acknowledges no row and no key that a power cut can
// take, because everything that they follow is on the disk.
func TestKilled_AfterAFailedSync(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		doKilledSteps(t, dir)
		return
	}
	t.Parallel()
	for _, step := range killedSteps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			f := &faultyWarehouse{t: t, disk: faultfs.New(t, faultfs.Options{Recording: true}), last: 100,
				acked: map[uuid.UUID]map[int]bool{}, sent: map[uuid.UUID]map[int]bool{}}
			f.dir = filepath.Join(f.disk.Path(), "data")
			child := startKilled(t, f.dir)
			for _, tenant := range []uuid.UUID{tenantA, tenantB, newTenant} {
				f.acked[tenant], f.sent[tenant] = map[int]bool{}, map[int]bool{}
				for n := range 10 {
					f.sent[tenant][n] = true
				}
			}
			f.acked[tenantA][1], f.acked[tenantB][2] = true, true
			child.do("begin", `"<nil>"`)
			fault := f.disk.Add(faultfs.Rule{Ops: []faultfs.Op{step.op}, Path: "data/" + step.path, Skip: step.skip,
				Errno: syscall.EIO})
			child.do(step.name, "")
			if len(fault.Hits()) == 0 {
				t.Fatal("the rule matched no operation")
			}
			child.kill()
			fault.Remove()

			f.w = open(t, f.dir)
			t.Cleanup(func() { noError(t, f.w.Close()) })
			noError(t, errors.Join(f.push(tenantA), f.push(tenantB), f.push(newTenant), f.createKey()))
			for range 3 {
				f.checkPowerCut(func(w *warehouse.Warehouse) error {
					_, _, err := w.Authenticate(f.text)
					return errors.Join(err, f.checkRows(w, newTenant))
				})
				f.last++
			}
		})
	}
}

// A killedProcess is this program, doing the steps that it reads.
type killedProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startKilled(t *testing.T, dir string) *killedProcess {
	t.Helper()
	p := &killedProcess{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled_AfterAFailedSync$")}
	p.cmd.Env = append(os.Environ(), killedFolder+"="+dir)
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	noError(t, err)
	out, err := p.cmd.StdoutPipe()
	noError(t, err)
	p.out = bufio.NewScanner(out)
	noError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	return p
}

// do waits until the process has done a step, and requires its outcome if want is not empty.
func (p *killedProcess) do(step, want string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, step)
	noError(p.t, err)
	if !p.out.Scan() {
		p.t.Fatal("the process has ended")
	}
	if got := p.out.Text(); want != "" && got != want {
		p.t.Fatalf("got %q, want %q", got, want)
	}
}

func (p *killedProcess) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // the process was killed
}

// doKilledSteps does the steps that it reads, until the process is killed. A failed database is not restored.
func doKilledSteps(t *testing.T, dir string) {
	f := &faultyWarehouse{t: t, dir: dir, acked: map[uuid.UUID]map[int]bool{}, sent: map[uuid.UUID]map[int]bool{}}
	f.w = open(t, dir)
	f.w.SetHealPause(time.Hour)
	steps := map[string]func(*faultyWarehouse) error{"begin": func(f *faultyWarehouse) error {
		return errors.Join(f.push(tenantA), f.push(tenantB), f.w.Checkpoint(t.Context(), tenantA))
	}}
	for _, step := range killedSteps {
		steps[step.name] = step.do
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Printf("%q\n", fmt.Sprint(steps[lines.Text()](f)))
	}
}
