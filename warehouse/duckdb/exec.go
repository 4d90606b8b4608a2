package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// pollInterval is the pause of Exec when all remaining tasks run on other threads.
const pollInterval = 100 * time.Microsecond

// Exec executes one statement like ExecContext, and returns the number of rows that it changed or wrote. It is
// meant for statements that process many rows: while other threads run the last tasks, ExecContext polls without a
// pause and occupies a core.
func Exec(ctx context.Context, conn *sql.Conn, statement string) (rows int64, err error) {
	err = conn.Raw(func(driverConn any) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rows, err = execPending(ctx, driverConn, statement); err != nil {
			return classifierOf(driverConn)(errors.Join(ctx.Err(), err))
		}
		return nil
	})
	return rows, err
}

func execPending(ctx context.Context, driverConn any, statement string) (rows int64, err error) {
	conn, release, err := rawConnection(ctx, driverConn)
	if err != nil {
		return 0, err
	}
	defer release()
	var prepared bindings.PreparedStatement
	defer bindings.DestroyPrepare(&prepared)
	if bindings.Prepare(conn, statement, &prepared) == bindings.StateError {
		return 0, newError(bindings.PrepareError(prepared))
	}
	var pending bindings.PendingResult
	defer bindings.DestroyPending(&pending)
	if bindings.PendingPrepared(prepared, &pending) == bindings.StateError {
		return 0, newError(bindings.PendingError(pending))
	}
	for {
		switch bindings.PendingExecuteTask(pending) {
		case bindings.PendingStateError:
			return 0, newError(bindings.PendingError(pending))
		case bindings.PendingStateResultReady:
			var result bindings.Result
			defer bindings.DestroyResult(&result)
			if bindings.ExecutePending(pending, &result) == bindings.StateError {
				return 0, newError(bindings.ResultError(&result))
			}
			return int64(bindings.RowsChanged(&result)), nil
		case bindings.PendingStateNoTasksAvailable:
			time.Sleep(pollInterval)
		}
		if ctx.Err() != nil {
			bindings.Interrupt(conn) // again, because an interrupt before the start of the statement has no effect
		}
	}
}
