package duckdb

import (
	"context"
	"database/sql"
	"errors"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// A Prepared is a statement that DuckDB has parsed and planned for one connection. It executes the same plan each time,
// and plans again only if the schema of a database that the statement names has changed.
//
// A statement that reads tables must not be prepared. The optimizer removes conditions that are always or never true by
// the statistics of a table. Rows that are added later do not change the plan.
type Prepared struct{ statement bindings.PreparedStatement }

// Prepare plans one statement.
func Prepare(ctx context.Context, conn *sql.Conn, statement string) (*Prepared, error) {
	p := &Prepared{}
	err := withRaw(ctx, conn, func(own bindings.Connection) error {
		if bindings.Prepare(own, statement, &p.statement) == bindings.StateError {
			defer p.Close()
			return newError(bindings.PrepareError(p.statement))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Exec executes the statement on its connection, see [Exec].
func (p *Prepared) Exec(ctx context.Context, conn *sql.Conn) (rows int64, err error) {
	err = withRaw(ctx, conn, func(own bindings.Connection) error {
		return execPrepared(ctx, own, p.statement, func(result *bindings.Result) error {
			rows = int64(bindings.RowsChanged(result))
			return nil
		})
	})
	return rows, err
}

// Close frees the plan.
func (p *Prepared) Close() { bindings.DestroyPrepare(&p.statement) }

// withRaw calls do with the DuckDB connection of conn, and classifies its error.
func withRaw(ctx context.Context, conn *sql.Conn, do func(bindings.Connection) error) error {
	return conn.Raw(func(driverConn any) error { return withRawConnection(ctx, driverConn, do) })
}

// withRawConnection is withRaw for a driver connection.
func withRawConnection(ctx context.Context, driverConn any, do func(bindings.Connection) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	own, release, err := rawConnection(ctx, driverConn)
	if err != nil {
		return err
	}
	defer release()
	if err := do(own); err != nil {
		return classifierOf(driverConn)(errors.Join(ctx.Err(), err))
	}
	return nil
}
