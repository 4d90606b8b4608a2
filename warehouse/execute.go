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

// interruptible is DuckDB's own connection, which the driver keeps to itself, for what it does not offer. When the context ends, what runs on
// it is interrupted. Release it, before anything else is done with the driver's connection.
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
			<-interrupted // and not whatever runs next
		}
	}, nil
}

var errUnknownDriver = errors.New("the driver has changed: its connections are not known")

// pause is how long is waited before it is looked again for something to do.
const pollInterval = 100 * time.Microsecond

// execute runs one statement as ExecContext does, and returns how many rows it has changed or written. It is for those that read or write
// many rows: while other threads do all that is left to do, ExecContext looks for more without a pause, and takes a core from them.
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
			bindings.Interrupt(conn) // again: what came before the statement had begun did nothing
		}
	}
}

// failure is an error as the driver has them, as far as they are told apart: DuckDB begins them with their kind.
func newError(message string) error {
	kind, _, _ := strings.Cut(message, " Error: ")
	kinds := map[string]duckdb.ErrorType{"Out of Memory": duckdb.ErrorTypeOutOfMemory, "IO": duckdb.ErrorTypeIO, "FATAL": duckdb.ErrorTypeFatal, "TransactionContext": duckdb.ErrorTypeTransaction,
		"Invalid Input": duckdb.ErrorTypeInvalidInput, "Conversion": duckdb.ErrorTypeConversion, "Binder": duckdb.ErrorTypeBinder,
		"Catalog": duckdb.ErrorTypeCatalog, "Parser": duckdb.ErrorTypeParser, "INTERRUPT": duckdb.ErrorTypeInterrupt}
	return &duckdb.Error{Type: cmp.Or(kinds[kind], duckdb.ErrorTypeUnknownType), Msg: message}
}
