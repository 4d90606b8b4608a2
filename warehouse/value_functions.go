package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/values"
)

// A textFunction is a function of SQL with one argument, a text. It returns nil for NULL.
type textFunction struct {
	result duckdb.Type
	value  func(text string) any
}

// valueFunctions are the SQL functions that read the values of rows. They are called for the few values that DuckDB's
// own casts do not read. A call takes about a microsecond.
var valueFunctions = map[string]textFunction{
	// parse_time returns microseconds since 1970, values.OutOfRange, or NULL if the text is not a time.
	"parse_time": {duckdb.TYPE_BIGINT, func(text string) any {
		if micros, ok := values.ParseTime(text); ok {
			return micros
		}
		return nil
	}},
	"plain_number": {duckdb.TYPE_VARCHAR, func(text string) any { return values.PlainNumber(text) }},
}

// Config returns the signature of the function.
func (f *textFunction) Config() duckdb.ScalarFuncConfig {
	text, err := duckdb.NewTypeInfo(duckdb.TYPE_VARCHAR)
	result, resultErr := duckdb.NewTypeInfo(f.result)
	if err = errors.Join(err, resultErr); err != nil {
		panic(err) // both are simple types
	}
	return duckdb.ScalarFuncConfig{InputTypeInfos: []duckdb.TypeInfo{text}, ResultTypeInfo: result}
}

// Executor returns the function for one row.
func (f *textFunction) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func(arguments []driver.Value) (any, error) {
		return f.value(arguments[0].(string)), nil
	}}
}

// addValueFunctions adds valueFunctions to the DuckDB instance of db.
func addValueFunctions(ctx context.Context, db *sql.DB) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for name, function := range valueFunctions {
		if err := duckdb.RegisterScalarUDF(conn, name, &function); err != nil {
			return fmt.Errorf("add the function %s: %w", name, err)
		}
	}
	return nil
}
