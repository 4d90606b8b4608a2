package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A mergePlan lists the changes that the staged rows of one tenant make to its table and its tombstones, and so the
// statements of the merge.
type mergePlan struct {
	store           *tenantStore
	seq             int64            // commit sequence number of the merge
	slots           []string         // names and values of the slots of the statements, in pairs
	compared        bool             // the rows must be compared with existing rows and tombstones
	hasDuplicates   bool             // the staged rows may contain an id more than once
	insertStatement string           // name of the statement that inserts new rows
	rows            map[string]int64 // number of rows by outcome, see merge/classify.sql
	timeUpdates     int64            // rows whose source time alone changes
	erased          int64            // staged rows that were deleted, because their customer was erased
	months          map[string]bool  // stale months as YYYY-MM, or "" for a dataset of one file
	changedMonths   monthSet         // of the outcomes, until the plan is complete

	inserted    int64     // rows to insert
	first, last time.Time // lowest and highest created_at of the rows to insert
}

// storeFacts caches facts about a tenant's file, which stay true because only this process writes to the file. The zero
// value means that they have to be read from the file.
type storeFacts struct {
	loaded bool
	seq    int64
	tables map[string]tableFacts // by dataset
	epoch  bool                  // this process has begun its epoch in the file
}

// tableFacts records whether a dataset may have rows and tombstones. False is certain, true is not.
type tableFacts struct{ rows, tombstones bool }

// planMerge returns the plan for the staged rows of a tenant. If they must be compared with existing rows, the plan is
// completed by classify. The caller holds s.writing.
func (s *tenantStore) planMerge(
	ctx context.Context, conn *sql.Conn, staged *Staged, t stagedTenant,
) (*mergePlan, error) {
	if err := s.loadFacts(ctx); err != nil {
		return nil, err
	}
	dataset := staged.batch.Dataset
	p := &mergePlan{store: s, seq: s.facts.seq + staged.seqCount(), hasDuplicates: t.hasDuplicates,
		erased: t.erased, rows: map[string]int64{}, months: map[string]bool{}, changedMonths: monthSet{}}
	p.slots = []string{
		"dataset", statements.Ident(dataset.Name),
		"dataset_name", statements.Text(dataset.Name),
		"columns", dataset.UpdateList(),
		"store", statements.Ident(s.id.String()) + ".main",
		"tenant", statements.Text(s.id.String()),
		"seq", strconv.FormatInt(p.seq, 10),
		"first_row", strconv.FormatInt(staged.firstRow, 10),
		"inferred", strconv.FormatBool(staged.batch.Inferred),
		"first_seq", strconv.FormatInt(s.facts.seq+1, 10),
		"epoch", statements.Text(staged.w.epoch.String()),
	}
	isEmpty := s.facts.tables[dataset.Name] == tableFacts{}
	if isEmpty && t.erased == 0 && !t.hasDuplicates && t.deletions == 0 &&
		!shouldSort(t.rows-t.refused, t.first.Time, t.last.Time) {
		p.planInsertAll(dataset, t)
		return p, nil
	}
	p.compared = true
	if fill, ok := dataset.FillAbsent(staged.batch.MissingFields, p.slots); ok {
		if _, err := conn.ExecContext(ctx, fill); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// planInsertAll plans the insertion of rows with distinct ids into a table that has no rows and no tombstones.
func (p *mergePlan) planInsertAll(dataset schema.Dataset, t stagedTenant) {
	p.insertStatement = "merge/insert_all"
	p.rows["new"] = t.rows - t.refused
	for month := range t.months {
		p.months[monthOf(dataset, month.String())] = true
	}
}

// classify completes the plans of a group of tenants. It compares their staged rows with their tables in one statement,
// and with tombstones only for tenants that may have some.
func (s *Staged) classify(ctx context.Context, conn *sql.Conn, group []*mergePlan) error {
	versions := "merge/versions"
	var tenants, kept []string
	plans := map[uuid.UUID]*mergePlan{} // by tenant
	for _, p := range group {
		if !p.compared {
			continue
		}
		plans[p.store.id], tenants = p, append(tenants, statements.Text(p.store.id.String()))
		if p.hasDuplicates {
			versions = "merge/versions_ranked"
		}
		rows := "merge/existing_rows"
		if p.store.facts.tables[s.batch.Dataset.Name].tombstones {
			rows = "merge/existing_rows_with_tombstones"
		}
		kept = append(kept, statements.Fill(rows, p.slots...))
	}
	if len(plans) == 0 {
		return nil
	}
	classify := statements.Fill("merge/classify",
		"versions", statements.Fill(versions, "tenants", strings.Join(tenants, ", ")),
		"kept", "("+strings.Join(kept, "UNION ALL ")+")",
		"late", strconv.FormatBool(s.batch.FromQuarantine), "inferred", strconv.FormatBool(s.batch.Inferred))
	if _, err := duckdb.Exec(ctx, conn, classify); err != nil {
		return err
	}
	if err := s.readOutcomes(ctx, conn, plans); err != nil {
		return err
	}
	return s.selectChanged(ctx, conn, group)
}

// selectChanged adds the relation of the changed rows to the slots of the plans. If several tenants have some, it is a
// table, so that their statements do not scan the batch again.
func (s *Staged) selectChanged(ctx context.Context, conn *sql.Conn, group []*mergePlan) error {
	var changed []*mergePlan
	for _, p := range group {
		if p.rows["changed"] > 0 {
			changed = append(changed, p)
		}
	}
	rows := statements.Get("merge/changed_rows")
	relation := "(" + rows + ")"
	if len(changed) > 1 {
		relation = "changed"
		if _, err := duckdb.Exec(ctx, conn, "CREATE OR REPLACE TEMP TABLE changed AS "+rows); err != nil {
			return err
		}
	}
	for _, p := range changed {
		p.slots = append(p.slots, "changed_rows", relation)
	}
	return nil
}

// loadFacts reads the facts of the file unless they are cached. It reads whether there are tombstones, and assumes that
// every dataset may have rows. The caller holds s.writing.
func (s *tenantStore) loadFacts(ctx context.Context) error {
	if s.facts.loaded {
		return nil
	}
	var tombstoned string
	if err := s.db.QueryRowContext(ctx, statements.Get("merge/table_facts")).Scan(&s.facts.seq, &tombstoned); err != nil {
		return err
	}
	s.facts.tables = map[string]tableFacts{}
	for _, dataset := range schema.Datasets {
		s.facts.tables[dataset.Name] = tableFacts{
			rows: true, tombstones: slices.Contains(strings.Split(tombstoned, ","), dataset.Name),
		}
	}
	s.facts.loaded = true
	return nil
}

// readOutcomes adds the outcomes of merge/classify to the plans of their tenants.
func (s *Staged) readOutcomes(ctx context.Context, conn *sql.Conn, plans map[uuid.UUID]*mergePlan) error {
	err := duckdb.Scan(ctx, conn, statements.Get("merge/outcomes"), func(chunk *duckdb.Chunk) error {
		read := duckdb.ColumnReader{Chunk: chunk}
		var tenant duckdb.Column[duckdb.UUID]
		var name duckdb.Column[duckdb.Text]
		var timeUpdate duckdb.Column[bool]
		var createdAt, keptCreatedAt duckdb.Column[int64]
		duckdb.Next(&read, &tenant)
		duckdb.Next(&read, &name)
		duckdb.Next(&read, &timeUpdate)
		duckdb.Next(&read, &createdAt)
		duckdb.Next(&read, &keptCreatedAt)
		if read.Err != nil {
			return read.Err
		}
		for row := range chunk.Rows {
			plans[tenant.Values[row].Bytes()].add(outcome{
				name: string(name.Values[row].Bytes()), timeUpdate: timeUpdate.Values[row],
				createdAt: createdAt.Values[row], keptCreatedAt: keptCreatedAt.Values[row],
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range plans {
		p.complete(s.batch.Dataset)
	}
	return nil
}

// An outcome is a row of merge/outcomes: the effect of a staged row.
type outcome struct {
	name       string
	timeUpdate bool // the source time alone changes
	// Microseconds since 1970, of the staged and of the stored row. They are undefined for rows that have none.
	createdAt, keptCreatedAt int64
}

// add adds an outcome to the plan.
func (p *mergePlan) add(o outcome) {
	p.rows[o.name]++
	if o.timeUpdate {
		p.timeUpdates++
	}
	switch o.name {
	case "new", "revived", "moved":
		at := time.UnixMicro(o.createdAt)
		if p.inserted == 0 || at.Before(p.first) {
			p.first = at
		}
		if p.inserted == 0 || at.After(p.last) {
			p.last = at
		}
		p.inserted++
	}
	switch o.name {
	case "new", "revived", "changed", "moved":
		p.changedMonths.add(o.createdAt)
	}
	switch o.name {
	case "moved", "deleted":
		p.changedMonths.add(o.keptCreatedAt)
	}
}

// complete completes the plan after the last outcome.
func (p *mergePlan) complete(dataset schema.Dataset) {
	for month := range p.changedMonths {
		p.months[monthOf(dataset, month.String())] = true
	}
	p.insertStatement = "merge/insert"
	if shouldSort(p.inserted, p.first, p.last) {
		p.insertStatement = "merge/insert_sorted"
	}
}

// monthOf returns the month of the published file that holds rows of the month: "" for a dataset of one file.
func monthOf(dataset schema.Dataset, month string) string {
	if dataset.Monthly {
		return month
	}
	return ""
}

// counts returns the numbers of rows that the merge reports.
func (p *mergePlan) counts() schema.Counts {
	return schema.Counts{
		New:        p.rows["new"] + p.rows["revived"],
		Changed:    p.rows["changed"] + p.rows["moved"],
		Unchanged:  p.rows["unchanged"] + p.rows["confirmed"] + p.rows["redeleted"],
		Deleted:    p.rows["deleted"] + p.rows["deleted_unknown"],
		Superseded: p.rows["superseded"],
		Erased:     p.erased,
	}
}

// rowsWithSeq returns the number of rows and tombstones that get the merge's sequence number. If it is 0, the merge
// does not advance the sequence.
func (p *mergePlan) rowsWithSeq() int64 {
	return p.counts().New + p.counts().Changed + p.counts().Deleted
}

// stalePartitions returns a literal of a JSON object that maps the name of each partition that the merge makes stale to
// the merge's sequence number.
func (p *mergePlan) stalePartitions(dataset schema.Dataset) (string, error) {
	partitions := map[string]int64{}
	for month := range p.months {
		partitions[partition{dataset: dataset, month: month}.name()] = p.seq
	}
	text, err := json.Marshal(partitions)
	return statements.Text(string(text)), err
}

// applyCommit updates the facts after the plan was committed.
func (s *storeFacts) applyCommit(dataset string, p *mergePlan) {
	if p.rowsWithSeq() > 0 {
		s.seq, s.epoch = p.seq, true
	}
	tombstones := s.tables[dataset].tombstones || p.counts().Deleted > 0
	s.tables[dataset] = tableFacts{rows: true, tombstones: tombstones}
	s.loaded = true
}

// shouldSort reports whether an insert should be ordered by created_at: if it has more than 8,192 rows that span more
// than 90 days. DuckDB skips row vectors of 2,048 rows by their bounds, so sorting fewer rows gains nothing.
func shouldSort(rows int64, first, last time.Time) bool {
	const scattered, few = 90 * 24 * time.Hour, 4 * 2048
	return rows > few && last.Sub(first) > scattered
}

// statementNames returns the statements that update the table and the tombstones, in order. It returns none if nothing
// changes.
func (p *mergePlan) statementNames() (names []string) {
	add := func(name string, rows int64) {
		if rows > 0 {
			names = append(names, name)
		}
	}
	counts := p.counts()
	add("merge/advance_seq", p.rowsWithSeq())
	if !p.store.facts.epoch {
		add("merge/insert_epoch", p.rowsWithSeq())
	}
	add("merge/update", p.rows["changed"])
	add("merge/delete", p.rows["moved"]+p.rows["deleted"])
	add(p.insertStatement, counts.New+p.rows["moved"])
	add("merge/update_source_time", p.timeUpdates)
	add("merge/delete_tombstones", p.rows["revived"])
	add("merge/insert_tombstones", counts.Deleted)
	add("merge/update_tombstones", p.rows["redeleted"])
	return names
}

// run executes statements of the plan. Their slots are filled with literals, because DuckDB plans a statement with
// parameters twice.
func (p *mergePlan) run(ctx context.Context, conn *sql.Conn, names ...string) error {
	for _, name := range names {
		if _, err := duckdb.Exec(ctx, conn, statements.Fill(name, p.slots...)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
