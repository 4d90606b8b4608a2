package analytics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Report is a set of figures over a dataset. Its statement in sql/analytics defines each figure.
type Report struct {
	Name   string         // path below /api/v1/analytics
	Source schema.Dataset // dataset whose rows and filters the report uses
	groups []group
	order  string // ORDER BY terms for rows with the same period and group; "": there is only one such row
	// readsTranscripts means that the report reads transcripts. They are read from the published files, which is faster
	// than parsing the JSON in the tables.
	readsTranscripts bool
}

// A group is a column that figures can be grouped by: its name, and a SQL expression over a row. In the expression,
// local is the time of the row in the zone of the analysis.
type group struct{ name, expression string }

var (
	// timeGroups are the hour from 0 to 23, and the day of the week from 1 (Monday) to 7.
	timeGroups   = []group{{"hour_of_day", "hour(local)"}, {"day_of_week", "isodow(local)"}}
	commonGroups = []group{
		{"assistant", "assistant_id::VARCHAR"}, {"direction", "direction"},
		{"status", "replace(status, '_', '-')"}, {"customer", "customer_number"},
	}
	callGroups    = slices.Concat(commonGroups, timeGroups, []group{{"provider", "provider"}})
	messageGroups = slices.Concat(commonGroups, timeGroups, []group{{"type", "message_type"}})

	// Reports are all reports.
	Reports = []Report{
		{Name: "costs", Source: schema.Calls, groups: callGroups},
		{Name: "calls", Source: schema.Calls, groups: callGroups},
		{Name: "transcripts", Source: schema.Calls, groups: callGroups, readsTranscripts: true},
		{Name: "transcripts/terms", Source: schema.Calls, groups: callGroups, order: ", calls DESC, term",
			readsTranscripts: true},
		{Name: "messages", Source: schema.Messages, groups: messageGroups},
	}
)

// Groups returns the names of the columns that the report can be grouped by.
func (r Report) Groups() []string {
	names := make([]string, len(r.groups))
	for i, g := range r.groups {
		names[i] = g.name
	}
	return names
}

// Intervals are the periods that figures can be computed for. Weeks start on Monday. All are in the zone of the
// analysis.
var Intervals = []string{"none", "hour", "day", "week", "month"}

// An Analysis holds the parameters of a report.
type Analysis struct {
	Report   Report
	Filter   schema.Filter
	Previous *schema.Filter // filter of a previous period to compare with; nil: none
	Zone     *time.Location // zone of days and hours
	Interval string         // one of Intervals
	GroupBy  []string       // names of the report's Groups
	Terms    int            // transcripts/terms: number of most frequent terms per period and group, from 1 to MaxTerms
	MaxShare float64        // transcripts/terms: terms in more than this share of the transcripts are omitted; in (0, 1]
}

// Bounds of the figures.
const (
	MaxFigures = 10_000 // rows of a period
	MaxTerms   = 1000   // terms of a group
)

// Figures are the result of an analysis, computed from one snapshot by Table or AppendJSON. The caller must close
// them: they hold a reader slot. Table and AppendJSON return warehouse.ErrInvalid if there are more than MaxFigures
// rows in a period, or if DuckDB does not know the time zone.
type Figures struct {
	*warehouse.Snapshot
	analysis   Analysis
	statements []string // statement for the figures of the period and, if requested, of the previous period
}

// A Source opens snapshots. It is implemented by [warehouse.Warehouse].
type Source interface {
	// ReadSnapshot opens a snapshot of a tenant's rows that holds a reader slot. The caller closes it.
	ReadSnapshot(ctx context.Context, tenant uuid.UUID) (*warehouse.Snapshot, error)
}

// Analyze prepares the figures of a report. It waits for a reader slot.
func Analyze(ctx context.Context, source Source, tenant uuid.UUID, analysis Analysis) (*Figures, error) {
	figures := &Figures{analysis: analysis}
	var err error
	if figures.Snapshot, err = source.ReadSnapshot(ctx, tenant); err != nil {
		return nil, figures.wrapError(err)
	}
	if err := figures.prepare(ctx); err != nil {
		return nil, errors.Join(figures.wrapError(err), figures.Close())
	}
	return figures, nil
}

// wrapError wraps an error in its kind, with the name of the report.
func (f *Figures) wrapError(err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "Unknown TimeZone") {
		err = fmt.Errorf("%w: unknown time zone %q", warehouse.ErrInvalid, f.analysis.Zone)
	}
	return fmt.Errorf("analytics of %s: %w", f.analysis.Report.Name, err)
}

// About returns the description of the figures for the metadata of a table.
func (f *Figures) About() schema.Export {
	report := f.analysis.Report
	return schema.Export{Name: report.Name, Description: "Figures by period and group.", Source: report.Source}
}

// prepare sets the statements of the periods.
func (f *Figures) prepare(ctx context.Context) error {
	a := f.analysis
	filters := []schema.Filter{a.Filter}
	if a.Previous != nil {
		filters = append(filters, *a.Previous)
	}
	for _, filter := range filters {
		rows := "SELECT * FROM " + statements.Ident(a.Report.Source.Name) + " WHERE " + filter.Literal(a.Report.Source)
		if a.Report.readsTranscripts {
			var err error
			rows, err = f.Select(ctx, schema.MustExport(a.Report.Source.Name), filter)
			if err != nil {
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

// Table computes the figures and returns a statement that selects them, in order, from Conn. Its columns are:
//
//   - previous, true for rows of the previous period, if the analysis has one
//   - period, a date or the start of an hour, if the analysis has an interval
//   - the columns that the figures are grouped by
//   - the figures
//
// Table must be called at most once.
func (f *Figures) Table(ctx context.Context) (statement string, err error) {
	defer func() { err = f.wrapError(err) }()
	var parts []string
	for i, statement := range f.statements {
		part := fmt.Sprintf("(SELECT %t AS previous, * FROM (%s) LIMIT %d)", i > 0, statement, MaxFigures+1)
		parts = append(parts, part)
	}
	// The rows are counted before any is read. The temporary table is dropped when the transaction is rolled back.
	create := "CREATE TEMP TABLE figures AS " + strings.Join(parts, " UNION ALL ")
	if _, err := duckdb.Exec(ctx, f.Conn, create); err != nil {
		return "", err
	}
	const count = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM figures GROUP BY previous)"
	var most int64
	if err := f.Conn.QueryRowContext(ctx, count).Scan(&most); err != nil {
		return "", err
	}
	if most > MaxFigures {
		return "", errTooManyFigures
	}
	return f.analysis.tableStatement(), nil
}

var errTooManyFigures = fmt.Errorf("%w: more than %d rows", warehouse.ErrInvalid, MaxFigures)

// AppendJSON computes the figures of the period, or of the previous period, and appends them to text as a JSON array
// of objects. Their members are period (a date, or the start of an hour as a UTC time; null without an interval),
// group, and the figures. The rows are read directly from the statement, because an intermediate table would double
// the time.
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
		"keys", strings.Join(f.analysis.keyColumns(), ", "), "order", f.analysis.Report.order,
		"most", strconv.Itoa(MaxFigures+1))
	text = append(text, '[')
	n := 0
	err = f.Conn.Raw(func(driverConn any) error {
		objects, err := duckdb.StreamArrow(ctx, driverConn, statement)
		if err != nil {
			return err
		}
		defer objects.Close()
		// A statement that finishes before it notices the cancellation returns no error, so ctx is checked here, too.
		for ctx.Err() == nil {
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

// groupColumn returns the column of a group. Its prefix avoids a collision with columns that figures are computed from.
func groupColumn(group string) string { return "by_" + group }

// keyColumns returns the columns that identify a row of the figures within the current or the previous period.
func (a Analysis) keyColumns() []string {
	keys := []string{"period"}
	for _, name := range a.GroupBy {
		keys = append(keys, groupColumn(name))
	}
	return keys
}

// tableStatement returns the statement that selects the columns of Table from the table figures.
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
	keys := strings.Join(a.keyColumns(), ", ")
	return "SELECT " + columns + "* EXCLUDE (previous, " + keys + ") FROM figures ORDER BY " + order + a.Report.order
}

// reportStatement returns the statement of the report. rows is a statement that selects its rows. The other slots are
// filled only with values of closed lists, numbers and the quoted name of the zone.
func (a Analysis) reportStatement(rows string) (string, error) {
	period := "NULL::VARCHAR"
	switch a.Interval {
	case "none":
	case "hour":
		// The hour is computed from the UTC time: when clocks are set back, two hours have the same local time.
		period = "make_timestamptz(epoch_us(created_at) - epoch_us(local) + epoch_us(date_trunc('hour', local)))"
	case "day", "week", "month":
		period = "date_trunc('" + a.Interval + "', local)::DATE"
	default:
		return "", fmt.Errorf("%w: unknown interval %q", warehouse.ErrInvalid, a.Interval)
	}
	columns, grouping := period+" AS period, ", ""
	for i, name := range a.GroupBy {
		at := slices.IndexFunc(a.Report.groups, func(g group) bool { return g.name == name })
		if at < 0 || slices.Contains(a.GroupBy[:i], name) {
			return "", fmt.Errorf("%w: unknown or repeated group %q", warehouse.ErrInvalid, name)
		}
		columns += a.Report.groups[at].expression + " AS " + groupColumn(name) + ", "
	}
	if a.Interval != "none" || len(a.GroupBy) > 0 {
		grouping = "GROUP BY ALL"
	}
	local := "created_at AT TIME ZONE " + statements.Text(a.Zone.String())
	if a.Zone == time.UTC {
		local = "make_timestamp(epoch_us(created_at))" // the same time, without the cost of a time zone conversion
	}
	return statements.Fill("analytics/"+a.Report.Name, "columns", columns, "local", local, "grouping", grouping,
		"seconds", statements.Get("analytics/call_seconds"),
		"rows", rows, "keys", strings.Join(a.keyColumns(), ", "), "terms", strconv.Itoa(a.Terms),
		"share", strconv.FormatFloat(a.MaxShare, 'g', -1, 64)), nil
}
