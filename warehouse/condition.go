package warehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A ConditionKind is a kind of damage or failure of a tenant or of the data folder.
type ConditionKind string

// Kinds of conditions. A tenant with one of the store kinds cannot be read or written at all.
const (
	StoreMissing     ConditionKind = "store_missing"     // the tenant is known, but its file is gone
	StoreForeign     ConditionKind = "store_foreign"     // the file at the tenant's path belongs to another tenant
	StoreBehind      ConditionKind = "store_behind"      // the file or its WAL lacks commits that were acknowledged
	StoreUnreadable  ConditionKind = "store_unreadable"  // the file cannot be opened
	StoreNewer       ConditionKind = "store_newer"       // the file was written by a newer version
	StoreInvalidated ConditionKind = "store_invalidated" // DuckDB has given the database up until it is attached again

	StoreDamaged         ConditionKind = "store_damaged"         // a part of the tenant's file cannot be read
	FileDamaged          ConditionKind = "file_damaged"          // a published file is missing or has other bytes
	PublicationFailing   ConditionKind = "publication_failing"   // the last publication failed
	PublicationLagging   ConditionKind = "publication_lagging"   // commits are unpublished for longer than maxPublishLag
	QuarantineUnreadable ConditionKind = "quarantine_unreadable" // a file of the quarantine cannot be read
	NoSpace              ConditionKind = "no_space"              // the disk is full or nearly full
	DiskFailing          ConditionKind = "disk_failing"          // the disk failed, and does not work again yet
	JournalDamaged       ConditionKind = "journal_damaged"       // lines of the journal are damaged
	ControlDamaged       ConditionKind = "control_damaged"       // a part of the control database cannot be read
	BucketFailing        ConditionKind = "bucket_failing"        // the bucket of the lake cannot be read or written
	BucketLagging        ConditionKind = "bucket_lagging"        // publications are not in the bucket for too long
	BucketConflict       ConditionKind = "bucket_conflict"       // another server writes to the bucket
)

// ConditionKinds lists all kinds.
var ConditionKinds = slices.Concat(storeKinds, []ConditionKind{
	StoreDamaged, FileDamaged, PublicationFailing, PublicationLagging, QuarantineUnreadable, NoSpace, DiskFailing,
	JournalDamaged,
	ControlDamaged, BucketFailing, BucketLagging, BucketConflict,
})

var storeKinds = []ConditionKind{
	StoreMissing, StoreForeign, StoreBehind, StoreUnreadable, StoreNewer, StoreInvalidated,
}

// IsStore reports whether the kind makes a whole tenant unavailable.
func (k ConditionKind) IsStore() bool { return slices.Contains(storeKinds, k) }

// A Condition is a known failure of a tenant or of the data folder.
type Condition struct {
	Tenant  uuid.UUID     `json:"tenant_id"` // zero: a condition of the data folder
	Kind    ConditionKind `json:"kind"`
	Subject string        `json:"subject,omitempty"` // affected file, relative to the data folder; "": the whole tenant
	Error   string        `json:"error"`
	Since   time.Time     `json:"since"` // UTC; when this process noticed it
}

// ErrUnavailable is the kind of all errors that a [Condition] causes.
var ErrUnavailable = errors.New("data of the tenant is unavailable")

// A ConditionError is an [ErrUnavailable] with the kind of the condition that causes it. A function that cannot open a
// store or read a published file returns one, and its caller records it with conditions.set.
type ConditionError struct {
	Kind ConditionKind
	Err  error
	File string // affected file, relative to the data folder; "": several, or none
}

func (e *ConditionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConditionError) Unwrap() error { return e.Err }

// Is reports whether the target is ErrUnavailable.
func (e *ConditionError) Is(target error) bool { return target == ErrUnavailable }

// conditions is the only record of known failures in a data folder. The code that notices a failure sets the
// condition, and the code that finds the part sound again clears it. /readyz, the operator's list of tenants,
// metrics and errors read it. Conditions are kept in memory only: a new process detects them again.
type conditions struct {
	log  *slog.Logger // constant
	mu   sync.Mutex
	all  map[conditionKey]conditionRecord // guarded by mu
	lags map[uuid.UUID]time.Time          // start of the oldest unpublished commits, by tenant; guarded by mu
}

func newConditions(log *slog.Logger) *conditions {
	return &conditions{log: log, all: map[conditionKey]conditionRecord{}, lags: map[uuid.UUID]time.Time{}}
}

type conditionKey struct {
	tenant  uuid.UUID
	kind    ConditionKind
	subject string
}

type conditionRecord struct {
	err   error
	since time.Time
}

// set records err as the error of a condition of the tenant, or ends the condition if err is nil. It logs the beginning
// and the end of a condition. It reports whether the condition begins.
func (c *conditions) set(tenant uuid.UUID, kind ConditionKind, subject string, err error) (begins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := conditionKey{tenant, kind, subject}
	record, known := c.all[key]
	attrs := []any{"kind", string(kind)}
	if tenant != uuid.Nil {
		attrs = append(attrs, "tenant", tenant)
	}
	if subject != "" {
		attrs = append(attrs, "subject", subject)
	}
	if err == nil {
		if known {
			c.log.Info("condition ended", append(attrs, "since", record.since)...)
			delete(c.all, key)
		}
		return false
	}
	if !known {
		record.since = time.Now().UTC()
		c.log.Error("condition", append(attrs, "error", err)...)
	}
	record.err = err
	c.all[key] = record
	return !known
}

// SetCondition records a condition that a package above this one has noticed, or its end if err is nil. It is a
// condition of the data folder if the tenant is zero.
func (w *Warehouse) SetCondition(tenant uuid.UUID, kind ConditionKind, subject string, err error) {
	w.conditions.set(tenant, kind, subject, err)
}

// setStore records the outcome of opening the tenant's store. A ConditionError determines the kind; any other error
// makes the store unreadable. Success clears all store kinds.
func (c *conditions) setStore(tenant uuid.UUID, err error) {
	kind := StoreUnreadable
	if failure := (*ConditionError)(nil); errors.As(err, &failure) {
		kind = failure.Kind
	}
	for _, k := range storeKinds {
		if k == kind {
			c.set(tenant, k, "", err)
		} else {
			c.set(tenant, k, "", nil)
		}
	}
	if err == nil { // found again by the next statement that reads the damaged part
		c.set(tenant, StoreDamaged, "", nil)
	}
}

// noteDamaged records that a part of a database cannot be read. The damage is a condition until the database is
// attached again. It returns the error with the file and the command to run.
func (c *conditions) noteDamaged(database string, err error) error {
	tenant, notTenant := uuid.Parse(database)
	if hint := repairHint(err); hint != "" && notTenant == nil {
		err = &damageError{fmt.Errorf("%s: %w%s", storeFile(tenant), err, hint)}
	} else if hint != "" {
		err = &damageError{fmt.Errorf("%s: %w%s while no server runs", controlFile, err, hint)}
	}
	if notTenant == nil {
		c.set(tenant, StoreDamaged, "", err)
	} else {
		c.set(uuid.Nil, ControlDamaged, controlFile, err)
	}
	return err
}

// A damageError is an ErrDamaged whose text ends with the command to run.
type damageError struct{ error }

// Unwrap returns the error of the statement.
func (e *damageError) Unwrap() error { return e.error }

// repairHint returns the end of the text of an error, with the command that repairs the data folder. It returns "" if
// the text names the command already.
func repairHint(err error) string {
	if damage := (*damageError)(nil); errors.As(err, &damage) {
		return ""
	}
	return "; run `voicory repair`"
}

// of returns the error of a condition of the tenant, or nil.
func (c *conditions) of(tenant uuid.UUID, kind ConditionKind, subject string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[conditionKey{tenant, kind, subject}].err
}

// withoutTables returns the tenants with a condition that makes their tables unavailable.
func (c *conditions) withoutTables() map[uuid.UUID]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	tenants := map[uuid.UUID]bool{}
	for key := range c.all {
		if key.kind.IsStore() || key.kind == PublicationFailing {
			tenants[key.tenant] = true
		}
	}
	return tenants
}

// clearTenant forgets all conditions of a tenant that does not exist any more.
func (c *conditions) clearTenant(tenant uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.all {
		if key.tenant == tenant {
			delete(c.all, key)
		}
	}
	delete(c.lags, tenant)
}

// maxPublishLag is the time after a commit from which a tenant counts as lagging if the commit is not published.
const maxPublishLag = 15 * time.Minute

// noteUnpublished records that the tenant has unpublished commits, unless that is known.
func (c *conditions) noteUnpublished(tenant uuid.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.lags[tenant]; !known {
		c.lags[tenant] = time.Now()
	}
}

// unpublishedSince records that the oldest unpublished commit of the tenant is from the given time. The zero time means
// that everything is published.
func (c *conditions) unpublishedSince(tenant uuid.UUID, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.IsZero() {
		delete(c.lags, tenant)
		return
	}
	c.lags[tenant] = at
}

// list returns all conditions, ordered by tenant, kind and subject.
func (c *conditions) list(now time.Time) []Condition {
	c.mu.Lock()
	list := make([]Condition, 0, len(c.all))
	for key, record := range c.all {
		list = append(list, Condition{key.tenant, key.kind, key.subject, record.err.Error(), record.since})
	}
	for tenant, at := range c.lags {
		if lag := now.Sub(at); lag > maxPublishLag {
			list = append(list, Condition{Tenant: tenant, Kind: PublicationLagging, Since: at.UTC(),
				Error: fmt.Sprintf("commits are not published since %s", lag.Truncate(time.Second))})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Condition) int {
		return cmp.Or(strings.Compare(a.Tenant.String(), b.Tenant.String()),
			cmp.Compare(slices.Index(ConditionKinds, a.Kind), slices.Index(ConditionKinds, b.Kind)),
			strings.Compare(a.Subject, b.Subject))
	})
	return list
}

// minFreeBytes is the free space of the data folder's disk below which the folder has the condition NoSpace. Merges
// and publications of a few batches still fit into it.
const minFreeBytes = 64 << 20

// Conditions returns all known failures, ordered by tenant. A condition of the whole data folder has no tenant and
// comes first.
func (w *Warehouse) Conditions() []Condition {
	_ = w.TempDir() // creates a missing one; a failure is a condition
	if free := w.FreeBytes(); free < minFreeBytes {
		w.conditions.set(uuid.Nil, NoSpace, "", fmt.Errorf("%w: %s has %d bytes left, and %d are kept in reserve",
			ErrNoSpace, w.dir, free, minFreeBytes))
	} else {
		w.conditions.set(uuid.Nil, NoSpace, "", nil)
	}
	return w.conditions.list(time.Now())
}

// Ready returns an error if the warehouse cannot serve any tenant: if the control database cannot be read, if the
// folder of the stores is missing, or if every known tenant has a condition that makes its store unavailable.
func (w *Warehouse) Ready(ctx context.Context) error {
	if err := w.Ping(ctx); err != nil {
		return fmt.Errorf("read the control database: %w", err)
	}
	dir := w.folder.join(warehouseDir)
	if exists, err := w.folder.exists(dir); err != nil || !exists {
		return fmt.Errorf("folder of the stores: %w", cmp.Or(err, fmt.Errorf("%w: %s", ErrNotFound, dir)))
	}
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return err
	}
	unavailable := map[uuid.UUID]bool{}
	for _, condition := range w.conditions.list(time.Now()) {
		if condition.Kind.IsStore() {
			unavailable[condition.Tenant] = true
		}
	}
	for _, tenant := range tenants {
		if !unavailable[tenant.ID] {
			return nil
		}
	}
	if len(tenants) > 0 {
		return fmt.Errorf("%w: no store of %d tenants can be opened", ErrUnavailable, len(tenants))
	}
	return nil
}
