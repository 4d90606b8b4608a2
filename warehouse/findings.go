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
	slots       []string         // pairs that the statements are filled with
	rows        map[string]int64 // by outcome, see merge/classify.sql
	retimed     int64
	months      map[string]bool // that are touched: YYYY-MM, or "" for a dataset of one file
	first, last time.Time       // bounds of created_at of what is to be inserted
}

// classify compares the staged rows with the table, and with tombstones where the dataset has any. twice
// says that an id may be among them more than once, late that a row without a time is older than what is kept. The caller holds the store's writing.
func (s *tenantStore) classify(ctx context.Context, conn *sql.Conn, dataset Dataset, twice, late bool) (f findings, err error) {
	if err := s.loadTombstoned(ctx); err != nil {
		return f, err
	}
	versions, kept := "merge/versions", "merge/kept"
	if twice {
		versions = "merge/versions_ranked"
	}
	if s.tombstoned[dataset.Name] {
		kept = "merge/kept_with_tombstones"
	}
	tenant := statements.Text(s.id.String())
	f.slots = []string{"dataset", statements.Ident(dataset.Name), "dataset_name", statements.Text(dataset.Name),
		"tenant", tenant,
		"versions", statements.Fill(versions, "tenant", tenant), "kept", statements.For(kept, dataset.Name), "late", strconv.FormatBool(late)}
	if err := f.run(ctx, conn, "merge/classify"); err != nil {
		return f, err
	}
	if err := f.read(ctx, conn, dataset); err != nil {
		return f, err
	}
	f.slots = append(f.slots, "months", statements.Text(strings.Join(slices.Sorted(maps.Keys(f.months)), ",")))
	return f, nil
}

// loadTombstoned reads once which datasets have tombstones, so that merges into those without never look for one.
func (s *tenantStore) loadTombstoned(ctx context.Context) error {
	if s.tombstoned != nil {
		return nil
	}
	rows, err := s.db.QueryContext(ctx, statements.Get("merge/tombstoned"))
	if err != nil {
		return err
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		found[name] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.tombstoned = found
	return nil
}

// read sums up what merge/classify found.
func (f *findings) read(ctx context.Context, conn *sql.Conn, dataset Dataset) error {
	f.rows, f.months = map[string]int64{}, map[string]bool{}
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
		var first, last sql.NullTime
		if err := rows.Scan(&outcome, &retimed, &months[0], &months[1], &n, &first, &last); err != nil {
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
			if f.first.IsZero() || first.Time.Before(f.first) {
				f.first = first.Time
			}
			if last.Time.After(f.last) {
				f.last = last.Time
			}
		}
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

// scattered is the time from which on rows to insert lie so far apart that they are sorted.
const scattered = 90 * 24 * time.Hour

// steps are the statements that bring table and tombstones up to date, none where they are.
func (f findings) steps() (names []string) {
	add := func(name string, rows int64) {
		if rows > 0 {
			names = append(names, name)
		}
	}
	counts, insert := f.counts(), "merge/insert"
	if f.last.Sub(f.first) > scattered {
		insert = "merge/insert_scattered"
	}
	add("merge/tick", counts.New+counts.Changed+counts.Deleted)
	add("merge/update", f.rows["changed"])
	add("merge/remove", f.rows["moved"]+f.rows["deleted"])
	add(insert, counts.New+f.rows["moved"])
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
