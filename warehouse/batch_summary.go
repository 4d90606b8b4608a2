package warehouse

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A stagedTenant summarizes the staged rows of one tenant. Rows without a tenant are refused; they have an invalid id.
type stagedTenant struct {
	id            uuid.NullUUID
	rows, refused int64
	deleted       bool     // the tenant was deleted; all its rows count as refused
	erased        int64    // rows that were deleted since, because their customer was erased
	unknown       []string // fields that the dataset does not have

	// Only rows that are not refused count for the following fields.
	hasDuplicates bool         // an id occurs more than once
	deletions     int64        // rows that are deletions
	months        monthSet     // months of created_at
	first, last   sql.NullTime // lowest and highest created_at
}

// hasRows reports whether at least one row is not refused.
func (t stagedTenant) hasRows() bool { return t.rows > t.refused }

// A monthSet is a set of months in UTC.
type monthSet map[month]struct{}

type month struct {
	year  int
	month time.Month
}

// add adds the month of a time in microseconds since 1970.
func (m monthSet) add(micros int64) {
	year, name, _ := time.UnixMicro(micros).UTC().Date()
	m[month{year, name}] = struct{}{}
}

// String returns the month as YYYY-MM.
func (m month) String() string {
	return time.Date(m.year, m.month, 1, 0, 0, 0, 0, time.UTC).Format("2006-01")
}

// A tenantSummary is a stagedTenant while its rows are read.
type tenantSummary struct {
	stagedTenant
	ids     map[duckdb.UUID]struct{} // of the rows that are not refused
	unknown map[string]struct{}      // at most twice maxUnknown
}

// summarize sets the summary of the staged rows of each tenant, in the order of their ids. It reads a few columns of
// all rows, because DuckDB takes as long to plan and begin a statement that aggregates them as to type some rows.
func (s *Staged) summarize(ctx context.Context) error {
	tenants := map[uuid.NullUUID]*tenantSummary{}
	s.firstRow = 0
	rows := int64(0)
	err := duckdb.Scan(ctx, s.slot.conn, statements.Get("merge/staged_rows"), func(chunk *duckdb.Chunk) error {
		columns, err := newSummaryColumns(chunk)
		if err != nil {
			return err
		}
		for row := range chunk.Rows {
			if number := columns.number.Values[row]; rows == 0 || number < s.firstRow {
				s.firstRow = number
			}
			rows++
			var id uuid.NullUUID
			if columns.tenant.Valid(row) {
				id = uuid.NullUUID{UUID: columns.tenant.Values[row].Bytes(), Valid: true}
			}
			t := tenants[id]
			if t == nil {
				t = &tenantSummary{stagedTenant: stagedTenant{id: id, months: monthSet{}},
					ids: map[duckdb.UUID]struct{}{}, unknown: map[string]struct{}{}}
				tenants[id] = t
			}
			if err := t.add(columns, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.tenants = nil
	for _, t := range tenants {
		t.stagedTenant.unknown = t.firstUnknown()
		s.tenants = append(s.tenants, t.stagedTenant)
	}
	slices.SortFunc(s.tenants, compareTenants)
	return nil
}

// compareTenants compares tenants by their ids. Rows without a tenant are last.
func compareTenants(a, b stagedTenant) int {
	switch {
	case a.id.Valid == b.id.Valid:
		return bytes.Compare(a.id.UUID[:], b.id.UUID[:])
	case a.id.Valid:
		return -1
	default:
		return 1
	}
}

// summaryColumns are the columns of a chunk of merge/staged_rows.
type summaryColumns struct {
	tenant, id        duckdb.Column[duckdb.UUID]
	createdAt, number duckdb.Column[int64]
	refused, deletion duckdb.Column[bool]
	unknown           duckdb.Column[duckdb.Text]
}

func newSummaryColumns(chunk *duckdb.Chunk) (r summaryColumns, err error) {
	read := duckdb.ColumnReader{Chunk: chunk}
	duckdb.Next(&read, &r.tenant)
	duckdb.Next(&read, &r.id)
	duckdb.Next(&read, &r.createdAt)
	duckdb.Next(&read, &r.refused)
	duckdb.Next(&read, &r.deletion)
	duckdb.Next(&read, &r.unknown)
	duckdb.Next(&read, &r.number)
	return r, read.Err
}

// add adds a row.
func (t *tenantSummary) add(columns summaryColumns, row int) error {
	t.rows++
	if columns.unknown.Valid(row) {
		if err := t.addUnknown(columns.unknown.Values[row].Bytes()); err != nil {
			return err
		}
	}
	if columns.refused.Values[row] {
		t.refused++
		return nil
	}
	id := columns.id.Values[row]
	if _, known := t.ids[id]; known {
		t.hasDuplicates = true
	}
	t.ids[id] = struct{}{}
	if columns.deletion.Values[row] {
		t.deletions++
	}
	if !columns.createdAt.Valid(row) {
		return nil
	}
	micros := columns.createdAt.Values[row]
	t.months.add(micros)
	at := sql.NullTime{Time: time.UnixMicro(micros), Valid: true}
	if !t.first.Valid || at.Time.Before(t.first.Time) {
		t.first = at
	}
	if !t.last.Valid || at.Time.After(t.last.Time) {
		t.last = at
	}
	return nil
}

// addUnknown adds unknown fields, a JSON list. It keeps the first maxUnknown in the order of their names, because their
// number has no bound.
func (t *tenantSummary) addUnknown(list []byte) error {
	var names []string
	if err := json.Unmarshal(list, &names); err != nil {
		return err
	}
	for _, name := range names {
		t.unknown[name] = struct{}{}
		if len(t.unknown) > 2*maxUnknown {
			kept := t.firstUnknown()
			clear(t.unknown)
			for _, name := range kept {
				t.unknown[name] = struct{}{}
			}
		}
	}
	return nil
}

// firstUnknown returns the first maxUnknown of the unknown fields, in order.
func (t *tenantSummary) firstUnknown() []string {
	names := slices.Sorted(maps.Keys(t.unknown))
	return names[:min(len(names), maxUnknown)]
}
