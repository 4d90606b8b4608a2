package duckdb_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// Whatever method a statement is executed with, its error wraps ErrNoMemory if the memory is full, and the error of the
// driver.
func TestInstance_MemoryFull(t *testing.T) {
	conn := openConn(t)
	const large = "SELECT list(repeat('x', 1000) || range) AS n FROM range(1000000)"
	for name, run := range map[string]func(context.Context) error{
		"Exec": func(ctx context.Context) error {
			_, err := duckdb.Exec(ctx, conn, large)
			return err
		},
		"ExecContext": func(ctx context.Context) error {
			_, err := conn.ExecContext(ctx, large)
			return err
		},
		"ExecContext in a transaction": func(ctx context.Context) error {
			tx, err := conn.BeginTx(ctx, nil)
			noError(t, err)
			_, err = tx.ExecContext(ctx, "CREATE TABLE large AS "+large)
			return errors.Join(err, tx.Rollback())
		},
		"QueryContext": func(ctx context.Context) error {
			rows, err := conn.QueryContext(ctx, large)
			if err != nil {
				return err
			}
			defer rows.Close()
			return rows.Err()
		},
		"QueryRowContext": func(ctx context.Context) error {
			return conn.QueryRowContext(ctx, large).Scan(new(sql.RawBytes))
		},
		"StreamArrow": func(ctx context.Context) error {
			return conn.Raw(func(driverConn any) error {
				stream, err := duckdb.StreamArrow(ctx, driverConn, large)
				if err != nil {
					return err
				}
				defer stream.Close()
				_, err = stream.Next()
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context())
			var failure *driver.Error
			if !errors.Is(err, duckdb.ErrNoMemory) || !errors.As(err, &failure) {
				t.Errorf("got %v, want %v with the error of the driver", err, duckdb.ErrNoMemory)
			}
		})
	}
	if _, err := conn.ExecContext(t.Context(), "FROM nowhere"); errors.Is(err, duckdb.ErrNoMemory) ||
		!duckdb.IsCatalog(err) {
		t.Errorf("got %v, want an error of the catalog", err)
	}
}
