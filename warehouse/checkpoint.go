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
	maxWALRows        = 16_384         // rows of all tenants, from which on
	minCheckpointRows = 2_048          // a tenant of so many is checkpointed at once,
	hardMaxWALRows    = 2 * maxWALRows // and from which on any is: of tenants with few rows each, there may be any number
)

// save counts rows that were merged into the store, and has them written down where there are too many of them. The caller holds
// the store's writing.
func (p *tenantPool) maybeCheckpoint(ctx context.Context, conn *sql.Conn, store *tenantStore, rows int64) error {
	if rows >= RowGroup {
		return nil // they were packed on their way in
	}
	store.walRows += rows
	if total := p.walRows.Add(rows); total < maxWALRows || store.walRows < minCheckpointRows && total < hardMaxWALRows {
		return nil
	}
	_, err := conn.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT "+statements.Ident(store.id.String()))
	if failure := (*duckdb.Error)(nil); errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeTransaction {
		return nil // somebody else is writing: the rows are in the log, and it is tried again with the next
	}
	if err != nil {
		return err
	}
	p.walRows.Add(-store.walRows)
	store.walRows = 0
	return nil
}
