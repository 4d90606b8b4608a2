package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A deleted or updated row stays in the blocks of a DuckDB file, in its log, and in the state that the older of its
// headers describes. Other rows overwrite it at some time. So an erasure writes the whole file again, from the rows
// that a query returns.

// rewriteFile replaces a database file by a copy of its rows in a new file. catalog is the attached database. detach
// detaches it, after which nothing may use the file until rewriteFile returns. A crash leaves the old file or the new
// one, and perhaps an unfinished file, which the next start removes.
func (w *Warehouse) rewriteFile(ctx context.Context, catalog, path string, detach func() error) error {
	err := w.folder.writeAtomic(path, func(temp string) error {
		err := w.folder.forDuckDB(temp)
		for _, suffix := range walSuffixes {
			err = errors.Join(err, w.folder.removeIfThere(temp+suffix))
		}
		if err == nil {
			err = w.copyDatabase(ctx, catalog, temp)
		}
		if err == nil {
			err = detach()
		}
		if err != nil {
			return err
		}
		for _, suffix := range walSuffixes { // a log of the old file must never meet the new one
			if exists, err := w.folder.exists(path + suffix); err != nil || exists {
				return errors.Join(err, fmt.Errorf("%s is still there after the checkpoint", filepath.Base(path)+suffix))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", filepath.Base(path), err)
	}
	return nil
}

// copyDatabase copies the schema and the rows of an attached database to a new file with blocks of the same size. Rows
// keep their order, because DuckDB can skip row groups only if neighbouring rows have similar times.
func (w *Warehouse) copyDatabase(ctx context.Context, catalog, path string) (err error) {
	conn, err := w.loader.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // returns the connection to its pool
	block := 0
	err = conn.QueryRowContext(ctx, "SELECT block_size FROM pragma_database_size() WHERE database_name = "+
		statements.Text(catalog)).Scan(&block)
	if err != nil {
		return err
	}
	fresh := "copy_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	attach := fmt.Sprintf("ATTACH %s AS %s (ROW_GROUP_SIZE %d, STORAGE_VERSION %s, BLOCK_SIZE %d)",
		statements.Text(path), fresh, RowGroup, storageVersion, block)
	if _, err := conn.ExecContext(ctx, attach); err != nil {
		return err
	}
	defer func() {
		_, detached := detachWritten(context.WithoutCancel(ctx), conn, fresh, path)
		err = errors.Join(err, detached)
	}()
	schema := fmt.Sprintf("COPY FROM DATABASE %s TO %s (SCHEMA)", statements.Ident(catalog), fresh)
	if _, err := conn.ExecContext(ctx, schema); err != nil {
		return err
	}
	tables, err := queryTexts(ctx, conn, statements.Fill("erasure/database_tables", "catalog", statements.Text(catalog)))
	if err != nil {
		return err
	}
	for _, table := range tables {
		from := statements.Ident(catalog) + ".main." + statements.Ident(table)
		if err := copyTable(ctx, conn, from, fresh+".main."+statements.Ident(table)); err != nil {
			return fmt.Errorf("copy table %s: %w", table, err)
		}
	}
	return nil
}

// copyTable copies the rows of a table in chunks of one row group, each sorted in memory.
func copyTable(ctx context.Context, conn *sql.Conn, from, to string) error {
	bounds, err := queryTexts(ctx, conn, statements.Fill("erasure/chunk_bounds",
		"table", from, "chunk", fmt.Sprint(RowGroup)))
	if err != nil {
		return err
	}
	last := "-1"
	for _, bound := range bounds {
		chunk := fmt.Sprintf("INSERT INTO %s SELECT * FROM %s WHERE rowid > %s AND rowid <= %s ORDER BY rowid",
			to, from, last, bound)
		if _, err := duckdb.Exec(ctx, conn, chunk); err != nil {
			return err
		}
		last = bound
	}
	var had, has int64
	count := fmt.Sprintf("SELECT (SELECT count(*) FROM %s), (SELECT count(*) FROM %s)", from, to)
	if err := conn.QueryRowContext(ctx, count).Scan(&had, &has); err != nil {
		return err
	}
	if had != has {
		return fmt.Errorf("the copy has %d of %d rows", has, had)
	}
	return nil
}

// queryTexts returns the first column of a query, as texts.
func queryTexts(ctx context.Context, db querier, query string, args ...any) (texts []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, rows.Err()
}

// A changeStore changes the rows of a store that no other goroutine uses. On its connection, the store is the database
// with the name of the tenant's id. It reports whether the file must be written again.
type changeStore func(store *tenantStore, conn *sql.Conn) (rewrite bool, err error)

// main returns the quoted name of the schema of the store.
func (s *tenantStore) main() string { return statements.Ident(s.id.String()) + ".main" }

// rewriteTenant changes the rows of a tenant and then writes its file again. The tenant must be detached, see
// withDetached.
func (w *Warehouse) rewriteTenant(ctx context.Context, id uuid.UUID, change changeStore) error {
	store := w.tenants.newStore(id)
	if err := w.attachTenant(ctx, store, largeBlock); err != nil {
		return err
	}
	detach := func() error {
		if store.db == nil {
			return nil
		}
		err := w.detachTenant(context.WithoutCancel(ctx), id.String(), store.db)
		store.db = nil
		return err
	}
	conn, err := w.loader.Conn(ctx)
	if err != nil {
		return errors.Join(err, detach())
	}
	rewrite, err := change(store, conn)
	err = errors.Join(err, discard(conn))
	if err == nil && rewrite {
		err = w.rewriteFile(ctx, id.String(), w.tenantPath(id), detach)
	}
	return errors.Join(err, detach())
}

// rewriteControl rewrites the file of the control database. Its connections are held meanwhile, so all
// other users wait.
func (w *Warehouse) rewriteControl(ctx context.Context) (err error) {
	w.rewriting.Lock() // otherwise the healer would attach the database that is detached here
	defer w.rewriting.Unlock()
	reads, err := w.controlReads.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(reads)) }()
	conn, err := w.control.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx = context.WithoutCancel(ctx) // a half-done DETACH would make the control database unusable
	path, detached := w.folder.join(controlFile), false
	err = w.rewriteFile(ctx, "control", path, func() error {
		if _, err := conn.ExecContext(ctx, "USE memory"); err != nil {
			return err
		}
		detached, err = detachWritten(ctx, conn, "control", path)
		return err
	})
	if detached {
		err = errors.Join(err, w.attachControl(ctx, conn))
	}
	_, used := conn.ExecContext(ctx, "USE control")
	return errors.Join(err, used)
}
