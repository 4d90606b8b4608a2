package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A faultyWarehouse is a warehouse on a file system that fails on demand, and the rows and keys of its callers.
type faultyWarehouse struct {
	t       *testing.T
	disk    *faultfs.FS
	dir     string
	w       *warehouse.Warehouse
	last    int                        // number of the last row
	acked   map[uuid.UUID]map[int]bool // rows that were acknowledged
	sent    map[uuid.UUID]map[int]bool // rows that were sent
	key     control.Key                // of tenant A
	text    string
	revoked []string
	extra   uuid.UUID // tenant that is deleted next
	backups int
}

func newFaultyWarehouse(t *testing.T) *faultyWarehouse {
	disk := faultfs.New(t, faultfs.Options{Recording: true})
	f := &faultyWarehouse{t: t, disk: disk, dir: filepath.Join(disk.Path(), "data"),
		acked: map[uuid.UUID]map[int]bool{}, sent: map[uuid.UUID]map[int]bool{}}
	f.w = open(t, f.dir)
	f.w.SetHealPause(10 * time.Millisecond)
	t.Cleanup(func() { noError(t, f.w.Close()) })
	noError(t, errors.Join(f.push(tenantA), f.push(tenantB), f.createKey()))
	publish(t, f.w)
	return f
}

// push merges a new call.
func (f *faultyWarehouse) push(tenant uuid.UUID) error {
	f.last++
	if f.acked[tenant] == nil {
		f.acked[tenant], f.sent[tenant] = map[int]bool{}, map[int]bool{}
	}
	f.sent[tenant][f.last] = true
	_, _, err := f.w.Merge(f.t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "test.ndjson", Tenant: tenant,
		Rows: lines(f.t, call(tenant, f.last, row{"from_number": f.number()}))})
	f.acked[tenant][f.last] = err == nil
	return err
}

// number returns the number of the last row's customer.
func (f *faultyWarehouse) number() string { return fmt.Sprintf("+91%010d", f.last) }

func (f *faultyWarehouse) refuse() error {
	f.last++
	_, _, err := f.w.Merge(f.t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "test.ndjson",
		Rows: lines(f.t, row{"user_id": tenantA, "id": fmt.Sprint("refused", f.last)})})
	return err
}

func (f *faultyWarehouse) createKey() (err error) {
	key, text, err := f.w.CreateKey(f.t.Context(), tenantA, control.Secret, control.KeySettings{})
	if err == nil {
		f.key, f.text = key, text
	}
	return err
}

// checkRows requires every acknowledged row in a warehouse once, and no row that was never sent.
func (f *faultyWarehouse) checkRows(w *warehouse.Warehouse, tenants ...uuid.UUID) error {
	for _, tenant := range tenants {
		page, err := w.List(f.t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 10_000})
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		text := fmt.Sprintf("%s", page.Items)
		known := 0
		for n := range f.sent[tenant] {
			found := strings.Count(text, fmt.Sprintf(`"id":"%s"`, id(n)))
			if known += found; found > 1 || found == 0 && f.acked[tenant][n] {
				return fmt.Errorf("row %d of tenant %s is there %d times", n, tenant, found)
			}
		}
		if known != len(page.Items) {
			return fmt.Errorf("tenant %s has %d rows, and %d of them were sent", tenant, len(page.Items), known)
		}
	}
	return nil
}

// checkHealed requires that everything works and that no condition is left. Before any push, the publisher alone makes
// the published files right.
func (f *faultyWarehouse) checkHealed() error {
	ctx := f.t.Context()
	err := f.checkRows(f.w, tenantA, tenantB)
	for _, do := range []func() error{
		func() error { _, err := f.w.Publish(ctx); return err }, f.checkLake,
		func() error { return f.push(tenantA) }, func() error { return f.push(tenantB) }, f.refuse, f.createKey,
		func() error { return f.w.FinishErasures(ctx) },
		func() error { _, err := f.w.Publish(ctx); return err },
		func() error { return f.w.Ready(ctx) },
		func() error { return f.checkRows(f.w, tenantA, tenantB) },
		f.checkKeys, f.checkLake,
	} {
		if err == nil {
			err = do()
		}
	}
	if found := f.w.Conditions(); err == nil && len(found) > 0 {
		err = fmt.Errorf("condition %+v", found[0])
	}
	return err
}

func (f *faultyWarehouse) checkKeys() error {
	if _, _, err := f.w.Authenticate(f.text); err != nil {
		return err
	}
	for _, text := range f.revoked {
		if _, _, err := f.w.Authenticate(text); !errors.Is(err, warehouse.ErrRevokedKey) {
			return fmt.Errorf("got %w of a revoked key", err)
		}
	}
	return nil
}

// checkLake requires the rows of tenant A in its published files.
func (f *faultyWarehouse) checkLake() error {
	page, err := f.w.List(f.t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 10_000})
	if err != nil {
		return err
	}
	files, _, err := f.w.VerifiedFiles(f.t.Context(), tenantA)
	if err == nil && (len(files) == 0 || files[0].Rows != int64(len(page.Items))) {
		err = fmt.Errorf("published files %v have not the %d rows of the store", files, len(page.Items))
	}
	return err
}

// A faultyStep is an operation during which the disk fails.
type faultyStep struct {
	prepare, do func(f *faultyWarehouse) error
	// faults has operations that fail, several of them with plus signs between, and patterns of their files. A star after
	// an operation: ENOSPC too.
	faults string
}

func pushA(f *faultyWarehouse) error { return f.push(tenantA) }

var faultySteps = map[string]faultyStep{
	"push": {nil, pushA, `write* warehouse/A.duckdb.wal, fsync* warehouse/A.duckdb.wal, fsyncdir warehouse,
		write* commits, fsync+truncate warehouse/A.duckdb.wal`},
	"push of a new tenant": {nil, func(f *faultyWarehouse) error { return f.push(uuid.New()) },
		`create .*.unfinished-*, rename *.duckdb, create *.duckdb.wal, write* *.duckdb.wal, fsync *.duckdb.wal,
		write* journal.ndjson, fsync journal.ndjson, write* control.duckdb.wal, fsync control.duckdb.wal,
		create *.unpublished`},
	"refused row": {nil, (*faultyWarehouse).refuse,
		`create quarantine/, write* quarantine/, fsync quarantine/, rename quarantine/, fsyncdir quarantine`},
	"checkpoint": {pushA, func(f *faultyWarehouse) error { return f.w.Checkpoint(f.t.Context(), tenantA) },
		`write* A.duckdb, write*1 A.duckdb, fsync A.duckdb, fsync1 A.duckdb, unlink A.duckdb.wal, fsync A.duckdb.wal`},
	"control checkpoint": {(*faultyWarehouse).createKey,
		func(f *faultyWarehouse) error { return f.w.Checkpoint(f.t.Context(), uuid.Nil) },
		`write* control.duckdb, write1 control.duckdb, fsync control.duckdb, fsync1 control.duckdb,
		unlink control.duckdb.wal, fsync control.duckdb.wal`},
	"publication": {pushA, func(f *faultyWarehouse) error { _, err := f.w.Publish(f.t.Context()); return err },
		`create lake/, write* lake/, fsync lake/, rename lake/, link published/, rename published/, fsyncdir lake/*/*/*,
		fsyncdir published/*, fsync A.duckdb.wal, fsyncdir warehouse, unlink *.unpublished`},
	"first publication of a tenant": {func(f *faultyWarehouse) error { return f.push(uuid.New()) },
		func(f *faultyWarehouse) error { _, err := f.w.Publish(f.t.Context()); return err },
		`mkdir* lake/, mkdir* published/, create lake/, link published/, fsyncdir lake, fsyncdir published`},
	"creation of a key": {nil, (*faultyWarehouse).createKey,
		`write* journal.ndjson, fsync journal.ndjson, write* control.duckdb.wal, fsync control.duckdb.wal,
		fsync+truncate control.duckdb.wal`},
	"revocation": {(*faultyWarehouse).createKey, (*faultyWarehouse).revoke,
		`write* journal.ndjson, fsync journal.ndjson, write* control.duckdb.wal, fsync control.duckdb.wal`},
	"revocation without any file": {(*faultyWarehouse).createKey, (*faultyWarehouse).revoke, `write* *`},
	"erasure": {pushA, func(f *faultyWarehouse) error {
		f.acked[tenantA][f.last] = false
		_, err := f.w.Erase(f.t.Context(), tenantA, f.number(), warehouse.EraseOptions{})
		return err
	}, `create .A.duckdb.*, write* .A.duckdb.*, rename A.duckdb, write* journal.ndjson, fsync A.duckdb.wal, rename control.duckdb`},
	"deletion of a tenant": {func(f *faultyWarehouse) error {
		f.extra = uuid.New()
		return f.push(f.extra)
	}, func(f *faultyWarehouse) error { return f.w.DeleteTenant(f.t.Context(), f.extra) },
		`write* *.duckdb.wal, fsync *.duckdb.wal, unlink warehouse/*.duckdb, write* control.duckdb.wal, write* journal.ndjson,
		create .control.*`},
	"backup": {pushA, func(f *faultyWarehouse) error {
		f.backups++
		report, err := f.w.Backup(f.t.Context(),
			warehouse.BackupOptions{Dest: filepath.Join(f.disk.Path(), fmt.Sprint("backup", f.backups))})
		if err == nil && len(report.Failed) > 0 {
			err = fmt.Errorf("%w: %v", warehouse.ErrIO, report.Failed)
		}
		return err
	}, `write* backup*/*/*, fsync backup*/*/*, mkdir backup*, write A.duckdb, fsync A.duckdb, write control.duckdb.wal`},
}

func (f *faultyWarehouse) revoke() error {
	f.revoked = append(f.revoked, f.text)
	_, err := f.w.RevokeKey(f.t.Context(), f.key.ID)
	_, _, refused := f.w.Authenticate(f.text)
	wantKind(f.t, refused, warehouse.ErrRevokedKey) // whatever RevokeKey returns
	return err
}

// rules returns the rules of a step.
func (s faultyStep) rules() (rules []faultfs.Rule) {
	for fault := range strings.SplitSeq(s.faults, ",") {
		op, path, _ := strings.Cut(strings.TrimSpace(fault), " ")
		name := strings.TrimRight(op, "*1")
		var ops []faultfs.Op
		for op := range strings.SplitSeq(name, "+") {
			ops = append(ops, faultfs.Op(op))
		}
		rule := faultfs.Rule{Ops: ops, Path: strings.ReplaceAll(path, "A", tenantA.String()),
			Skip: strings.Count(op, "1"), Errno: syscall.EIO}
		if strings.Contains(rule.Path, "/") && !strings.HasPrefix(rule.Path, "backup") {
			rule.Path = "data/" + rule.Path
		}
		if slices.Contains([]string{"quarantine", "warehouse", "lake", "published"}, rule.Path) {
			rule.Path = "data/" + rule.Path
		}
		if rule.Path == "*" {
			rule.Path = ""
		}
		if rules = append(rules, rule); strings.Contains(op, "*") {
			rule.Errno = syscall.ENOSPC
			rules = append(rules, rule)
		}
	}
	return rules
}

// While a file cannot be written, only operations that need it fail, and no acknowledged row is lost by a power cut.
// Afterwards everything works again by itself. Without -faults.all, each step and each operation of the disk is tried
// once.
func TestFaults_HealByThemselves(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	tried := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(faultySteps)) {
		step := faultySteps[name]
		t.Run(name, func(t *testing.T) {
			for i, rule := range step.rules() {
				ops := fmt.Sprint(rule.Ops)
				if i > 0 && tried[ops] && !*allFaults {
					continue
				}
				tried[ops] = true
				t.Run(fmt.Sprint(ops, " ", rule.Path, " ", rule.Skip, " ", rule.Errno), func(t *testing.T) {
					f.t = t
					f.fail(step, rule, i == 0)
				})
			}
		})
	}
	f.t = t
	found, err := f.w.Verify(t.Context(), uuid.Nil)
	noError(t, err)
	if !found.Sound() {
		t.Errorf("got findings %+v, want none", found.Findings)
	}
}

// A disk that fails at any operation of a step, and at all later ones, makes writes fail and does not end the process.
// Stores that are attached and have not failed can be read. No acknowledged row is lost by a power cut. Afterwards
// everything works again by itself. Without -faults.all, every fourth step is tried, with one operation.
func TestFaults_DiskThatFailsAltogether(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	for i, name := range slices.Sorted(maps.Keys(faultySteps)) {
		if i%4 > 0 && !*allFaults {
			continue
		}
		step := faultySteps[name]
		t.Run(name, func(t *testing.T) {
			f.t = t
			if step.prepare != nil {
				noError(t, step.prepare(f))
			}
			all, err := countSteps(f.disk, "data/", func() error { return step.do(f) })
			noError(t, err)
			for _, n := range killSteps(all, 1) {
				t.Run(fmt.Sprintf("%d of %d", n, all), func(t *testing.T) {
					f.t = t
					f.fail(step, faultfs.Rule{Path: "data/", Skip: n, Errno: syscall.EIO}, *allFaults)
				})
			}
			f.t = t
		})
		f.t = t
	}
}

// fail does the step while the rule makes the disk fail. If cut is set, it opens what a power cut would leave
// meanwhile and afterwards.
func (f *faultyWarehouse) fail(step faultyStep, rule faultfs.Rule, cut bool) {
	t := f.t
	if step.prepare != nil {
		noError(t, step.prepare(f))
	}
	fault := f.disk.Add(rule)
	defer fault.Remove()
	err := step.do(f)
	if hits := fault.Hits(); len(hits) == 0 && rule.Path != "data/" {
		t.Fatal("the rule matched no operation")
	}
	if err != nil && !errors.Is(err, warehouse.ErrIO) && !errors.Is(err, warehouse.ErrNoSpace) &&
		!errors.Is(err, warehouse.ErrInvalidated) {
		t.Errorf("got %v, want an error of the disk, or of a database that is being attached again", err)
	}
	err = f.checkRows(f.w, tenantB)
	if rule.Path != "data/" || !errors.Is(err, warehouse.ErrIO) { // a store that failed is written before it is read
		noError(t, err)
	}
	if strings.Contains(rule.Path, tenantA.String()) {
		noError(t, f.push(tenantB))
	}
	if cut {
		f.checkPowerCut()
	}
	fault.Remove()
	eventually(t, f.checkHealed)
	if cut {
		f.checkPowerCut()
	}
}

// checkPowerCut opens what the disk would hold after a power cut, and requires all acknowledged rows.
func (f *faultyWarehouse) checkPowerCut(more ...func(*warehouse.Warehouse) error) {
	folder := filepath.Join(f.t.TempDir(), "cut")
	f.disk.PowerCut(folder, uint64(f.last))
	w, err := warehouse.Open(f.t.Context(), warehouse.Options{Dir: filepath.Join(folder, "data")})
	noError(f.t, err)
	noError(f.t, f.checkRows(w, tenantA, tenantB))
	for _, check := range more {
		noError(f.t, check(w))
	}
	noError(f.t, w.Close())
}

// Folders that are deleted while the server runs are created again.
func TestFaults_DeletedFoldersComeBack(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	for _, name := range []string{"quarantine", "tmp"} {
		noError(t, os.RemoveAll(filepath.Join(dir, name)))
		for _, err := range w.Quarantine(t.Context()) {
			noError(t, err)
		}
		if counts := merge(t, w, schema.Calls, row{"user_id": tenantA, "id": "none"}); counts.Refused != 1 {
			t.Fatalf("got counts %+v, want a refused row", counts)
		}
		_, err := w.WriteDatabase(context.WithoutCancel(t.Context()), tenantA, filepath.Join(w.TempDir(), "copy.duckdb"))
		noError(t, err)
		if found := w.Conditions(); len(found) > 0 {
			t.Fatalf("got conditions %v, want none", found)
		}
	}
	noError(t, w.Close())
}
