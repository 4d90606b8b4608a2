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

	statements "github.com/voicory/warehouse/sql"
)

// findings are what the staged rows of a tenant mean to its table and its tombstones.
type mergePlan struct {
	store           *tenantStore
	seq             int64            // number of the commit
	slots           []string         // pairs that the statements are filled with
	compared        bool             // the rows must be compared with what is kept
	hasDuplicates   bool             // an id may be among them more than once
	insertStatement string           // the statement that inserts
	rows            map[string]int64 // by outcome, see merge/classify.sql
	timeUpdates     int64
	months          map[string]bool // that are touched: YYYY-MM, or "" for a dataset of one file

	inserted    int64     // rows
	first, last time.Time // of their created_at
}

// known is what need not be looked up in a tenant's file again, as long as nobody but this process writes to it.
type storeFacts struct {
	loaded bool // false: look it up
	seq    int64
	tables map[string]tableFacts
}

// holding says what a tenant may have of a dataset: false only where there is none.
type tableFacts struct{ rows, tombstones bool }

// prepare finds out how far the staged rows of the tenant must be compared with what is kept. The caller holds the store's writing.
func (s *tenantStore) planMerge(ctx context.Context, conn *sql.Conn, staged *Staged, t stagedTenant) (*mergePlan, error) {
	if err := s.loadFacts(ctx); err != nil {
		return nil, err
	}
	dataset := staged.batch.Dataset
	here := s.facts.tables[dataset.Name]
	f := &mergePlan{store: s, seq: s.facts.seq + staged.seqCount(), hasDuplicates: t.hasDuplicates, rows: map[string]int64{}, months: map[string]bool{}}
	f.slots = []string{"dataset", statements.Ident(dataset.Name), "dataset_name", statements.Text(dataset.Name), "columns", dataset.updateList(),
		"store", statements.Ident(s.id.String()) + ".main", "tenant", statements.Text(s.id.String()), "seq", strconv.FormatInt(f.seq, 10)}
	if here == (tableFacts{}) && !t.hasDuplicates && t.deletions == 0 && !shouldSort(t.rows-t.refused, t.first.Time, t.last.Time) {
		f.planInsertAll(dataset, t)
		return f, nil
	}
	f.compared = true
	if fill, ok := dataset.fillAbsent(staged.batch.MissingFields, f.slots); ok {
		if _, err := conn.ExecContext(ctx, fill); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// allNew is what rows of different ids mean to a table without rows and without tombstones: nothing need be compared.
func (f *mergePlan) planInsertAll(dataset Dataset, t stagedTenant) {
	f.insertStatement = "merge/insert_all"
	f.rows["new"] = t.rows - t.refused
	for month := range strings.SplitSeq(t.months, ",") {
		f.months[monthOf(dataset, month)] = true
	}
}

// classify compares staged rows of some tenants with their tables, and with tombstones of those who have any for the dataset.
func (s *Staged) classify(ctx context.Context, conn *sql.Conn, group []*mergePlan) error {
	versions := "merge/versions"
	var tenants, kept []string
	found := map[string]*mergePlan{}
	for _, f := range group {
		if !f.compared {
			continue
		}
		id := f.store.id.String()
		found[id], tenants = f, append(tenants, statements.Text(id))
		if f.hasDuplicates {
			versions = "merge/versions_ranked"
		}
		rows := "merge/kept"
		if f.store.facts.tables[s.batch.Dataset.Name].tombstones {
			rows = "merge/kept_with_tombstones"
		}
		kept = append(kept, statements.Fill(rows, f.slots...))
	}
	if len(found) == 0 {
		return nil
	}
	classify := statements.Fill("merge/classify", "versions", statements.Fill(versions, "tenants", strings.Join(tenants, ", ")),
		"kept", "("+strings.Join(kept, "UNION ALL ")+")", "late", strconv.FormatBool(s.batch.FromQuarantine))
	if _, err := execute(ctx, conn, classify); err != nil {
		return err
	}
	if err := s.readOutcomes(ctx, conn, found); err != nil {
		return err
	}
	if changed := func(f *mergePlan) bool { return f.rows["changed"] > 0 }; !slices.ContainsFunc(group, changed) {
		return nil
	}
	_, err := execute(ctx, conn, statements.Get("merge/fresh"))
	return err
}

// look reads what is known of the file, unless it is. Merges into datasets without tombstones never look for one; any may have rows.
func (s *tenantStore) loadFacts(ctx context.Context) error {
	if s.facts.loaded {
		return nil
	}
	var tombstoned string
	if err := s.db.QueryRowContext(ctx, statements.Get("merge/known")).Scan(&s.facts.seq, &tombstoned); err != nil {
		return err
	}
	s.facts.tables = map[string]tableFacts{}
	for _, dataset := range Datasets {
		s.facts.tables[dataset.Name] = tableFacts{rows: true, tombstones: slices.Contains(strings.Split(tombstoned, ","), dataset.Name)}
	}
	s.facts.loaded = true
	return nil
}

// readOutcomes sums up what merge/classify found, for each tenant.
func (s *Staged) readOutcomes(ctx context.Context, conn *sql.Conn, found map[string]*mergePlan) error {
	rows, err := conn.QueryContext(ctx, statements.Get("merge/outcomes"))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var tenant string
		var o outcome
		if err := rows.Scan(&tenant, &o.name, &o.retimed, &o.months[0], &o.months[1], &o.rows, &o.first, &o.last); err != nil {
			return err
		}
		found[tenant].add(s.batch.Dataset, o)
	}
	return rows.Err()
}

// outcome is a row of merge/outcomes.
type outcome struct {
	name        string
	retimed     bool
	months      [2]sql.NullString
	rows        int64
	first, last sql.NullTime // of created_at
}

func (f *mergePlan) add(dataset Dataset, o outcome) {
	f.rows[o.name] += o.rows
	if o.retimed {
		f.timeUpdates += o.rows
	}
	for _, month := range o.months {
		if month.Valid {
			f.months[monthOf(dataset, month.String)] = true
		}
	}
	switch o.name {
	case "new", "revived", "moved":
		if f.inserted == 0 || o.first.Time.Before(f.first) {
			f.first = o.first.Time
		}
		if o.last.Time.After(f.last) {
			f.last = o.last.Time
		}
		f.inserted += o.rows
	}
	f.insertStatement = "merge/insert"
	if shouldSort(f.inserted, f.first, f.last) {
		f.insertStatement = "merge/insert_scattered"
	}
}

// monthOf is the month of a file of the lake: a dataset of one file has one, "".
func monthOf(dataset Dataset, month string) string {
	if dataset.Monthly {
		return month
	}
	return ""
}

func (f mergePlan) counts() Counts {
	return Counts{
		New:        f.rows["new"] + f.rows["revived"],
		Changed:    f.rows["changed"] + f.rows["moved"],
		Unchanged:  f.rows["unchanged"] + f.rows["confirmed"] + f.rows["redeleted"],
		Deleted:    f.rows["deleted"] + f.rows["foretold"],
		Superseded: f.rows["superseded"],
	}
}

// written is the number of rows that the merge writes.
func (f mergePlan) rowsWritten() int64 { return f.counts().New + f.counts().Changed }

// touched is a JSON object of the editions that the merge makes out of date, each with the number of its commit.
func (f mergePlan) stalePartitions(dataset Dataset) (string, error) {
	editions := map[string]int64{}
	for month := range f.months {
		editions[edition{dataset: dataset, month: month}.name()] = f.seq
	}
	text, err := json.Marshal(editions)
	return statements.Text(string(text)), err
}

// numbered is how many rows and tombstones take the number of the commit; without any, it takes none.
func (f mergePlan) rowsWithSeq() int64 {
	return f.counts().New + f.counts().Changed + f.counts().Deleted
}

// learn takes over what a commit has made true.
func (k *storeFacts) applyCommit(dataset string, f *mergePlan) {
	if f.rowsWithSeq() > 0 {
		k.seq = f.seq
	}
	k.tables[dataset] = tableFacts{rows: true, tombstones: k.tables[dataset].tombstones || f.counts().Deleted > 0}
	k.loaded = true
}

// sorted tells whether rows to insert lie so far apart that they are sorted, which few rows never are: DuckDB reads 2,048 of them at once in any order.
func shouldSort(rows int64, first, last time.Time) bool {
	const scattered, few = 90 * 24 * time.Hour, 4 * 2048
	return rows > few && last.Sub(first) > scattered
}

// steps are the statements that bring table and tombstones up to date, none where they are.
func (f mergePlan) statementNames() (names []string) {
	add := func(name string, rows int64) {
		if rows > 0 {
			names = append(names, name)
		}
	}
	counts := f.counts()
	add("merge/tick", f.rowsWithSeq())
	add("merge/update", f.rows["changed"])
	add("merge/remove", f.rows["moved"]+f.rows["deleted"])
	add(f.insertStatement, counts.New+f.rows["moved"])
	add("merge/retime", f.timeUpdates)
	add("merge/unbury", f.rows["revived"])
	add("merge/bury", counts.Deleted)
	add("merge/rebury", f.rows["redeleted"])
	return names
}

// run runs statements. Their slots are filled with literals: a parameter would have a statement planned twice.
func (f mergePlan) run(ctx context.Context, conn *sql.Conn, names ...string) error {
	for _, name := range names {
		if _, err := execute(ctx, conn, statements.Fill(name, f.slots...)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
