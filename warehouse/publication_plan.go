package warehouse

import (
	"context"
	"slices"
	"strings"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The layout of a month in the lake is decided here, each time that the month is published:
//
//   - A month of calls or messages with at least dayFiles rows is published by day: one file for each day (UTC), in the
//     folder of the month. A change then rewrites the files of its days only.
//   - It goes back to one file when it has less than monthFile rows. A month between the two numbers stays as it is, so
//     that few changes do not rewrite it again and again.
//   - At most maxDayMonths months of a dataset are published by day, the newest large ones: most changes are there, and
//     each SQL statement opens every file. An older one goes back to one file when a newer month takes its place.
//
// Derived exports have the layout of their dataset, because they are computed from its rows. Customers have one file.
//
// In a month that is published by day, a day is stale if the store and the manifest differ about its rows: in their
// number, or in their highest sequence number. An insertion and an update increase the highest sequence number, and a
// deletion decreases the number of rows. A file of another format is stale, too.
var (
	dayFiles  int64 = 98_304
	monthFile int64 = 49_152
)

const maxDayMonths = 3

// A dayFile is the state of the rows of a day, or that of its published file.
type dayFile struct {
	rows, seq int64
	format    int
}

// A publicationPlan lists the files to write.
type publicationPlan struct {
	months []partition // stale months
	parts  []partition // partitions to write: stale months, or days of them
	of     []int       // index of the month of each part
	rows   []int64     // rows of each part
	seqs   []int64     // greatest number in the change feed of each part
	// kept are the names of files of each month that stay in its folder, without the name of the export and the suffix.
	kept []map[string]bool
}

// plan returns the plan for the stale months.
func (p *publication) plan(ctx context.Context, stale []partition) (*publicationPlan, error) {
	published, err := p.publishedDays(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := p.countRows(ctx, stale)
	if err != nil {
		return nil, err
	}
	if len(stale) == 0 {
		return &publicationPlan{}, nil
	}
	stale, byDay := layout(stale, published, counts)
	plan := &publicationPlan{}
	for _, month := range stale {
		days, counted := counts[month.name()]
		if !counted && published[month.name()] != nil { // added by layout
			more, err := p.countRows(ctx, []partition{month})
			if err != nil {
				return nil, err
			}
			days = more[month.name()]
		}
		plan.add(month, days, published[month.name()], byDay[month.name()])
	}
	return plan, nil
}

// layout returns the stale months, with those that have to go back to one file, and the months to publish by day.
func layout(stale []partition, published, counts map[string]map[string]dayFile) ([]partition, map[string]bool) {
	byDay := map[string]bool{}
	for name := range published {
		byDay[name] = true
	}
	for _, month := range stale {
		rows := int64(0)
		for _, day := range counts[month.name()] {
			rows += day.rows
		}
		byDay[month.name()] = month.month != "" && (rows >= dayFiles || rows >= monthFile && byDay[month.name()])
	}
	for _, dataset := range schema.Datasets {
		var months []string
		for name, by := range byDay {
			if month, ok := strings.CutPrefix(name, dataset.Name+"/"); ok && by {
				months = append(months, month)
			}
		}
		slices.Sort(months)
		for _, month := range months[:max(0, len(months)-maxDayMonths)] {
			p := partition{dataset: dataset, month: month, asOf: stale[0].asOf}
			byDay[p.name()] = false
			if !isPending(stale, p) {
				stale = append(slices.Clip(stale), p)
			}
		}
	}
	slices.SortStableFunc(stale, func(a, b partition) int { return strings.Compare(a.name(), b.name()) })
	return stale, byDay
}

// add adds a month with the states of its days, in the store and as they are published, to the plan.
func (plan *publicationPlan) add(month partition, days, published map[string]dayFile, byDay bool) {
	index, kept := len(plan.months), map[string]bool{}
	plan.months, plan.kept = append(plan.months, month), append(plan.kept, kept)
	part := func(p partition, rows, seq int64) {
		plan.parts, plan.of = append(plan.parts, p), append(plan.of, index)
		plan.rows, plan.seqs = append(plan.rows, rows), append(plan.seqs, seq)
	}
	if !byDay {
		var all dayFile
		for _, day := range days {
			all.rows, all.seq = all.rows+day.rows, max(all.seq, day.seq)
		}
		part(month, all.rows, all.seq)
		return
	}
	names := map[string]bool{}
	for day := range days {
		names[day] = true
	}
	for day := range published {
		names[day] = true
	}
	for _, day := range sortedKeys(names) {
		state := days[day]
		state.format = publishedFormat
		if state == published[day] {
			kept[day] = true
			continue
		}
		p := month
		p.day = day
		part(p, state.rows, state.seq)
	}
}

func sortedKeys(set map[string]bool) (keys []string) {
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// publishedDays returns the states of published files of months that are published by day, by month and day.
func (p *publication) publishedDays(ctx context.Context) (map[string]map[string]dayFile, error) {
	rows, err := p.store.db.QueryContext(ctx, statements.Get("lake/select_days"))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	days := map[string]map[string]dayFile{}
	for rows.Next() {
		var export, month, day string
		var f dayFile
		if err := rows.Scan(&export, &month, &day, &f.rows, &f.seq, &f.format); err != nil {
			return nil, err
		}
		addDay(days, partition{dataset: schema.MustExport(export).Source, month: month}, day, f)
	}
	return days, rows.Err()
}

func addDay(days map[string]map[string]dayFile, month partition, day string, f dayFile) {
	if days[month.name()] == nil {
		days[month.name()] = map[string]dayFile{}
	}
	days[month.name()][day] = f
}

// countRows returns the states of the days of months in the store, by month and day.
func (p *publication) countRows(ctx context.Context, months []partition) (map[string]map[string]dayFile, error) {
	days := map[string]map[string]dayFile{}
	var queries []string
	for from := 0; from < len(months); {
		dataset, to := months[from].dataset, from
		for to < len(months) && months[to].dataset.Name == dataset.Name {
			to++
		}
		where, err := spanOf(months[from:to])
		if err != nil {
			return nil, err
		}
		queries = append(queries, statements.Fill("lake/count_rows", "dataset", statements.Ident(dataset.Name),
			"dataset_name", statements.Text(dataset.Name), "where", where.Literal(dataset)))
		from = to
	}
	if len(queries) == 0 {
		return days, nil
	}
	rows, err := p.store.db.QueryContext(ctx, strings.Join(queries, " UNION ALL "))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var day time.Time
		var f dayFile
		if err := rows.Scan(&name, &day, &f.rows, &f.seq); err != nil {
			return nil, err
		}
		dataset, err := schema.DatasetNamed(name)
		if err != nil {
			return nil, err
		}
		month := partition{dataset: dataset, month: monthOf(dataset, day.Format("2006-01"))}
		addDay(days, month, day.Format(time.DateOnly), f)
	}
	return days, rows.Err()
}
