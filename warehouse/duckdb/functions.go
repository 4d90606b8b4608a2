package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// A TextFunction is an SQL function of one text, which is not NULL. Value returns the result, or nil for NULL: an int64
// if Integer is set, and a string otherwise.
type TextFunction struct {
	Name    string
	Integer bool
	Value   func(text string) any
}

// AddFunctions adds functions to the instance.
func (i *Instance) AddFunctions(ctx context.Context, functions ...TextFunction) error {
	return i.setup(ctx, func(_ context.Context, conn *sql.Conn) error {
		for _, f := range functions {
			if err := AddFunction(conn, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddFunction adds a function to the instance of a connection.
func AddFunction(conn *sql.Conn, f TextFunction) error {
	if err := duckdb.RegisterScalarUDF(conn, f.Name, textFunction(f)); err != nil {
		return fmt.Errorf("add the function %s: %w", f.Name, err)
	}
	return nil
}

// A textFunction is a TextFunction as the driver calls it.
type textFunction TextFunction

// Config returns the signature of the function.
func (f textFunction) Config() duckdb.ScalarFuncConfig {
	kind := duckdb.TYPE_VARCHAR
	if f.Integer {
		kind = duckdb.TYPE_BIGINT
	}
	text, err := duckdb.NewTypeInfo(duckdb.TYPE_VARCHAR)
	result, resultErr := duckdb.NewTypeInfo(kind)
	if err = errors.Join(err, resultErr); err != nil {
		panic(err) // both are simple types
	}
	return duckdb.ScalarFuncConfig{InputTypeInfos: []duckdb.TypeInfo{text}, ResultTypeInfo: result}
}

// Executor returns the function for one row.
func (f textFunction) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func(arguments []driver.Value) (any, error) {
		return f.Value(arguments[0].(string)), nil
	}}
}
