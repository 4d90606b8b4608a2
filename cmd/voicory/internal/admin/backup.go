package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/voicory/warehouse/warehouse"
)

// Backup writes a backup. Tenants that cannot be copied are part of the report.
var Backup = operation("backup",
	func(ctx context.Context, l *Local, o warehouse.BackupOptions) (warehouse.BackupReport, error) {
		return l.Warehouse.Backup(ctx, o)
	})

// Restored is the outcome of a restore.
type Restored struct {
	warehouse.RestoreReport
	Published Publication `json:"published"`
}

// RestoreTenant restores one tenant and publishes its stale partitions.
var RestoreTenant = operation("restore",
	func(ctx context.Context, l *Local, o warehouse.RestoreOptions) (outcome Restored, err error) {
		if outcome.RestoreReport, err = l.Warehouse.RestoreTenant(ctx, o); err != nil {
			return outcome, err
		}
		outcome.Published, err = Publish.run(ctx, l, None{}, func(Progress) {})
		return outcome, err
	})

// RestoreFolder restores a whole data folder, which no server may have open, and publishes the stale partitions.
func RestoreFolder(
	ctx context.Context, options warehouse.Options, o warehouse.RestoreOptions,
) (outcome Restored, err error) {
	conn, err := dialServer(ctx, warehouse.SocketPath(options.Dir))
	if err != nil {
		return outcome, err
	}
	if conn != nil {
		return outcome, errors.Join(fmt.Errorf("%w: a server has %s open; stop it to restore all tenants, or restore one "+
			"tenant with --tenant", warehouse.ErrInUse, options.Dir), conn.Close())
	}
	var w *warehouse.Warehouse
	if w, outcome.RestoreReport, err = warehouse.RestoreFolder(ctx, options, o); err != nil {
		return outcome, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	outcome.Published, err = Publish.run(ctx, &Local{Warehouse: w, Standalone: true}, None{}, func(Progress) {})
	return outcome, err
}
