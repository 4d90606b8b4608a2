package warehouse

import "github.com/google/uuid"

// Bounds of the rows in WALs.
const (
	MaxWALRows     = maxWALRows
	HardMaxWALRows = hardMaxWALRows
)

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
