package duckdb

import (
	"context"
	"errors"
	"reflect"

	bindings "github.com/duckdb/duckdb-go-bindings"
	duckdb "github.com/duckdb/duckdb-go/v2"
)

// rawConnection returns the DuckDB connection of a driver connection, for calls that the driver does not offer. The
// driver does not export it, so it is read by reflection. When ctx is done, the running statement is interrupted. The
// caller must call release before it uses the driver connection again.
func rawConnection(ctx context.Context, driverConn any) (conn bindings.Connection, release func(), err error) {
	own, is := unwrap(driverConn).(*duckdb.Conn)
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
