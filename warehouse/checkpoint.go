package warehouse

import (
	"context"
	"database/sql"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// Bounds of the rows in the WALs of all tenants. DuckDB also keeps these rows in memory, uncompressed, until a
// checkpoint writes them to the tenant's file. DuckDB itself checkpoints by the size of one WAL, or when a file is
// detached. With many tenants the rows would fill the memory before that, and DuckDB would spill them to its
// temporary folder repeatedly.
const (
	// maxWALRows is the number of rows of all tenants from which a tenant with minCheckpointRows is checkpointed.
	maxWALRows        = 16_384
	minCheckpointRows = 2_048
	// hardMaxWALRows is the number of rows of all tenants from which a tenant with any number of rows is checkpointed. It
	// bounds the rows of many tenants with fewer than minCheckpointRows each.
	hardMaxWALRows = 2 * maxWALRows
)

// maybeCheckpoint counts rows that were merged into the store, and checkpoints the store if the WALs hold too many
// rows. The caller holds the writing lock of the store.
func (p *tenantPool) maybeCheckpoint(ctx context.Context, conn *sql.Conn, store *tenantStore, rows int64) error {
	if rows >= RowGroup {
		return nil // DuckDB wrote a full row group to the file directly, not to the WAL
	}
	store.walRows += rows
	if total := p.walRows.Add(rows); total < maxWALRows || store.walRows < minCheckpointRows && total < hardMaxWALRows {
		return nil
	}
	_, err := conn.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT "+statements.Ident(store.id.String()))
	if duckdb.IsTransaction(err) {
		return nil // another transaction is writing; the rows are durable in the WAL, and the next merge tries again
	}
	if err != nil {
		return err
	}
	p.walRows.Add(-store.walRows)
	store.walRows = 0
	return nil
}
