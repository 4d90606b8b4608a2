package warehouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
)

// A Repair is one change of the data folder because of a finding.
type Repair struct {
	Finding
	Done   string `json:"done"`             // the change and the loss; with DryRun, the change that is planned
	Failed string `json:"failed,omitempty"` // error, if it was not done
}

// Repairs is the result of Repair.
type Repairs struct {
	Repairs []Repair `json:"repairs"`
	// Kept is the folder, relative to the data folder, of the files that were replaced, under their paths. Empty: none.
	Kept string `json:"kept,omitempty"`
	// Remaining are the findings of the verification after the repairs. With DryRun, it is empty.
	Remaining []Finding `json:"remaining"`
}

// RepairOptions select the repairs.
type RepairOptions struct {
	Tenant uuid.UUID // zero: everything
	DryRun bool      // changes nothing
}

// A repairer changes a data folder. Every file that it replaces or removes is kept in a folder.
type repairer struct {
	w       *Warehouse
	opts    RepairOptions
	offline bool // databases are not open; see openOffline
	kept    string
	result  Repairs
	tried   map[string]bool        // repairs that were tried, by keys of findings
	behind  map[uuid.UUID]bool     // tenants whose log was cut; their stores lack commits
	publish map[uuid.UUID]struct{} // tenants with partitions to publish again
}

func newRepairer(opts RepairOptions) *repairer {
	return &repairer{opts: opts, tried: map[string]bool{}, behind: map[uuid.UUID]bool{},
		publish: map[uuid.UUID]struct{}{},
		kept:    filepath.Join(repairedDir, time.Now().UTC().Format(repairName)),
		result:  Repairs{Repairs: []Repair{}, Remaining: []Finding{}}}
}

// maxRounds bounds the repetitions of verification and repair. A repair can reveal the next finding: the rows of a
// store can be verified when its log is repaired.
const maxRounds = 6

// Repair verifies the data folder and repairs the findings. Tenants whose store is rebuilt wait meanwhile, other
// tenants do not. Findings of the control database need RepairFolder.
func (w *Warehouse) Repair(ctx context.Context, opts RepairOptions) (Repairs, error) {
	r := newRepairer(opts)
	r.w = w
	verify := func() (Verification, error) { return w.Verify(ctx, opts.Tenant) }
	found, err := verify()
	if err == nil {
		found, err = r.rounds(ctx, found, verify)
	}
	if !opts.DryRun {
		r.result.Remaining = found.faults()
		for _, repair := range r.result.Repairs {
			w.folder.log.Warn("repair", "kind", string(repair.Kind), "file", repair.File, "done", repair.Done,
				"failed", repair.Failed)
		}
	}
	return r.result, err
}

// RepairFolder repairs a data folder that no process has open: first the files without which it cannot be opened, then
// the tenants. It returns ErrInUse if a process has it open.
func RepairFolder(ctx context.Context, opts Options, repair RepairOptions) (_ Repairs, err error) {
	opts.MustExist = true
	r := newRepairer(repair)
	found, err := r.offlineRounds(ctx, opts)
	if err != nil || repair.DryRun {
		return r.result, err
	}
	w, err := Open(ctx, opts)
	if err != nil {
		return r.result, err
	}
	r.w, r.offline = w, false
	for _, id := range slices.Collect(maps.Keys(r.behind)) {
		f := Finding{Kind: FoundStoreBehind, Tenant: uuid.NullUUID{UUID: id, Valid: true},
			File: filepath.Join(warehouseDir, id.String()+storeSuffix), Detail: "its log was cut"}
		if _, err := r.repair(ctx, f); err != nil {
			return r.result, errors.Join(err, w.Close())
		}
	}
	verify := func() (Verification, error) { return w.Verify(ctx, repair.Tenant) }
	err = r.publishAgain(ctx)
	if err == nil && len(r.behind) > 0 { // a rebuilt store can have other findings
		found, err = verify()
	}
	if err == nil {
		_, err = r.rounds(ctx, found, verify)
	}
	closed := w.Close()
	if err != nil {
		return r.result, errors.Join(err, closed)
	}
	if closed != nil { // the verification finds the damage
		w.folder.log.Warn("close the repaired data folder", "error", closed)
	}
	found, err = VerifyFolder(ctx, opts, repair.Tenant)
	r.result.Remaining = found.faults()
	return r.result, err
}

// faults returns the findings that need a repair.
func (v Verification) faults() []Finding {
	return slices.DeleteFunc(slices.Clone(v.Findings), func(f Finding) bool { return f.Information })
}

// offlineRounds repairs the files of a folder before its databases are opened. It returns the last verification.
func (r *repairer) offlineRounds(ctx context.Context, opts Options) (found Verification, err error) {
	w, err := openOffline(ctx, opts)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, w.closeOffline()) }()
	if err := w.folder.checkOwner(); err != nil {
		return found, w.folder.refusal(err)
	}
	r.w, r.offline = w, true
	verify := func() (Verification, error) {
		v := newVerifier(w, r.opts.Tenant)
		v.offline = true
		return v.run(ctx)
	}
	if found, err = verify(); err != nil {
		return found, err
	}
	return r.rounds(ctx, found, verify)
}

// rounds repairs the findings of a verification, and verifies and repairs again until a verification finds nothing that
// was not tried. It returns the last verification.
func (r *repairer) rounds(ctx context.Context, found Verification, verify func() (Verification, error),
) (_ Verification, err error) {
	for range maxRounds {
		repaired := false
		for _, f := range found.Findings {
			done, err := r.repair(ctx, f)
			if err != nil {
				return found, err
			}
			repaired = repaired || done
		}
		if r.opts.DryRun || !repaired {
			return found, nil
		}
		if err := r.publishAgain(ctx); err != nil {
			return found, err
		}
		if found, err = verify(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// repair repairs a finding unless this was tried. It returns an error only if the context is done.
func (r *repairer) repair(ctx context.Context, f Finding) (tried bool, err error) {
	step, ok := repairSteps[f.Kind]
	key := fmt.Sprint(f.Kind, f.File)
	if step.perTenant { // the repair of one finding repairs them all
		key = fmt.Sprint(step.action, f.Tenant)
	}
	if !ok || r.tried[key] || !r.opts.DryRun && (r.offline && step.needsOpen || !r.offline && step.needsOffline) {
		return false, nil
	}
	r.tried[key] = true
	if r.opts.DryRun {
		r.result.Repairs = append(r.result.Repairs, Repair{Finding: f, Done: step.action})
		return true, nil
	}
	done, err := step.do(ctx, r, f)
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	repair := Repair{Finding: f, Done: done}
	if err != nil {
		repair.Done, repair.Failed = "", err.Error()
	}
	r.result.Repairs = append(r.result.Repairs, repair)
	return true, nil
}

// publishAgain publishes the tenants that have partitions to publish again.
func (r *repairer) publishAgain(ctx context.Context) error {
	for _, id := range slices.Collect(maps.Keys(r.publish)) {
		delete(r.publish, id)
		if _, err := r.w.PublishTenant(ctx, id); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for i, repair := range r.result.Repairs {
				if repair.Tenant.UUID == id && repair.partition.dataset.Name != "" {
					r.result.Repairs[i].Failed = err.Error()
				}
			}
		}
	}
	return nil
}
