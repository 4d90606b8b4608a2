package warehouse

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Report is a set of figures over a dataset; sql/analytics has its statement, and says what each figure is.
type Report struct {
	Name             string  // the path under /api/v1/analytics
	Source           Dataset // whose rows it is of, and whose filters it has
	groups           []group
	order            string // of the rows of one period and group; empty: there is one
	readsTranscripts bool   // it reads what was said, for which the published files are quicker than the tables, where it is JSON
}

// group is something that figures can be grouped by: its name and its expression over a row, in which local is the row's time
// on the clocks of the asked zone.
type group struct{ name, expression string }

var (
	timeGroups   = []group{{"hour_of_day", "hour(local)"}, {"day_of_week", "isodow(local)"}} // 0 to 23; 1 (Monday) to 7
	commonGroups = []group{{"assistant", "assistant_id::VARCHAR"}, {"direction", "direction"}, {"status", "replace(status, '_', '-')"}, {"customer", "customer_number"}}

	callGroups = slices.Concat(commonGroups, timeGroups, []group{{"provider", "provider"}})

	// Reports are all that there are.
	Reports = []Report{
		{Name: "costs", Source: Calls, groups: callGroups},
		{Name: "calls", Source: Calls, groups: callGroups},
		{Name: "transcripts", Source: Calls, groups: callGroups, readsTranscripts: true},
		{Name: "transcripts/terms", Source: Calls, groups: callGroups, order: ", calls DESC, term", readsTranscripts: true},
		{Name: "messages", Source: Messages, groups: slices.Concat(commonGroups, timeGroups, []group{{"type", "message_type"}})},
	}
)

// Groups are the names of what the report can be grouped by.
func (r Report) Groups() []string {
	names := make([]string, len(r.groups))
	for i, g := range r.groups {
		names[i] = g.name
	}
	return names
}

// Intervals are what figures can be given by: none, hours, days, weeks from Monday on, and months of the asked zone.
var Intervals = []string{"none", "hour", "day", "week", "month"}

// Analysis is what a report is asked for.
type Analysis struct {
	Report   Report
	Filter   Filter
	Previous *Filter        // of the period that it is compared with; nil: none
	Zone     *time.Location // whose days and hours are meant
	Interval string         // one of Intervals
	GroupBy  []string       // some of the report's Groups
	Terms    int            // of transcripts/terms: the most frequent ones of each period and group; 1 to MostTerms
	MaxShare float64        // of transcripts/terms: terms that more than this share of the transcripts have are left out; above 0, to 1
}

// MostFigures is how many rows figures can have, of the period and of the one before each; MostTerms how many terms there can be of a group.
const (
	MaxFigures = 10_000
	MaxTerms   = 1000
)

// Figures are the answer to an analysis, of one state of the rows. Close them: as long as they are open, one reader less has its turn.
// Of JSON and Table, more than MostFigures rows, and a zone that DuckDB does not know, are ErrInvalid.
type Figures struct {
	*Snapshot
	w          *Warehouse
	analysis   Analysis
	statements []string // of the figures of the period and, where there is one, of the period before
	release    func()
}

// Analyze makes ready to compute the figures of a report.
func (w *Warehouse) Analyze(ctx context.Context, tenant uuid.UUID, analysis Analysis) (_ *Figures, err error) {
	figures := &Figures{w: w, analysis: analysis}
	if _, figures.release, err = w.reader(ctx, tenant); err != nil {
		return nil, err
	}
	if figures.Snapshot, err = w.Snapshot(ctx, tenant); err == nil {
		err = figures.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(figures.wrapError(err), figures.Close())
	}
	return figures, nil
}

// explain says what an error is of, and gives it its kind.
func (f *Figures) wrapError(err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "Unknown TimeZone") {
		err = fmt.Errorf("%w: time zone %q is not known", ErrInvalid, f.analysis.Zone)
	}
	return fmt.Errorf("analytics of %s: %w", f.analysis.Report.Name, f.w.diagnose(err))
}

// About names the figures.
func (f *Figures) About() Export {
	return Export{Name: f.analysis.Report.Name, Description: "Figures by period and group.", Source: f.analysis.Report.Source}
}

// Close lets the figures go.
func (f *Figures) Close() error {
	defer f.release()
	if f.Snapshot == nil {
		return nil
	}
	return f.Snapshot.Close()
}

// fill fills the report's statement for each period.
func (f *Figures) prepare(ctx context.Context) error {
	a := f.analysis
	filters := []Filter{a.Filter}
	if a.Previous != nil {
		filters = append(filters, *a.Previous)
	}
	for _, filter := range filters {
		rows := "SELECT * FROM " + statements.Ident(a.Report.Source.Name) + " WHERE " + filter.literal(a.Report.Source)
		if a.Report.readsTranscripts {
			var err error
			if rows, err = f.Select(ctx, mustExport(a.Report.Source.Name), filter); err != nil {
				return err
			}
		}
		statement, err := a.reportStatement(rows)
		if err != nil {
			return err
		}
		f.statements = append(f.statements, statement)
	}
	return nil
}

// Table computes the figures, and returns a statement that reads them from Conn: previous, where there is a period before, tells its rows; then
// period, unless there is no interval (a date, or the time at which an hour begins), what they are grouped by, and the figures. In their
// order. It is called once.
func (f *Figures) Table(ctx context.Context) (statement string, err error) {
	defer func() { err = f.wrapError(err) }()
	var parts []string
	for i, statement := range f.statements {
		parts = append(parts, fmt.Sprintf("(SELECT %t AS previous, * FROM (%s) LIMIT %d)", i > 0, statement, MaxFigures+1))
	}
	// The table is the transaction's own, and goes with it: too many rows are an error before any is read.
	if _, err := execute(ctx, f.Conn, "CREATE TEMP TABLE figures AS "+strings.Join(parts, " UNION ALL ")); err != nil {
		return "", err
	}
	var most int64
	if err := f.Conn.QueryRowContext(ctx, "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM figures GROUP BY previous)").Scan(&most); err != nil {
		return "", err
	}
	if most > MaxFigures {
		return "", errTooManyFigures
	}
	return f.analysis.tableStatement(), nil
}

var errTooManyFigures = fmt.Errorf("%w: more than %d rows", ErrInvalid, MaxFigures)

// AppendJSON computes the figures of the period, or of the one before where there is one, and appends an array of objects to the text: period (a date, or the UTC
// time at which an hour begins; null without an interval), group, and the figures. They come as DuckDB makes them: a table between would take as long as they do.
func (f *Figures) AppendJSON(ctx context.Context, text []byte, previous bool) (_ []byte, err error) {
	defer func() { err = f.wrapError(err) }()
	period, group := "period::VARCHAR", "'{}'::JSON"
	if f.analysis.Interval == "hour" {
		period = "iso(period)"
	}
	var members []string
	for _, name := range f.analysis.GroupBy {
		members = append(members, statements.Text(name)+": "+groupColumn(name))
	}
	if len(members) > 0 {
		group = "{" + strings.Join(members, ", ") + "}"
	}
	statement := f.statements[0]
	if previous {
		statement = f.statements[1]
	}
	statement = statements.Fill("analytics/json_rows", "period", period, "group", group, "figures", statement,
		"keys", strings.Join(f.analysis.keyColumns(), ", "), "order", f.analysis.Report.order, "most", strconv.Itoa(MaxFigures+1))
	text = append(text, '[')
	n := 0
	err = f.Conn.Raw(func(driverConn any) error {
		objects, err := ResultsOf(ctx, driverConn.(driver.Conn), statement)
		if err != nil {
			return err
		}
		defer objects.Close()
		for ctx.Err() == nil { // a statement that is done before it hears of the end does not tell of it
			batch, err := objects.Next()
			if err != nil {
				return errors.Join(ctx.Err(), err)
			}
			if batch == nil {
				return nil
			}
			column := batch.Column(0).(*array.String)
			text = slices.Grow(text, len(column.ValueBytes())+column.Len())
			for i := range column.Len() {
				if n++; n > 1 {
					text = append(text, ',')
				}
				text = append(text, column.Value(i)...)
			}
			batch.Release()
		}
		return ctx.Err()
	})
	if err == nil && n > MaxFigures {
		err = errTooManyFigures
	}
	return append(text, ']'), err
}

// by is the column of a group, which must not have the name of one that figures are made of.
func groupColumn(group string) string { return "by_" + group }

// keys are the columns that tell rows of a period apart.
func (a Analysis) keyColumns() []string {
	keys := []string{"period"}
	for _, name := range a.GroupBy {
		keys = append(keys, groupColumn(name))
	}
	return keys
}

// table is a statement for the figures in columns.
func (a Analysis) tableStatement() string {
	columns, order := "", "previous"
	if a.Previous != nil {
		columns = "previous, "
	}
	if a.Interval != "none" {
		columns += "period, "
	}
	for _, name := range a.GroupBy {
		columns += groupColumn(name) + " AS " + statements.Ident(name) + ", "
	}
	for _, key := range a.keyColumns() {
		order += ", " + key + " NULLS LAST"
	}
	return "SELECT " + columns + "* EXCLUDE (previous, " + strings.Join(a.keyColumns(), ", ") + ") FROM figures ORDER BY " + order + a.Report.order
}

// statement fills the report's slots: rows with a statement for them, the others with nothing but what is in closed lists and the quoted name of the zone.
func (a Analysis) reportStatement(rows string) (string, error) {
	period := "NULL::VARCHAR"
	switch a.Interval {
	case "none":
	case "hour":
		// From the moment itself: where clocks are set back, two hours have one name.
		period = "make_timestamptz(epoch_us(created_at) - epoch_us(local) + epoch_us(date_trunc('hour', local)))"
	case "day", "week", "month":
		period = "date_trunc('" + a.Interval + "', local)::DATE"
	default:
		return "", fmt.Errorf("%w: no interval %q", ErrInvalid, a.Interval)
	}
	columns, grouping := period+" AS period, ", ""
	for i, name := range a.GroupBy {
		at := slices.IndexFunc(a.Report.groups, func(g group) bool { return g.name == name })
		if at < 0 || slices.Contains(a.GroupBy[:i], name) {
			return "", fmt.Errorf("%w: no group %q, or twice", ErrInvalid, name)
		}
		columns += a.Report.groups[at].expression + " AS " + groupColumn(name) + ", "
	}
	if a.Interval != "none" || len(a.GroupBy) > 0 {
		grouping = "GROUP BY ALL"
	}
	local := "created_at AT TIME ZONE " + statements.Text(a.Zone.String())
	if a.Zone == time.UTC {
		local = "make_timestamp(epoch_us(created_at))" // the same, without a calendar
	}
	return statements.Fill("analytics/"+a.Report.Name, "columns", columns, "local", local, "grouping", grouping,
		"seconds", statements.Get("analytics/call_seconds"),
		"rows", rows, "keys", strings.Join(a.keyColumns(), ", "), "terms", strconv.Itoa(a.Terms), "share", strconv.FormatFloat(a.MaxShare, 'g', -1, 64)), nil
}
