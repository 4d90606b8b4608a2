package admin

import (
	"context"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// ErasureRequest is the request of Erase.
type ErasureRequest struct {
	Tenant   uuid.UUID `json:"tenant_id"`
	Customer string    `json:"customer"` // id or phone number
	DryRun   bool      `json:"dry_run"`
}

// Erase erases a customer and searches the data folder for the texts of the customer.
var Erase = operation("erase", func(ctx context.Context, l *Local, r ErasureRequest) (warehouse.Erasure, error) {
	return l.Warehouse.Erase(ctx, r.Tenant, r.Customer, warehouse.EraseOptions{DryRun: r.DryRun})
})
