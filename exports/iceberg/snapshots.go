package iceberg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Snapshot is the set of a table's files after one publication, for protocols other than Iceberg.
type Snapshot struct {
	ID    int64     // time of the publication in microseconds; 0: nothing was ever published
	At    time.Time // of the publication
	Files []warehouse.TableFile
}

// Snapshots returns the snapshots that can be read, oldest first. The last one is current. If nothing was
// published, Snapshots returns one snapshot without files.
func (t *Table) Snapshots() []Snapshot {
	if len(t.snapshots) == 0 {
		return []Snapshot{{At: time.UnixMicro(0).UTC()}}
	}
	all := make([]Snapshot, len(t.snapshots))
	for i, s := range t.snapshots {
		all[i] = Snapshot{s.id(), s.at, s.files}
	}
	return all
}

// ID returns the identifier of the table, which never changes.
func (t *Table) ID() uuid.UUID { return TableID(t.Tenant, t.Export) }

// TableID returns the identifier of the table of a tenant's export.
func TableID(tenant uuid.UUID, export schema.Export) uuid.UUID {
	return uuid.NewSHA1(tenant, []byte("iceberg/"+export.Name))
}

// A ColumnStatistics holds the statistics of a top-level column that is neither a list nor a struct.
type ColumnStatistics struct {
	Values       int64  // number of values, with nulls
	Nulls        int64  // -1: unknown
	Lower, Upper []byte // bounds, in Iceberg's single-value serialization; nil: unknown, or all values are null
}

// Statistics returns the statistics of a file's columns by field number. It returns ErrUnavailable if the file is
// damaged.
func (t *Tables) Statistics(ctx context.Context, table *Table, f warehouse.TableFile) (
	map[int]ColumnStatistics, error,
) {
	of, err := t.statisticsOf(ctx, table, f)
	if err != nil {
		return nil, fmt.Errorf("statistics of %s: %w", f.Name, err)
	}
	columns := make(map[int]ColumnStatistics, len(of.values))
	for _, values := range of.values {
		columns[values.id] = ColumnStatistics{Values: values.value, Nulls: -1}
	}
	set := func(id int, change func(*ColumnStatistics)) {
		column := columns[id]
		change(&column)
		columns[id] = column
	}
	for _, nulls := range of.nulls {
		set(nulls.id, func(c *ColumnStatistics) { c.Nulls = nulls.value })
	}
	for _, lower := range of.lower {
		set(lower.id, func(c *ColumnStatistics) { c.Lower = lower.value })
	}
	for _, upper := range of.upper {
		set(upper.id, func(c *ColumnStatistics) { c.Upper = upper.value })
	}
	return columns, nil
}
