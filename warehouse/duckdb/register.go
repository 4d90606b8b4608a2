package duckdb

import (
	"database/sql"
	"database/sql/driver"

	"github.com/apache/arrow-go/v18/arrow/array"
	duckdb "github.com/duckdb/duckdb-go/v2"
)

// RegisterView creates a view of the reader's rows, which all connections of the instance see. DuckDB's threads call
// the reader, one at a time. The caller drops the view, and then calls unregister. Concurrent calls for one instance
// are not allowed.
func RegisterView(conn *sql.Conn, reader array.RecordReader, name string) (unregister func(), err error) {
	err = conn.Raw(func(driverConn any) error {
		arrowConn, err := duckdb.NewArrowFromConn(unwrap(driverConn).(driver.Conn))
		if err != nil {
			return err
		}
		unregister, err = arrowConn.RegisterView(reader, name)
		return classifierOf(driverConn)(err)
	})
	return unregister, err
}
