package warehouse

import (
	"context"
	"database/sql"
	"errors"

	duckdb "github.com/duckdb/duckdb-go/v2"

	statements "github.com/voicory/warehouse/sql"
)

// What is in a tenant's log is in DuckDB's memory too, as it came, until a checkpoint packs it into the file. Left to the log's
// size, or to the detaching, the rows of many tenants would fill the memory, and DuckDB would write them to its temporary folder
// and read them back again and again.
const (
	maxUnsaved  = 16_384         // rows of all tenants, from which on
	minSaved    = 2_048          // a tenant of so many is checkpointed at once,
	mostUnsaved = 2 * maxUnsaved // and from which on any is: of tenants with few rows each, there may be any number
)

// save counts rows that were merged into the store, and has them written down where there are too many of them. The caller holds
// the store's writing.
func (p *tenantPool) save(ctx context.Context, conn *sql.Conn, store *tenantStore, rows int64) error {
	if rows >= RowGroup {
		return nil // they were packed on their way in
	}
	store.unsaved += rows
	if total := p.unsaved.Add(rows); total < maxUnsaved || store.unsaved < minSaved && total < mostUnsaved {
		return nil
	}
	_, err := conn.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT "+statements.Ident(store.id.String()))
	if failure := (*duckdb.Error)(nil); errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeTransaction {
		return nil // somebody else is writing: the rows are in the log, and it is tried again with the next
	}
	if err != nil {
		return err
	}
	p.unsaved.Add(-store.unsaved)
	store.unsaved = 0
	return nil
}
