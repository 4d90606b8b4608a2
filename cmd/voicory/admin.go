package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
)

// openAdmin connects to the server that has the data folder open, or opens the folder if no server runs. If the folder
// is missing or empty, it is created if create is true; otherwise openAdmin returns warehouse.ErrNotFound.
func (f *flags) openAdmin(ctx context.Context, create bool) (*admin.Conn, error) {
	return admin.Open(ctx, admin.Options{
		Warehouse: f.warehouse(create, f.Log), AllowUnsandboxedSQL: f.Query.AllowUnsandboxedSQL,
	})
}

// withAdmin calls do with a connection to the data folder. It returns warehouse.ErrNotFound if the folder does not
// exist.
func (f *flags) withAdmin(ctx context.Context, do func(*admin.Conn) error) error {
	return f.with(ctx, false, do)
}

// withCreated is like withAdmin, but creates the data folder if it is missing or empty.
func (f *flags) withCreated(ctx context.Context, do func(*admin.Conn) error) error {
	return f.with(ctx, true, do)
}

func (f *flags) with(ctx context.Context, create bool, do func(*admin.Conn) error) error {
	conn, err := f.openAdmin(ctx, create)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close())
}

// warehouse returns the options of the data folder.
func (f *flags) warehouse(create bool, log *slog.Logger) warehouse.Options {
	return warehouse.Options{Dir: f.Data, MustExist: !create, LakeMode: warehouse.LakeMode(f.LakeMode),
		MemoryLimit: f.MemoryLimit, Log: log}
}
