package duckdb

import (
	"context"
	"database/sql"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// pollInterval is the pause of a statement when all its remaining tasks run on other threads. Without a pause, as in
// the driver, it would occupy a core until they end. A commit, for example, waits for the disk on another thread.
const pollInterval = 100 * time.Microsecond

// Exec executes one statement, and returns the number of rows that it changed or wrote.
func Exec(ctx context.Context, conn *sql.Conn, statement string) (rows int64, err error) {
	err = withPrepared(ctx, conn, statement, func(result *bindings.Result) error {
		rows = int64(bindings.RowsChanged(result))
		return nil
	})
	return rows, err
}

// Select is Exec for a query, and returns its rows. All its columns must be of the type VARCHAR.
func Select(ctx context.Context, conn *sql.Conn, query string) (rows [][]sql.NullString, err error) {
	err = withPrepared(ctx, conn, query, func(result *bindings.Result) error {
		rows, err = texts(result)
		return err
	})
	return rows, err
}

// texts returns the rows of a result.
func texts(result *bindings.Result) (rows [][]sql.NullString, err error) {
	err = eachChunk(result, func(chunk *Chunk) error {
		columns := make([]Column[Text], chunk.columns)
		read := ColumnReader{Chunk: chunk}
		for i := range columns {
			Next(&read, &columns[i])
		}
		if read.Err != nil {
			return read.Err
		}
		for row := range chunk.Rows {
			texts := make([]sql.NullString, len(columns))
			for i, column := range columns {
				if column.Valid(row) {
					texts[i] = sql.NullString{String: string(column.Values[row].Bytes()), Valid: true}
				}
			}
			rows = append(rows, texts)
		}
		return nil
	})
	return rows, err
}

// withPrepared executes a statement and calls use with its result.
func withPrepared(
	ctx context.Context, conn *sql.Conn, statement string, use func(*bindings.Result) error,
) error {
	return withRaw(ctx, conn, func(own bindings.Connection) error {
		var prepared bindings.PreparedStatement
		defer bindings.DestroyPrepare(&prepared)
		if bindings.Prepare(own, statement, &prepared) == bindings.StateError {
			return newError(bindings.PrepareError(prepared))
		}
		return execPrepared(ctx, own, prepared, use)
	})
}

// execAll executes statements one after another, and returns the number of rows that the last one changed or wrote.
func execAll(ctx context.Context, driverConn any, query string) (rows int64, err error) {
	err = withRawConnection(ctx, driverConn, func(own bindings.Connection) error {
		var statements bindings.ExtractedStatements
		defer bindings.DestroyExtracted(&statements)
		count := bindings.ExtractStatements(own, query, &statements)
		if count == 0 {
			return newError(bindings.ExtractStatementsError(statements))
		}
		for i := range count {
			if rows, err = execExtracted(ctx, own, statements, i); err != nil {
				return err
			}
		}
		return nil
	})
	return rows, err
}

// execExtracted executes one of several statements.
func execExtracted(
	ctx context.Context, own bindings.Connection, statements bindings.ExtractedStatements, i bindings.IdxT,
) (rows int64, err error) {
	var prepared bindings.PreparedStatement
	defer bindings.DestroyPrepare(&prepared)
	if bindings.PrepareExtractedStatement(own, statements, i, &prepared) == bindings.StateError {
		return 0, newError(bindings.PrepareError(prepared))
	}
	err = execPrepared(ctx, own, prepared, func(result *bindings.Result) error {
		rows = int64(bindings.RowsChanged(result))
		return nil
	})
	return rows, err
}

// execPrepared executes a prepared statement and calls use with its result. The thread that ran the last task frees the
// state of its operators after the result is ready. ExecutePending would occupy a core until then, so another pause
// precedes it.
func execPrepared(
	ctx context.Context, conn bindings.Connection, prepared bindings.PreparedStatement, use func(*bindings.Result) error,
) error {
	var pending bindings.PendingResult
	defer bindings.DestroyPending(&pending)
	if bindings.PendingPrepared(prepared, &pending) == bindings.StateError {
		return newError(bindings.PendingError(pending))
	}
	waited := false
	for {
		switch bindings.PendingExecuteTask(pending) {
		case bindings.PendingStateError:
			return newError(bindings.PendingError(pending))
		case bindings.PendingStateResultReady:
			if waited {
				time.Sleep(pollInterval)
			}
			var result bindings.Result
			defer bindings.DestroyResult(&result)
			if bindings.ExecutePending(pending, &result) == bindings.StateError {
				return newError(bindings.ResultError(&result))
			}
			return use(&result)
		case bindings.PendingStateNoTasksAvailable:
			waited = true
			time.Sleep(pollInterval)
		}
		if ctx.Err() != nil {
			bindings.Interrupt(conn) // again, because an interrupt before the start of the statement has no effect
		}
	}
}
