package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// An Instance is a DuckDB instance whose own database is in memory. All connections share its memory limit, its threads
// and its attached databases.
type Instance struct {
	connector *duckdb.Connector
	dir       string // a full disk is one that has no space here

	onInvalidated func(database string) // see OnInvalidated; nil: none
}

// Open starts an instance that writes files to the folder dir, and adds the SQL function csv_field.
func Open(ctx context.Context, dir string) (*Instance, error) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, err
	}
	i := &Instance{connector: connector, dir: dir}
	if err := i.setup(ctx, addCSVField); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// OnInvalidated sets a function that is called with the name of a database whenever a statement fails with
// ErrInvalidated. It must not block. OnInvalidated must be called before the connections of the instance are used.
func (i *Instance) OnInvalidated(call func(database string)) { i.onInvalidated = call }

// Close closes the instance, which checkpoints the databases that are still attached.
func (i *Instance) Close() error { return i.connector.Close() }

// DB returns connections of the instance. Each executes the statement onOpen when it is opened, unless onOpen is empty.
// Closing them leaves the instance open.
func (i *Instance) DB(onOpen string) *sql.DB { return sql.OpenDB(connector{i, onOpen}) }

// setup calls add with a connection of the driver itself. The driver adds functions to an instance only through such a
// connection.
func (i *Instance) setup(ctx context.Context, add func(context.Context, *sql.Conn) error) (err error) {
	db := sql.OpenDB(sharedConnector{i.connector})
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(add(ctx, conn), conn.Close())
}

// A sharedConnector opens connections of the driver. [sql.DB.Close] does not close its instance.
type sharedConnector struct{ *duckdb.Connector }

// Close does nothing.
func (sharedConnector) Close() error { return nil }

// A connector opens connections that classify their errors.
type connector struct {
	instance *Instance
	onOpen   string // statement for new connections; "": none
}

// Driver returns the driver.
func (c connector) Driver() driver.Driver { return c.instance.connector.Driver() }

// Connect opens a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.instance.connector.Connect(ctx)
	if err != nil {
		return nil, c.instance.classify(err)
	}
	own := conn{opened.(*duckdb.Conn), c.instance}
	if c.onOpen == "" {
		return own, nil
	}
	if _, err := own.ExecContext(ctx, c.onOpen, nil); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return own, nil
}

// A conn is a connection of the driver that classifies the errors of statements and transactions. It does not classify
// the errors of prepared statements, which this program does not use.
type conn struct {
	*duckdb.Conn
	instance *Instance
}

// unwrap returns the driver's connection of a connection of an instance, or driverConn itself.
func unwrap(driverConn any) any {
	if own, ok := driverConn.(conn); ok {
		return own.Conn
	}
	return driverConn
}

// instanceOf returns the instance of one of its connections, or nil.
func instanceOf(driverConn any) *Instance {
	own, _ := driverConn.(conn)
	return own.instance
}

// ExecContext executes statements.
func (c conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, query, args)
	return result, c.instance.classify(err)
}

// QueryContext executes a query.
func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	result, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, c.instance.classify(err)
	}
	return rows{result.(columnRows), c.instance}, nil
}

// BeginTx starts a transaction.
func (c conn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	begun, err := c.Conn.BeginTx(ctx, options)
	if err != nil {
		return nil, c.instance.classify(err)
	}
	return tx{begun, c.instance}, nil
}

// columnRows are rows as the driver implements them.
type columnRows interface {
	driver.Rows
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
}

type rows struct {
	columnRows
	instance *Instance
}

// Next reads the next row.
func (r rows) Next(values []driver.Value) error {
	return r.instance.classify(r.columnRows.Next(values))
}

type tx struct {
	driver.Tx
	instance *Instance
}

// Commit commits the transaction.
func (t tx) Commit() error { return t.instance.classify(t.Tx.Commit()) }
