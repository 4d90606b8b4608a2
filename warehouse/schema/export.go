package schema

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	statements "github.com/voicory/warehouse/sql"
)

// An Export is a published relation: a dataset, or a relation derived from the calls.
type Export struct {
	Name        string   `json:"name"` // name of the folder in the lake and of the path under /api/v1/exports
	Description string   `json:"description"`
	Columns     []Column `json:"columns"`
	// Source is the dataset that the export is derived from. Its filters apply to the export.
	Source Dataset `json:"-"`
}

// A Field is a column of an export, or a member of a nested one, with its number in Parquet files. A number is never
// changed or used again for another field of the export, so that readers find a field whatever its name and place.
type Field struct {
	Name    string  `json:"name"`
	ID      int     `json:"field_id"`
	Members []Field `json:"members,omitempty"` // element of a list, members of a struct
}

// A Column describes a column of an export. Its ids are text: few readers of Parquet and Arrow know UUIDs.
type Column struct {
	Field
	Type        string `json:"type"` // type in the notation of DuckDB's DESCRIBE
	Description string `json:"description"`
	Unit        string `json:"unit,omitempty"`
	TimeZone    string `json:"time_zone,omitempty"`
	Null        string `json:"null,omitempty"` // meaning of NULL; "": the column has no NULLs
}

// Nullable reports whether the column may have NULLs.
func (c Column) Nullable() bool { return c.Null != "" }

// Comment returns the description of the column with its unit, time zone and meaning of NULL, in one line.
func (c Column) Comment() string {
	text := c.Description
	if c.Unit != "" {
		text += " In " + c.Unit + "."
	}
	if c.TimeZone != "" {
		text += " In " + c.TimeZone + "."
	}
	if c.Null != "" {
		text += " NULL: " + c.Null + "."
	}
	return text
}

// FieldIDs returns the option of COPY that writes the numbers of the columns to a Parquet file. It returns an empty
// text if there are no columns.
func FieldIDs(columns []Column) string {
	if len(columns) == 0 {
		return ""
	}
	fields := make([]Field, len(columns))
	for i, c := range columns {
		fields[i] = c.Field
	}
	return ", FIELD_IDS {" + fieldIDs(fields) + "}"
}

func fieldIDs(fields []Field) string {
	ids := make([]string, len(fields))
	for i, f := range fields {
		ids[i] = fmt.Sprintf("%s: %d", statements.Ident(f.Name), f.ID)
		if len(f.Members) > 0 {
			ids[i] = fmt.Sprintf("%s: {__duckdb_field_id: %d, %s}", statements.Ident(f.Name), f.ID, fieldIDs(f.Members))
		}
	}
	return strings.Join(ids, ", ")
}

// selectColumns returns the select list of the columns of published files. A file of an older version may have another
// type for a column.
func selectColumns(columns []Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = fmt.Sprintf("%s::%s AS %[1]s", statements.Ident(c.Name), c.Type)
	}
	return strings.Join(list, ", ")
}

// Exports are all exports: the datasets, then the derived ones. Their statements and descriptions are in sql/lake.
var Exports = loadExports()

func loadExports() (exports []Export) {
	if err := json.Unmarshal(statements.Exports(), &exports); err != nil {
		panic(err) // the file is embedded
	}
	for i := range exports {
		exports[i].Source = Calls
		if dataset, err := DatasetNamed(exports[i].Name); err == nil {
			exports[i].Source = dataset
		}
	}
	return exports
}

// ExportNamed returns the export with the name, or ErrNotFound.
func ExportNamed(name string) (Export, error) {
	for _, e := range Exports {
		if e.Name == name {
			return e, nil
		}
	}
	return Export{}, fmt.Errorf("%w: no export %q", ErrNotFound, name)
}

// MustExport returns the export with the name. It panics if the name is unknown.
func MustExport(name string) Export {
	export, err := ExportNamed(name)
	if err != nil {
		panic(err)
	}
	return export
}

// TimeColumn returns the name of the column that determines the partition of a row.
func (e Export) TimeColumn() string {
	if e.Name == "cost_daily" {
		return "day"
	}
	return "created_at"
}

// TimeCondition returns the condition for the rows of the export within the bounds of the filter, which are whole days.
// The rows have the columns of published files. It is true without bounds.
func (e Export) TimeCondition(f Filter) string {
	if f.Before.IsZero() {
		return "true"
	}
	return fmt.Sprintf("%[1]s >= '%[2]s' AND %[1]s < '%[3]s'", e.TimeColumn(), f.From.Format(time.DateOnly),
		f.Before.Format(time.DateOnly))
}

// Order returns the list for ORDER BY of the export's rows in files.
func (e Export) Order() string {
	switch e.Name {
	case "cost_daily":
		return "ALL"
	case "transcript_turns":
		return "created_at, call_id, turn"
	}
	return "created_at, id"
}

// Select returns a statement that selects the rows of the export from the tables of a tenant, restricted to source
// rows that match the filter. It must run on a connection whose default database is the tenant's and whose time zone
// is UTC. It has no parameters, because COPY does not support them. The rows are ordered: datasets by created_at and
// id, transcript_turns by call and turn, and cost_daily by all columns from day on.
func (e Export) Select(filter Filter) string {
	return e.SelectWhere(filter.Literal(e.Source) + " ORDER BY created_at, id")
}

// SelectWhere returns a statement that selects the rows of the export, restricted to source rows that match the
// condition. ORDER BY may follow the condition.
func (e Export) SelectWhere(condition string) string {
	rows := "(FROM " + statements.Ident(e.Source.Name) + " WHERE " + condition + ")"
	source := statements.Fill("lake/"+e.Source.Name, "rows", rows)
	if e.Derived() {
		return e.SelectFrom("(" + source + ")")
	}
	return source
}

// SelectFromFiles returns a statement that selects the rows of the export, restricted by the filter, from published
// files of source, which is the export itself or its source dataset.
func (e Export) SelectFromFiles(source Export, paths []string, filter Filter) string {
	rows := statements.Fill("query/rows", "columns", selectColumns(source.Columns), "files", statements.Texts(paths...))
	if filter != (Filter{}) {
		absent := ""
		for _, c := range MustExport(e.Source.Name).Columns {
			if source.Derived() && !source.hasColumn(c.Name) { // the condition names it, but does not use it, see HasColumnsOf
				absent += ", NULL AS " + statements.Ident(c.Name)
			}
		}
		names := make([]string, len(source.Columns))
		for i, c := range source.Columns {
			names[i] = statements.Ident(c.Name)
		}
		condition := strings.ReplaceAll(filter.Literal(e.Source), "::UUID", "::VARCHAR") // ids in files are text
		rows = "SELECT " + strings.Join(names, ", ") + " FROM (SELECT *" + absent + " FROM (" + rows + ")) WHERE " + condition
	}
	if source.Name == e.Name {
		return rows
	}
	return e.SelectFrom("(" + rows + ")")
}

// Metadata returns the metadata of a file or stream of the export: voicory.export, voicory.description,
// voicory.columns (a JSON list of [Column]) and voicory.as_of.
func (e Export) Metadata(asOf time.Time) map[string]string {
	columns, err := json.Marshal(e.Columns)
	if err != nil {
		panic(err) // marshalling strings cannot fail
	}
	return map[string]string{
		"voicory.export":      e.Name,
		"voicory.description": e.Description,
		"voicory.columns":     string(columns),
		"voicory.as_of":       asOf.UTC().Format(time.RFC3339Nano),
	}
}

// FromPublished returns the names and values of the slots of repair/insert_published, in pairs: the columns of the
// dataset's table as far as its published files have them. A transcript is a list of turns there, whatever its shape
// was, and a duration is a number of seconds.
func (d Dataset) FromPublished(paths []string) []string {
	export := MustExport(d.Name)
	columns, stored := []string{"customer_number"}, []string{}
	for _, f := range d.fields {
		if !d.stores(f) {
			continue
		}
		name := statements.Ident(f.name)
		value := name + "::" + f.typ
		switch f.name {
		case "transcript":
			value = statements.Get("repair/transcript")
		case "duration":
			value = "to_json(duration)"
		}
		columns, stored = append(columns, value+" AS "+name), append(stored, name)
	}
	if d.Name == Customers.Name {
		columns = append(columns, "updated_at AS _source_at")
	}
	return []string{"dataset", statements.Ident(d.Name), "dataset_name", statements.Text(d.Name),
		"columns", strings.Join(columns, ", "), "stored", strings.Join(stored, ", "),
		"rows", export.SelectFromFiles(export, paths, Filter{})}
}

// HasColumnsOf reports whether the columns of the export include every column that the filter uses. Those of its source
// dataset always do.
func (e Export) HasColumnsOf(filter Filter) bool {
	return !e.Derived() || !slices.ContainsFunc(filter.Args(e.Source), func(arg any) bool {
		parameter := arg.(sql.NamedArg)
		column := parameter.Name
		if column == "from" || column == "before" {
			column = "created_at"
		}
		return parameter.Value != nil && !e.hasColumn(column) // phone, which uses several columns, is the name of none
	})
}

func (e Export) hasColumn(name string) bool {
	return slices.ContainsFunc(e.Columns, func(c Column) bool { return c.Name == name })
}

// Derived reports whether the export is derived from another export.
func (e Export) Derived() bool { return e.Name != e.Source.Name }

// SelectFrom returns the statement of a derived export over a relation with rows of its source.
func (e Export) SelectFrom(relation string) string {
	return statements.Fill("lake/"+e.Name, e.Source.Name, relation)
}

// InexactColumns returns the columns whose values depend on the order of the source rows: sums of floating-point
// numbers.
func (e Export) InexactColumns() (names []string) {
	for _, c := range e.Columns {
		if e.Name == "cost_daily" && c.Type == "DOUBLE" {
			names = append(names, statements.Ident(c.Name))
		}
	}
	return names
}

// Literal returns the dataset's WHERE clause with the values of the filter as literals.
func (f Filter) Literal(dataset Dataset) string {
	var slots []string
	for _, arg := range f.Args(dataset) {
		value := "NULL"
		switch v := arg.(sql.NamedArg).Value.(type) {
		case string:
			value = statements.Text(v)
		case time.Time:
			value = statements.Text(v.UTC().Format("2006-01-02 15:04:05.999999") + "+00")
		}
		slots = append(slots, "$"+arg.(sql.NamedArg).Name+"::", value+"::")
	}
	return "(" + strings.NewReplacer(slots...).Replace(statements.Get("pages/"+dataset.Name+"_where")) + ")"
}
