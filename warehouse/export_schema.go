package warehouse

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	statements "github.com/voicory/warehouse/sql"
)

// Export is a relation that is published: one of the datasets, or one made from the calls.
type Export struct {
	Name        string   `json:"name"` // the folder in the lake and the path under /api/v1/exports
	Description string   `json:"description"`
	Columns     []Column `json:"columns"` // in their order
	// Source is the dataset whose rows it is made of, and whose filters it has.
	Source Dataset `json:"-"`
}

// Column describes one column of an export.
type Column struct {
	Name        string `json:"name"`
	Type        string `json:"type"` // as DuckDB's DESCRIBE writes it
	Description string `json:"description"`
	Unit        string `json:"unit,omitempty"`
	TimeZone    string `json:"time_zone,omitempty"`
	Null        string `json:"null,omitempty"` // what a NULL means; empty: there are none
}

// Nullable tells whether there may be NULLs.
func (c Column) Nullable() bool { return c.Null != "" }

// Comment is all that is said of the column, in one line: "What the call cost. In US dollars. NULL: pending."
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

// Exports are all that are published: the datasets, then what is made of them. sql/lake has their statements and descriptions.
var Exports = loadExports()

func loadExports() (exports []Export) {
	if err := json.Unmarshal(statements.Exports(), &exports); err != nil {
		panic(err) // it is embedded
	}
	for i := range exports {
		exports[i].Source = Calls
		if dataset, err := DatasetNamed(exports[i].Name); err == nil {
			exports[i].Source = dataset
		}
	}
	return exports
}

// ExportNamed finds an export; an unknown name is ErrNotFound.
func ExportNamed(name string) (Export, error) {
	for _, e := range Exports {
		if e.Name == name {
			return e, nil
		}
	}
	return Export{}, fmt.Errorf("%w: no export %q", ErrNotFound, name)
}

// exportOf finds an export that exists.
func mustExport(name string) Export {
	export, err := ExportNamed(name)
	if err != nil {
		panic(err)
	}
	return export
}

// Select is the statement for the rows of the export that are made of the source's rows within the filter. It needs a connection
// that stands in a tenant's database and has UTC as its time zone, and takes no parameters, which COPY could not have. The rows of a
// dataset are sorted by created_at and id, turns in the order of their calls and then as spoken, costs by all their columns from day on.
func (e Export) Select(filter Filter) string {
	return e.selectWhere(filter.literal(e.Source) + " ORDER BY created_at, id")
}

// of is the statement for what is made of the source's rows that the condition, or what follows it, lets through.
func (e Export) selectWhere(condition string) string {
	source := statements.Fill("lake/"+e.Source.Name, "rows", "(FROM "+statements.Ident(e.Source.Name)+" WHERE "+condition+")")
	if e.derived() {
		return e.selectFrom("(" + source + ")")
	}
	return source
}

// ofFiles is the statement for what is made of the rows within the filter that files of the source hold, which may be the export itself.
func (e Export) selectFromFiles(source Export, paths []string, filter Filter) string {
	names := make([]string, len(source.Columns))
	for i, c := range source.Columns {
		names[i] = statements.Ident(c.Name)
	}
	columns := strings.Join(names, ", ")
	rows := statements.Fill("query/rows", "columns", columns, "files", statements.Texts(paths...))
	if filter != (Filter{}) {
		absent := ""
		if source.derived() {
			absent = ", NULL AS customer_number" // which such a filter is not about
		}
		rows = "SELECT " + columns + " FROM (SELECT *" + absent + " FROM (" + rows + ")) WHERE " + filter.literal(e.Source)
	}
	if source.Name == e.Name {
		return rows
	}
	return e.selectFrom("(" + rows + ")")
}

// Metadata are the keys that a file or stream of the export has beside its rows: voicory.export, voicory.description, voicory.columns
// (what is said of the columns, as JSON: see [Column]), and voicory.as_of.
func (e Export) Metadata(asOf time.Time) map[string]string {
	columns, err := json.Marshal(e.Columns)
	if err != nil {
		panic(err) // texts are always JSON
	}
	return map[string]string{"voicory.export": e.Name, "voicory.description": e.Description, "voicory.columns": string(columns),
		"voicory.as_of": asOf.UTC().Format(time.RFC3339Nano)}
}

// has tells whether the export itself has the columns that the filter is about. What it is made of has them all.
func (e Export) hasColumnsOf(filter Filter) bool {
	return !e.derived() || e.Name == "transcript_turns" && filter.PhoneNumber == ""
}

// derived tells whether the export is made of another one.
func (e Export) derived() bool { return e.Name != e.Source.Name }

// selectFrom is the statement of a derived export over a relation that holds rows of the export it is made of.
func (e Export) selectFrom(relation string) string {
	return statements.Fill("lake/"+e.Name, e.Source.Name, relation)
}

// literal is the dataset's WHERE clause with the filter's values in it.
func (f Filter) literal(dataset Dataset) string {
	var slots []string
	for _, arg := range f.args(dataset) {
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
