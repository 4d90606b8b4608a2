package warehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
)

// Verification is the result of Verify.
type Verification struct {
	Findings []Finding `json:"findings"`
	Skipped  []Skipped `json:"skipped"`
	Checked  Checked   `json:"checked"`
}

// Sound reports whether every finding is information only.
func (v Verification) Sound() bool {
	return !slices.ContainsFunc(v.Findings, func(f Finding) bool { return !f.Information })
}

// A Skipped is a part that was not compared; this needs no repair.
type Skipped struct {
	Tenant uuid.NullUUID `json:"tenant_id"`
	Part   string        `json:"part"`
	Reason string        `json:"reason"`
}

// Checked has the numbers of the things that were verified.
type Checked struct {
	Tenants    int   `json:"tenants"`
	Files      int   `json:"files"`      // published files whose hash was computed
	Bytes      int64 `json:"bytes"`      // of these files
	InBucket   int   `json:"in_bucket"`  // published files in the bucket of the lake only, whose length was compared
	Partitions int   `json:"partitions"` // files that were compared with the store, row by row
	Rows       int64 `json:"rows"`       // rows of these files
}

// A verifier verifies a data folder. It changes nothing.
type verifier struct {
	w *Warehouse
	// offline means that no process has the folder open. Only dir, folder, instance and loader of w are then set, and
	// databases are attached read-only.
	offline bool
	only    uuid.UUID // zero: all tenants
	owner   uint32    // user that the data folder belongs to
	found   Verification
	limit   pacer
	facts   []journal.Entry // of the journal

	tenants    map[uuid.UUID]bool // tenants that have a file, a folder or a record
	registered map[uuid.UUID]bool // nil: the control database cannot be read
	stores     map[uuid.UUID]bool // tenants with a file of rows
}

// verifyPace is the rate at which a running server reads published files to verify them, in bytes per second.
const verifyPace = 64 << 20

// Verify verifies the data folder, or the files and rows of one tenant if tenant is not zero. Readers and writers go
// on meanwhile: published files are read at a limited rate, and the rows in short snapshots, one at a time. Logs of
// databases are not read, because their content is in memory.
func (w *Warehouse) Verify(ctx context.Context, tenant uuid.UUID) (Verification, error) {
	v := newVerifier(w, tenant)
	v.limit.rate = verifyPace
	return v.run(ctx)
}

// VerifyFolder verifies a data folder that no process has open, as Verify does, and also the logs of the databases. It
// returns ErrInUse if a process has it open. The folder is locked meanwhile.
func VerifyFolder(ctx context.Context, opts Options, tenant uuid.UUID) (_ Verification, err error) {
	w, err := openOffline(ctx, opts)
	if err != nil {
		return Verification{}, err
	}
	defer func() { err = errors.Join(err, w.closeOffline()) }()
	v := newVerifier(w, tenant)
	v.offline = true
	return v.run(ctx)
}

func newVerifier(w *Warehouse, tenant uuid.UUID) *verifier {
	return &verifier{w: w, only: tenant, tenants: map[uuid.UUID]bool{}, stores: map[uuid.UUID]bool{},
		found: Verification{Findings: []Finding{}, Skipped: []Skipped{}}}
}

// run verifies everything, and returns the findings by tenant and file. An error means that the verification itself
// failed.
func (v *verifier) run(ctx context.Context) (Verification, error) {
	if err := v.checkFolder(); err != nil {
		return v.found, fmt.Errorf("verify the data folder: %w", err)
	}
	if err := v.checkControl(ctx); err != nil {
		return v.found, fmt.Errorf("verify the control database: %w", err)
	}
	if v.only != uuid.Nil && !v.tenants[v.only] {
		return v.found, fmt.Errorf("%w: no tenant %s; `voicory tenants list` shows their ids", ErrNotFound, v.only)
	}
	for _, id := range v.sortedTenants() {
		if err := v.checkTenant(ctx, id); err != nil {
			return v.found, fmt.Errorf("verify tenant %s: %w", id, err)
		}
		v.found.Checked.Tenants++
	}
	v.checkUpgradeCopies()
	slices.SortStableFunc(v.found.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.tenantText(), b.tenantText()), strings.Compare(a.File, b.File))
	})
	return v.found, nil
}

// checkUpgradeCopies reports the copies that were made before upgrades. They are needed until a verification finds no
// fault and skips nothing.
func (v *verifier) checkUpgradeCopies() {
	if v.only != uuid.Nil {
		return
	}
	detail := "copies of before an upgrade; keep them until nothing is wrong"
	if v.found.Sound() && len(v.found.Skipped) == 0 {
		detail = "copies of before an upgrade; everything is verified, so they can be removed"
	}
	kept := v.w.folder.join(repairedDir)
	entries, _ := v.w.folder.readDir(kept) // without the folder there are no copies
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), upgradePrefix) {
			v.report(FoundKept, uuid.Nil, filepath.Join(kept, entry.Name()), "%s", detail)
		}
	}
}

func (v *verifier) sortedTenants() (tenants []uuid.UUID) {
	for id := range v.tenants {
		if v.only == uuid.Nil || v.only == id {
			tenants = append(tenants, id)
		}
	}
	slices.SortFunc(tenants, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return tenants
}

// report adds a finding about a path. Findings about other tenants than the one to verify are left out.
func (v *verifier) report(kind FindingKind, tenant uuid.UUID, path, detail string, args ...any) {
	v.reportPartition(kind, tenant, path, partition{}, detail, args...)
}

// reportPartition adds a finding about a path that publishing the partition again would remove.
func (v *verifier) reportPartition(kind FindingKind, tenant uuid.UUID, path string, p partition, detail string,
	args ...any,
) {
	if v.only != uuid.Nil && tenant != v.only {
		return
	}
	rule := findingRules[kind]
	if repairSteps[kind].needsOffline && !v.offline {
		rule.command += ", after the server has been stopped"
	}
	owned := uuid.NullUUID{UUID: tenant, Valid: tenant != uuid.Nil}
	option := ""
	if owned.Valid {
		option = " --tenant " + tenant.String()
	}
	name, err := filepath.Rel(v.w.dir, path)
	if err != nil {
		name = path
	}
	command := strings.NewReplacer("{tenant}", option, "{data}", v.w.dir,
		"{owner}", fmt.Sprint(v.owner)).Replace(rule.command)
	v.found.Findings = append(v.found.Findings, Finding{Kind: kind, Tenant: owned, File: name,
		Detail: fmt.Sprintf(detail, args...), Effect: rule.effect, Command: command, Information: rule.information,
		partition: p})
}

// skip adds a part that was not compared.
func (v *verifier) skip(tenant uuid.UUID, part, reason string) {
	owner := uuid.NullUUID{UUID: tenant, Valid: tenant != uuid.Nil}
	v.found.Skipped = append(v.found.Skipped, Skipped{owner, part, reason})
}

// isDamage reports whether an error of reading a database says that its file is damaged. The cause is otherwise in this
// process or this machine.
func isDamage(err error) bool {
	reason, ok := duckdb.StatementFault(err)
	return errors.Is(err, ErrDamaged) ||
		ok && !strings.Contains(reason, "Cannot open file") && !strings.Contains(reason, "Could not set lock")
}

// firstLine returns the first line of the text of an error.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
