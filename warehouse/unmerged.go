package warehouse

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// An UnmergedError is the error of a merge that merged the rows of some tenants only. It has the error of each tenant
// whose rows were not merged. When its cause has been repaired or has passed, the caller merges the same rows again,
// which has no effect on the other tenants.
type UnmergedError struct{ Tenants map[uuid.UUID]error }

// Error returns the errors of the tenants.
func (e *UnmergedError) Error() string {
	texts := []string{}
	for _, err := range e.Unwrap() {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors of the tenants, in the order of the tenants.
func (e *UnmergedError) Unwrap() (errs []error) {
	order := func(x, y uuid.UUID) int { return bytes.Compare(x[:], y[:]) }
	for _, tenant := range slices.SortedFunc(maps.Keys(e.Tenants), order) {
		errs = append(errs, e.Tenants[tenant])
	}
	return errs
}

// Add adds the tenants of other. Of each tenant, the first error stays.
func (e *UnmergedError) Add(other *UnmergedError) {
	for tenant, err := range other.Tenants {
		e.add(tenant, err)
	}
}

func (e *UnmergedError) add(tenant uuid.UUID, err error) {
	if e.Tenants == nil {
		e.Tenants = map[uuid.UUID]error{}
	}
	if e.Tenants[tenant] == nil {
		e.Tenants[tenant] = err
	}
}

// OrNil returns the error, or nil if it has no tenant.
func (e *UnmergedError) OrNil() error {
	if e == nil || len(e.Tenants) == 0 {
		return nil
	}
	return e
}
