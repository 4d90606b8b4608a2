package admin

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// VerifyRequest is the request of Verify.
type VerifyRequest struct {
	Tenant uuid.UUID `json:"tenant_id"` // zero: everything
}

var verify = operation("verify",
	func(ctx context.Context, l *Local, r VerifyRequest) (warehouse.Verification, error) {
		return l.Warehouse.Verify(ctx, r.Tenant)
	})

var repair = operation("repair",
	func(ctx context.Context, l *Local, o warehouse.RepairOptions) (warehouse.Repairs, error) {
		return l.Warehouse.Repair(ctx, o)
	})

// Verify verifies a data folder: in the server that has it open, or in this process, which then changes nothing in it.
func Verify(ctx context.Context, options warehouse.Options, r VerifyRequest) (warehouse.Verification, error) {
	conn, err := dialServer(ctx, warehouse.SocketPath(options.Dir))
	if err != nil {
		return warehouse.Verification{}, err
	}
	if conn == nil {
		return warehouse.VerifyFolder(ctx, options, r.Tenant)
	}
	found, err := verify.Call(ctx, conn, r)
	return found, errors.Join(err, conn.Close())
}

// Repair repairs a data folder: in the server that has it open, or in this process.
func Repair(ctx context.Context, options warehouse.Options, o warehouse.RepairOptions) (warehouse.Repairs, error) {
	conn, err := dialServer(ctx, warehouse.SocketPath(options.Dir))
	if err != nil {
		return warehouse.Repairs{}, err
	}
	if conn == nil {
		return warehouse.RepairFolder(ctx, options, o)
	}
	repaired, err := repair.Call(ctx, conn, o)
	return repaired, errors.Join(err, conn.Close())
}
