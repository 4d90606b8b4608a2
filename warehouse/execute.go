package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"time"

	bindings "github.com/duckdb/duckdb-go-bindings"
	duckdb "github.com/duckdb/duckdb-go/v2"
)

// rawConnection returns the DuckDB connection of a driver connection, for calls that the driver does not offer. The
// driver does not export it, so it is read by reflection. When ctx is done, the running statement is interrupted. The
// caller must call release before it uses the driver connection again.
func rawConnection(ctx context.Context, driverConn any) (conn bindings.Connection, release func(), err error) {
	own, is := driverConn.(*duckdb.Conn)
	if !is {
		return conn, nil, errUnknownDriver
	}
	field := reflect.ValueOf(own).Elem().FieldByName("conn")
	if !field.IsValid() || field.Type() != reflect.TypeFor[bindings.Connection]() {
		return conn, nil, errUnknownDriver
	}
	conn = *(*bindings.Connection)(field.Addr().UnsafePointer())
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		bindings.Interrupt(conn)
	})
	return conn, func() {
		if !stop() {
			<-interrupted // otherwise the interrupt could hit the next statement
		}
	}, nil
}

var errUnknownDriver = errors.New("access the DuckDB connection: this version of the driver is not supported")

// pollInterval is the pause of execute when all remaining tasks run on other threads.
const pollInterval = 100 * time.Microsecond

// execute executes one statement like ExecContext, and returns the number of rows that it changed or wrote. It is
// meant for statements that process many rows: while other threads run the last tasks, ExecContext polls without a
// pause and occupies a core.
func execute(ctx context.Context, conn *sql.Conn, statement string) (rows int64, err error) {
	err = conn.Raw(func(driverConn any) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if rows, err = executePending(ctx, driverConn, statement); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		return nil
	})
	return rows, err
}

func executePending(ctx context.Context, driverConn any, statement string) (rows int64, err error) {
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

// newError returns a *duckdb.Error like those of the driver. Its type is parsed from the prefix of the message, for
// example "Out of Memory Error: ".
func newError(message string) error {
	kind, _, _ := strings.Cut(message, " Error: ")
	kinds := map[string]duckdb.ErrorType{
		"Out of Memory":      duckdb.ErrorTypeOutOfMemory,
		"IO":                 duckdb.ErrorTypeIO,
		"FATAL":              duckdb.ErrorTypeFatal,
		"TransactionContext": duckdb.ErrorTypeTransaction,
		"Invalid Input":      duckdb.ErrorTypeInvalidInput,
		"Conversion":         duckdb.ErrorTypeConversion,
		"Binder":             duckdb.ErrorTypeBinder,
		"Catalog":            duckdb.ErrorTypeCatalog,
		"Parser":             duckdb.ErrorTypeParser,
		"INTERRUPT":          duckdb.ErrorTypeInterrupt,
	}
	return &duckdb.Error{Type: cmp.Or(kinds[kind], duckdb.ErrorTypeUnknownType), Msg: message}
}
