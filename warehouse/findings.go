package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	statements "github.com/voicory/warehouse/sql"
)

// findings are what the staged rows of a tenant mean to its table and its tombstones.
type findings struct {
	slots   []string         // pairs that the statements are filled with
	insert  string           // the statement that inserts
	rows    map[string]int64 // by outcome, see merge/classify.sql
	retimed int64
	months  map[string]bool // that are touched: YYYY-MM, or "" for a dataset of one file
}

// holding says what a tenant may have of a dataset: false only where there is none.
type holding struct{ rows, tombstones bool }

// find finds out what the staged rows of the tenant mean. The caller holds the store's writing.
func (s *tenantStore) find(ctx context.Context, conn *sql.Conn, staged *Staged, t stagedTenant) (f findings, err error) {
	if err := s.loadHolds(ctx); err != nil {
		return f, err
	}
	dataset := staged.batch.Dataset
	tenant, here := statements.Text(s.id.String()), s.holds[dataset.Name]
	f.slots = []string{"dataset", statements.Ident(dataset.Name), "dataset_name", statements.Text(dataset.Name), "tenant", tenant,
		"staged", strconv.FormatInt(staged.rows(), 10)}
	if here == (holding{}) && !t.twice && t.deletions == 0 && !sorted(t.rows-t.refused, t.first.Time, t.last.Time) {
		f.allNew(dataset, t)
	} else if err := f.classify(ctx, conn, staged, t, here); err != nil {
		return f, err
	}
	f.slots = append(f.slots, "months", statements.Text(strings.Join(slices.Sorted(maps.Keys(f.months)), ",")))
	return f, nil
}

// allNew is what rows of different ids mean to a table without rows and without tombstones: nothing need be compared.
func (f *findings) allNew(dataset Dataset, t stagedTenant) {
	f.insert = "merge/insert_all"
	f.rows, f.months = map[string]int64{"new": t.rows - t.refused}, map[string]bool{}
	for month := range strings.SplitSeq(t.months, ",") {
		f.months[monthOf(dataset, month)] = true
	}
}

// classify compares the staged rows with the table, and with tombstones where the dataset has any.
func (f *findings) classify(ctx context.Context, conn *sql.Conn, staged *Staged, t stagedTenant, here holding) error {
	dataset := staged.batch.Dataset
	if fill, ok := dataset.fillAbsent(staged.batch.Absent, t.id.UUID); ok {
		if _, err := conn.ExecContext(ctx, fill); err != nil {
			return err
		}
	}
	versions, kept := "merge/versions", "merge/kept"
	if t.twice {
		versions = "merge/versions_ranked"
	}
	if here.tombstones {
		kept = "merge/kept_with_tombstones"
	}
	f.slots = append(f.slots, "versions", statements.Fill(versions, f.slots...), "kept", statements.For(kept, dataset.Name), "late", strconv.FormatBool(staged.batch.Late))
	if err := f.run(ctx, conn, "merge/classify"); err != nil {
		return err
	}
	return f.read(ctx, conn, dataset)
}

// loadHolds reads once which datasets have tombstones, so that merges into those without never look for one. Any may have rows.
func (s *tenantStore) loadHolds(ctx context.Context) error {
	if s.holds != nil {
		return nil
	}
	found := map[string]holding{}
	for _, dataset := range Datasets {
		found[dataset.Name] = holding{rows: true}
	}
	rows, err := s.db.QueryContext(ctx, statements.Get("merge/tombstoned"))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		found[name] = holding{rows: true, tombstones: true}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.holds = found
	return nil
}

// read sums up what merge/classify found.
func (f *findings) read(ctx context.Context, conn *sql.Conn, dataset Dataset) error {
	f.rows, f.months = map[string]int64{}, map[string]bool{}
	var inserted int64
	var first, last time.Time // of created_at of what is to be inserted
	rows, err := conn.QueryContext(ctx, statements.Get("merge/outcomes"))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var outcome string
		var retimed bool
		var months [2]sql.NullString
		var n int64
		var earliest, latest sql.NullTime
		if err := rows.Scan(&outcome, &retimed, &months[0], &months[1], &n, &earliest, &latest); err != nil {
			return err
		}
		f.rows[outcome] += n
		if retimed {
			f.retimed += n
		}
		for _, month := range months {
			if month.Valid {
				f.months[monthOf(dataset, month.String)] = true
			}
		}
		switch outcome {
		case "new", "revived", "moved":
			inserted += n
			if first.IsZero() || earliest.Time.Before(first) {
				first = earliest.Time
			}
			if latest.Time.After(last) {
				last = latest.Time
			}
		}
	}
	f.insert = "merge/insert"
	if sorted(inserted, first, last) {
		f.insert = "merge/insert_scattered"
	}
	return rows.Err()
}

// monthOf is the month of a file of the lake: a dataset of one file has one, "".
func monthOf(dataset Dataset, month string) string {
	if dataset.Monthly {
		return month
	}
	return ""
}

func (f findings) counts() Counts {
	return Counts{
		New:        f.rows["new"] + f.rows["revived"],
		Changed:    f.rows["changed"] + f.rows["moved"],
		Unchanged:  f.rows["unchanged"] + f.rows["confirmed"] + f.rows["redeleted"],
		Deleted:    f.rows["deleted"] + f.rows["foretold"],
		Superseded: f.rows["superseded"],
	}
}

// written is the number of rows that the merge writes.
func (f findings) written() int64 { return f.counts().New + f.counts().Changed }

// sorted tells whether rows to insert lie so far apart that they are sorted, which few rows never are: DuckDB reads 2,048 of them at once in any order.
func sorted(rows int64, first, last time.Time) bool {
	const scattered, few = 90 * 24 * time.Hour, 4 * 2048
	return rows > few && last.Sub(first) > scattered
}

// steps are the statements that bring table and tombstones up to date, none where they are.
func (f findings) steps() (names []string) {
	add := func(name string, rows int64) {
		if rows > 0 {
			names = append(names, name)
		}
	}
	counts := f.counts()
	add("merge/tick", counts.New+counts.Changed+counts.Deleted)
	add("merge/update", f.rows["changed"])
	add("merge/remove", f.rows["moved"]+f.rows["deleted"])
	add(f.insert, counts.New+f.rows["moved"])
	add("merge/retime", f.retimed)
	add("merge/unbury", f.rows["revived"])
	add("merge/bury", counts.Deleted)
	add("merge/rebury", f.rows["redeleted"])
	add("merge/mark", int64(len(f.months)))
	return names
}

// run runs statements. Their slots are filled with literals: a parameter would have a statement planned twice.
func (f findings) run(ctx context.Context, conn *sql.Conn, names ...string) error {
	for _, name := range names {
		if _, err := execute(ctx, conn, statements.Fill(name, f.slots...)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
