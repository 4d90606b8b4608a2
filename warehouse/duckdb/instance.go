package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// An Instance is a DuckDB instance whose own database is in memory. All connections share its memory limit, its threads
// and its attached databases.
type Instance struct {
	connector *duckdb.Connector
	dir       string // a full disk is one that has no space here

	onInvalidated func(database string)                  // see OnInvalidated; nil: none
	onDamaged     func(database string, err error) error // see OnDamaged; nil: none
	onFailedWrite func(file string, err error)           // see OnFailedWrite; nil: none
}

// Open starts an instance that writes files to the folder dir, and adds the SQL functions csv_field and lines.
func Open(ctx context.Context, dir string) (*Instance, error) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, err
	}
	i := &Instance{connector: connector, dir: dir}
	for _, add := range []func(context.Context, *sql.Conn) error{addCSVField, addLines} {
		if err := i.setup(ctx, add); err != nil {
			return nil, errors.Join(err, i.Close())
		}
	}
	return i, nil
}

// OnInvalidated sets a function that is called with the name of a database whenever a statement fails with
// ErrInvalidated. It must not block. OnInvalidated must be called before the connections of the instance are used.
func (i *Instance) OnInvalidated(call func(database string)) { i.onInvalidated = call }

// OnDamaged sets a function that is called with the default database of a connection and the error whenever a statement
// of the connection fails with ErrDamaged. It returns the error that the statement returns. It must not block.
// OnDamaged must be called before the connections of the instance are used.
func (i *Instance) OnDamaged(call func(database string, err error) error) { i.onDamaged = call }

// OnFailedWrite sets a function that is called with the path of a file and an ErrNoSpace or ErrIO whenever a statement
// fails because the file cannot be written. It must not block. OnFailedWrite must be called before the connections of
// the instance are used.
func (i *Instance) OnFailedWrite(call func(file string, err error)) { i.onFailedWrite = call }

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
		return nil, c.instance.classify(err, "")
	}
	own := conn{opened.(*duckdb.Conn), c.instance, usedDatabase(c.onOpen)}
	if c.onOpen == "" {
		return own, nil
	}
	if _, err := own.ExecContext(ctx, c.onOpen, nil); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return own, nil
}

// usedDatabase returns the database that the statement USE selects, or nothing for another statement.
func usedDatabase(statement string) string {
	name, ok := strings.CutPrefix(statement, "USE ")
	if !ok {
		return ""
	}
	return strings.Trim(name, `"`)
}

// A conn is a connection of the driver that classifies the errors of statements and transactions. It does not classify
// the errors of prepared statements, which this program does not use.
type conn struct {
	*duckdb.Conn
	instance *Instance
	database string // that onOpen selects; "": none
}

// classify classifies an error of a statement of the connection.
func (c conn) classify(err error) error { return c.instance.classify(err, c.database) }

// unwrap returns the driver's connection of a connection of an instance, or driverConn itself.
func unwrap(driverConn any) any {
	if own, ok := driverConn.(conn); ok {
		return own.Conn
	}
	return driverConn
}

// classifierOf returns the function that classifies the errors of a connection of an instance.
func classifierOf(driverConn any) func(error) error {
	own, _ := driverConn.(conn)
	return own.classify
}

// ExecContext executes statements. Statements with arguments are executed by the driver.
func (c conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 {
		rows, err := execAll(ctx, c, query)
		return driver.RowsAffected(rows), err
	}
	result, err := c.Conn.ExecContext(ctx, query, args)
	return result, c.classify(err)
}

// QueryContext executes a query.
func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	result, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, c.classify(err)
	}
	return rows{result.(columnRows), c.classify}, nil
}

// BeginTx starts a transaction. DuckDB has one isolation level, snapshot isolation, and no read-only transactions.
func (c conn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if options.ReadOnly || sql.IsolationLevel(options.Isolation) != sql.LevelDefault {
		return nil, errors.New("begin a transaction: options are not supported")
	}
	_, err := c.ExecContext(ctx, "BEGIN", nil)
	return tx{c}, err
}

// columnRows are rows as the driver implements them.
type columnRows interface {
	driver.Rows
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
}

type rows struct {
	columnRows
	classify func(error) error
}

// Next reads the next row.
func (r rows) Next(values []driver.Value) error {
	return r.classify(r.columnRows.Next(values))
}

// A tx is the transaction of a connection. It does not use that of the driver, which occupies a core while a commit
// waits for the disk.
type tx struct{ conn conn }

// Commit commits the transaction.
func (t tx) Commit() error { return t.end("COMMIT") }

// Rollback rolls the transaction back.
func (t tx) Rollback() error { return t.end("ROLLBACK") }

func (t tx) end(statement string) error {
	_, err := t.conn.ExecContext(context.Background(), statement, nil)
	return err
}
