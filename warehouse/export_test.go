package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// MaxPublishLag is the lag of a publication from which it is a condition.
const MaxPublishLag = maxPublishLag

// ConditionsAt returns the conditions at a later time.
func (w *Warehouse) ConditionsAt(now time.Time) []Condition { return w.conditions.list(now) }

// SetMaxAttached sets the number of tenants that may be attached at the same time.
func (w *Warehouse) SetMaxAttached(n int) {
	w.tenants.mu.Lock()
	defer w.tenants.mu.Unlock()
	w.tenants.maxAttached = n
}

// Attached returns the number of attached tenants, and whether the tenant is one of them.
func (w *Warehouse) Attached(tenant uuid.UUID) (n int, attached bool) {
	w.tenants.mu.Lock()
	defer w.tenants.mu.Unlock()
	return len(w.tenants.open), w.tenants.open[tenant] != nil
}

// OpenTenant attaches the tenant and releases it.
func (w *Warehouse) OpenTenant(ctx context.Context, id uuid.UUID) error {
	_, release, err := w.tenant(ctx, id)
	if err == nil {
		release()
	}
	return err
}

// HookDetach makes the pool call before and after with the tenant at each DETACH. An error of before prevents the
// DETACH. Both errors make it fail.
func (w *Warehouse) HookDetach(before, after func(uuid.UUID) error) {
	w.tenants.detach = func(ctx context.Context, catalog string, db *sql.DB) error {
		id := uuid.MustParse(catalog)
		if err := before(id); err != nil {
			if db != nil {
				err = errors.Join(err, db.Close())
			}
			return err
		}
		return errors.Join(w.detach(ctx, catalog, db), after(id))
	}
}

// WithDetached calls do while the tenant is not attached.
func (w *Warehouse) WithDetached(ctx context.Context, id uuid.UUID, do func() error) error {
	return w.withDetached(ctx, id, do)
}

// SetDrainTimeout bounds the time for which WithDetached waits for the users of a store. It returns the former bound.
func SetDrainTimeout(d time.Duration) (former time.Duration) {
	former, drainTimeout = drainTimeout, d
	return former
}

// MemoryOfChanges returns the bytes of memory of changes that are not checkpointed, and their bound.
func (w *Warehouse) MemoryOfChanges(ctx context.Context) (used, bound float64, err error) {
	used, err = w.checkpoints.memory(ctx)
	return used, checkpointAbove * w.checkpoints.limit, err
}

// FindingTable returns the table of docs/operating.md: kind, effect and command of each finding.
func FindingTable() (lines []string) {
	for kind, rule := range findingRules {
		command := strings.NewReplacer("{tenant}", "", "{owner}", "USER", "{data}", "FOLDER").Replace(rule.command)
		if name, _, _ := strings.Cut(command, " "); name == "voicory" || name == "chown" {
			command = "`" + command + "`"
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", kind, rule.effect, command))
	}
	slices.Sort(lines)
	return lines
}
