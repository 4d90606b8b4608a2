package warehouse

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/filelock"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
)

// FindingKind names the kind of a finding.
type FindingKind string

// Kinds of findings, from the root of the data folder to the rows of a tenant.
const (
	FoundLink             FindingKind = "link"
	FoundStray            FindingKind = "stray"
	FoundMode             FindingKind = "mode"
	FoundOwner            FindingKind = "owner"
	FoundMissingFolder    FindingKind = "folder_missing"
	FoundMark             FindingKind = "mark_damaged"
	FoundSigningKey       FindingKind = "signing_key"
	FoundJournal          FindingKind = "journal_damaged"
	FoundControl          FindingKind = "control_damaged"
	FoundControlWAL       FindingKind = "control_wal_damaged"
	FoundKeysDiffer       FindingKind = "keys_differ"
	FoundInterrupted      FindingKind = "checkpoint_interrupted"
	FoundUnregistered     FindingKind = "tenant_unregistered"
	FoundStoreMissing     FindingKind = "store_missing"
	FoundStoreDamaged     FindingKind = "store_damaged"
	FoundStoreForeign     FindingKind = "store_foreign"
	FoundStoreBehind      FindingKind = "store_behind"
	FoundStoreUnavailable FindingKind = "store_unavailable"
	FoundStoreNewer       FindingKind = "store_newer"
	FoundWAL              FindingKind = "wal_damaged"
	FoundDuplicates       FindingKind = "duplicate_rows"
	FoundDeletedRows      FindingKind = "deleted_rows"
	FoundSequence         FindingKind = "feed_sequence"
	FoundPublishedMissing FindingKind = "published_missing"
	FoundPublishedDamaged FindingKind = "published_damaged"
	FoundDifference       FindingKind = "partition_differs"
	FoundQuarantine       FindingKind = "quarantine_damaged"
	FoundQuarantineEdited FindingKind = "quarantine_edited"
	FoundUnfinished       FindingKind = "erasure_unfinished"
	FoundKept             FindingKind = "kept_files"
)

// A findingRule describes the effect of a kind of finding and the command for the operator. {tenant} in the command
// stands for an option that restricts the command to the tenant, or for nothing.
type findingRule struct {
	effect, command string
	information     bool // nothing is wrong, and nothing has to be done
}

const repairCommand = "voicory repair{tenant}"

// findingRules lists every kind of finding.
var findingRules = map[FindingKind]findingRule{
	FoundLink: {effect: "voicory refuses the path", command: repairCommand},
	FoundStray: {
		effect:  "programs that read the folder may read it as data",
		command: repairCommand,
	},
	FoundMode: {
		effect:  "other users of the machine can read it, or voicory cannot",
		command: repairCommand,
	},
	FoundOwner:         {effect: "voicory may be unable to write it", command: "chown -R {owner} {data}"},
	FoundMissingFolder: {effect: "writes below it fail", command: repairCommand},
	FoundMark:          {effect: "voicory does not start", command: repairCommand},
	FoundSigningKey: {
		effect:  "voicory does not start, or cursors and signed URLs become invalid",
		command: repairCommand,
	},
	FoundJournal: {
		effect:  "the facts of these lines, such as revocations and erasures, are only in the control database",
		command: repairCommand,
	},
	FoundControl:    {effect: "voicory does not start, or keys fail", command: repairCommand},
	FoundControlWAL: {effect: "voicory does not start", command: repairCommand},
	FoundKeysDiffer: {effect: "the next start makes them agree, and a revocation in either of them holds",
		command: "voicory repair", information: true},
	FoundInterrupted: {effect: "none: no row is lost, and the next start completes the blocks; until then the rows are not " +
		"verified", command: repairCommand, information: true},
	FoundUnregistered: {effect: "the tenant is missing in lists", command: repairCommand},
	FoundStoreMissing: {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreDamaged: {
		effect:  "requests of the tenant that read the damaged part fail",
		command: repairCommand,
	},
	FoundStoreUnavailable: {
		effect:  "every request of the tenant fails",
		command: "remove the cause, and verify again",
	},
	FoundStoreForeign: {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreBehind:  {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreNewer:   {effect: "every request of the tenant fails", command: "upgrade voicory"},
	FoundWAL:          {effect: "every request of the tenant fails", command: repairCommand},
	FoundDuplicates:   {effect: "pages and files show a row twice", command: repairCommand},
	FoundDeletedRows:  {effect: "the change feed shows a row and its deletion", command: repairCommand},
	FoundSequence:     {effect: "followers of the change feed miss rows", command: repairCommand},
	FoundPublishedMissing: {
		effect:  "downloads and SQL of the partition fail; readers of lake/ miss its rows",
		command: repairCommand,
	},
	FoundPublishedDamaged: {
		effect:  "downloads and SQL of the partition fail; readers of lake/ get wrong rows",
		command: repairCommand,
	},
	FoundDifference: {effect: "files and SQL show other rows than pages", command: repairCommand},
	FoundQuarantine: {effect: "the damaged lines cannot be replayed", command: repairCommand},
	FoundQuarantineEdited: {
		effect:      "none, if the file was edited",
		command:     "voicory quarantine list",
		information: true,
	},
	FoundUnfinished: {effect: "data that was to be erased is still in files; the server tries again every minute",
		command: repairCommand, information: true},
	FoundKept: {effect: "files that repairs and restores have replaced use disk space",
		command: "remove the folder when they are no longer needed", information: true},
}

// A Finding is one deviation of the data folder from its required state.
type Finding struct {
	Kind    FindingKind   `json:"kind"`
	Tenant  uuid.NullUUID `json:"tenant_id"`
	File    string        `json:"file"` // path in the data folder
	Detail  string        `json:"detail"`
	Effect  string        `json:"effect"`  // for users
	Command string        `json:"command"` // for the operator
	// Information marks a finding that needs no repair.
	Information bool `json:"information,omitempty"`

	partition partition // to publish again; its dataset is empty for other findings
}

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

// openOffline opens a data folder whatever its state, and changes nothing in it. The warehouse has neither a control
// database nor a pool of tenants. The caller calls closeOffline.
func openOffline(ctx context.Context, opts Options) (_ *Warehouse, err error) {
	path, err := filepath.Abs(opts.Dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data folder %s: %w", opts.Dir, errNoFolder)
	}
	if err != nil {
		return nil, err
	}
	f := &dataFolder{path: path, mark: folderMark{Format: folderFormat, LakeMode: LakePrivate},
		log: cmp.Or(opts.Log, slog.New(slog.DiscardHandler))}
	w := &Warehouse{dir: path, folder: f, commits: readCommits(nil),
		conditions: newConditions(slog.New(slog.DiscardHandler))} // a verification reports findings instead
	defer func() {
		if err != nil {
			err = errors.Join(f.refusal(err), w.closeOffline())
		}
	}()
	if f.root, err = os.OpenRoot(path); err != nil {
		return nil, err
	}
	if err := f.isDataFolder(); err != nil {
		return nil, err
	}
	if err := f.lockOffline(); err != nil {
		return nil, err
	}
	if mark, err := f.readMark(); err == nil {
		f.mark = mark
	} else {
		f.mark.LakeMode = f.presentLakeMode()
	}
	w.readHistories()
	if w.instance, err = duckdb.Open(ctx, path); err != nil {
		return nil, err
	}
	w.loader = w.instance.DB("")
	// It does not spill: that would change the folder.
	return w, configure(ctx, w.instance, w.loader, cmp.Or(opts.MemoryLimit, defaultMemory), "")
}

// readHistories reads the registered histories and the last commits of the stores as far as they can be read. Damage of
// their files is a finding of its own.
func (w *Warehouse) readHistories() {
	w.histories.byTenant, w.histories.accepted = map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]bool{}
	if text, err := w.folder.readFile(w.folder.join(commitsFile)); err == nil {
		w.commits = readCommits(text)
	}
	text, err := w.folder.readFile(w.folder.join(journalFile))
	if err != nil {
		return
	}
	entries, _, _ := journal.Read(bytes.NewReader(text)) // a reader of bytes does not fail
	for _, entry := range entries {
		var h storeIdentity
		var deleted deletion
		switch {
		case entry.Kind == journal.History && entry.Decode(&h) == nil:
			w.histories.byTenant[h.Tenant] = h.History
		case entry.Kind == journal.TenantDeleted && entry.Decode(&deleted) == nil:
			delete(w.histories.byTenant, deleted.Tenant)
		}
	}
}

// closeOffline closes a warehouse of openOffline.
func (w *Warehouse) closeOffline() error {
	w.healing.close()
	var errs []error
	if w.loader != nil {
		errs = append(errs, w.loader.Close())
	}
	if w.instance != nil {
		errs = append(errs, w.instance.Close())
	}
	return errors.Join(append(errs, w.folder.close())...)
}

// isDataFolder returns an error unless the folder has a mark, even a damaged one. A folder with the lock file and the
// folder of the stores counts as a data folder that has lost its mark. In any other folder, every file would be
// reported as stray.
func (f *dataFolder) isDataFolder() error {
	has := func(name string) bool {
		_, err := f.root.Lstat(name)
		return err == nil
	}
	if has(markFile) || has(lockFile) && has(warehouseDir) {
		return nil
	}
	if entries, err := f.readDir(f.path); err != nil || len(entries) == 0 {
		return errors.Join(err, errNoFolder)
	}
	return fmt.Errorf("%w: it is not a data folder of voicory; name another with --data", ErrInvalid)
}

// lockOffline locks the folder without writing to the lock file. A folder without a lock file is not open: Open creates
// the file. It returns ErrInUse if a process has the folder open.
func (f *dataFolder) lockOffline() (err error) {
	if info, err := f.root.Lstat(lockFile); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil // a finding, if it is a link
	}
	if f.lock, err = f.root.Open(lockFile); err != nil {
		return err
	}
	if err := filelock.TryLock(f.lock); err != nil {
		return fmt.Errorf("%w: another process has it open", ErrInUse)
	}
	return nil
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

func (f Finding) tenantText() string {
	if !f.Tenant.Valid {
		return ""
	}
	return f.Tenant.UUID.String()
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

// A pacer limits the rate of reads. The zero value has no limit.
type pacer struct {
	rate  int64 // bytes per second; 0: no limit
	bytes int64
	begun time.Time
}

// wait counts bytes that were read. If the bytes exceed the rate since the first call, it waits until they do not.
func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.rate == 0 {
		return ctx.Err()
	}
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	p.bytes += int64(bytes)
	ahead := time.Duration(float64(p.bytes)/float64(p.rate)*float64(time.Second)) - time.Since(p.begun)
	if ahead <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(ahead):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// A pacedReader reads at the rate of a pacer.
type pacedReader struct {
	ctx  context.Context
	in   io.Reader
	pace *pacer
}

func (r pacedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if paced := r.pace.wait(r.ctx, n); paced != nil && err == nil {
		err = paced
	}
	return n, err
}

// attachReadOnly attaches a database that is not attached for reading, and returns connections whose default database
// it is. The log of the database is replayed in memory, by an instance of its own; no file changes.
func (w *Warehouse) attachReadOnly(ctx context.Context, catalog, path string) (*sql.DB, func() error, error) {
	if err := w.folder.forDuckDB(path); err != nil {
		return nil, nil, err
	}
	hasLog, err := w.checkLog(path)
	if err != nil {
		return nil, nil, err
	}
	if hasLog {
		return w.attachAlone(ctx, catalog, path)
	}
	if err := execAttach(ctx, w.loader, attachForReading(catalog, path)); err != nil {
		return nil, nil, err
	}
	db := w.instance.DB("USE " + statements.Ident(catalog))
	return db, func() error { return w.detach(context.WithoutCancel(ctx), catalog, db) }, nil
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
