package warehouse

import (
	"context"
	"fmt"

	statements "github.com/voicory/warehouse/sql"
)

// A MemoryUse is a part of DuckDB's memory. The sum of all parts is at most the memory limit.
type MemoryUse struct {
	Tag     string  // kind of use, as DuckDB names it, in lower case
	Bytes   float64 // in memory
	Spilled float64 // bytes in temporary files
}

// MemoryUse returns the uses of DuckDB's memory, always all of them in the same order.
func (w *Warehouse) MemoryUse(ctx context.Context) (uses []MemoryUse, err error) {
	rows, err := w.loader.QueryContext(ctx, statements.Get("merge/memory_use"))
	if err != nil {
		return nil, fmt.Errorf("read the use of memory: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var use MemoryUse
		if err := rows.Scan(&use.Tag, &use.Bytes, &use.Spilled); err != nil {
			return nil, fmt.Errorf("read the use of memory: %w", err)
		}
		uses = append(uses, use)
	}
	return uses, rows.Err()
}
