package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Report is a set of figures over a dataset; sql/analytics has its statement, and says what each figure is.
type Report struct {
	Name   string  // the path under /api/v1/analytics
	Source Dataset // whose rows it is of, and whose filters it has
	groups []group
}

// group is something that figures can be grouped by: its name and its expression over a row, in which local is the row's time
// on the clocks of the asked zone.
type group struct{ name, expression string }

var (
	times = []group{{"hour_of_day", "hour(local)"}, {"day_of_week", "isodow(local)"}} // 0 to 23; 1 (Monday) to 7
	sides = []group{{"assistant", "assistant_id::VARCHAR"}, {"direction", "direction"}, {"status", "replace(status, '_', '-')"}, {"customer", "customer_number"}}

	// Reports are all that there are.
	Reports = []Report{
		{"costs", Calls, slices.Concat(sides, times, []group{{"provider", "provider"}})},
		{"calls", Calls, slices.Concat(sides, times, []group{{"provider", "provider"}})},
		{"transcripts", Calls, slices.Concat(sides, times, []group{{"provider", "provider"}})},
		{"messages", Messages, slices.Concat(sides, times, []group{{"type", "message_type"}})},
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
}

// Figures are the answer to an analysis, of one state of the rows.
type Figures struct {
	Rows     []string // JSON objects: period (a date, or the UTC time at which an hour begins; null without an interval), group, and the figures
	Previous []string // the same of the period before
	AsOf     time.Time
}

// MostFigures is how many rows figures can have.
const MostFigures = 10_000

// Analyze reads the figures of a report. More than MostFigures rows, and a zone that DuckDB does not know, are ErrInvalid.
func (w *Warehouse) Analyze(ctx context.Context, tenant uuid.UUID, analysis Analysis) (figures Figures, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return figures, err
	}
	defer release()
	defer func() {
		if err != nil {
			err = fmt.Errorf("analytics of %s: %w", analysis.Report.Name, w.diagnose(err))
		}
	}()
	tx, err := begin(ctx, store.db)
	if err != nil {
		return figures, err
	}
	defer tx.Rollback() // it only reads
	// The state is of the first statement that reads the tenant's file; now() is the time at which the transaction began.
	if err := tx.QueryRowContext(ctx, "SELECT now() FROM clock").Scan(&figures.AsOf); err != nil {
		return figures, err
	}
	figures.AsOf = figures.AsOf.UTC()
	if figures.Rows, err = analysis.read(ctx, tx, analysis.Filter); err != nil || analysis.Previous == nil {
		return figures, err
	}
	figures.Previous, err = analysis.read(ctx, tx, *analysis.Previous)
	return figures, err
}

func (a Analysis) read(ctx context.Context, db querier, filter Filter) ([]string, error) {
	statement, err := a.statement()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, statement, append(filter.args(a.Report.Source), sql.Named("most", MostFigures+1))...)
	if err != nil {
		if strings.Contains(err.Error(), "Unknown TimeZone") {
			return nil, fmt.Errorf("%w: time zone %q is not known", ErrInvalid, a.Zone)
		}
		return nil, err
	}
	defer rows.Close()
	figures := []string{}
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			return nil, err
		}
		figures = append(figures, row)
	}
	if len(figures) > MostFigures {
		return nil, fmt.Errorf("%w: more than %d rows", ErrInvalid, MostFigures)
	}
	return figures, rows.Err()
}

// statement fills the report's slots, with nothing but what is in closed lists and the quoted name of the zone.
func (a Analysis) statement() (string, error) {
	const none = "NULL::VARCHAR"
	period, shown, grouping := none, "period", ""
	switch a.Interval {
	case "none":
	case "hour":
		// From the moment itself: where clocks are set back, two hours have one name.
		period, shown = "make_timestamp(epoch_us(created_at) - epoch_us(local) + epoch_us(date_trunc('hour', local)))", "iso(period)"
	case "day", "week", "month":
		period, shown = "date_trunc('"+a.Interval+"', local)::DATE", "period::VARCHAR"
	default:
		return "", fmt.Errorf("%w: no interval %q", ErrInvalid, a.Interval)
	}
	columns, keys, members := period+" AS period, ", []string{"period"}, []string(nil)
	for _, name := range a.GroupBy {
		i := slices.IndexFunc(a.Report.groups, func(g group) bool { return g.name == name })
		if i < 0 || slices.Contains(keys, "by_"+name) {
			return "", fmt.Errorf("%w: no group %q, or twice", ErrInvalid, name)
		}
		columns += a.Report.groups[i].expression + " AS by_" + name + ", "
		keys = append(keys, "by_"+name)
		members = append(members, statements.Text(name)+": by_"+name)
	}
	if a.Interval != "none" || len(members) > 0 {
		grouping = "GROUP BY ALL"
	}
	group := "'{}'::JSON"
	if len(members) > 0 {
		group = "{" + strings.Join(members, ", ") + "}"
	}
	local := "created_at AT TIME ZONE " + statements.Text(a.Zone.String())
	if a.Zone == time.UTC {
		local = "make_timestamp(epoch_us(created_at))" // the same, without a calendar
	}
	figures := statements.Fill("analytics/"+a.Report.Name, "columns", columns, "local", local, "grouping", grouping,
		"seconds", statements.Get("analytics/seconds"), "where", statements.Get("pages/"+a.Report.Source.Name+"_where"))
	return statements.Fill("analytics/rows", "period", shown, "group", group, "keys", strings.Join(keys, ", "), "figures", figures), nil
}
