package postgres

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/warehouse"
)

//go:embed sql/*.sql
var files embed.FS

// statement returns the statement in the file name.
func statement(name string) string {
	text, err := files.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic("postgres: no statement " + name) // a mistake of the programmer
	}
	return string(text)
}

// column is one that the statements read.
type column struct {
	name  string
	class class
	// need says what becomes of a deployment without it.
	need rune // '!': its table is of no use; '?': nothing, others have it under another name; 0: it is named
}

// class is what a column must be. A column of another type is as good as none, except that any and text take whatever comes.
type class string

const (
	isUUID   class = "uuid"
	isTime   class = "time"
	isNumber class = "number"
	isBool   class = "bool"
	isText   class = "text"
	isAny    class = "any"
)

// none is the typed NULL that stands for a column that is not there.
var none = map[class]string{isUUID: "NULL::uuid", isTime: "NULL::timestamptz", isNumber: "NULL::numeric", isBool: "NULL::boolean", isText: "NULL::text", isAny: "NULL::text"}

// value is the expression that reads the column, whose type is typ, as what it must be; "" where it cannot.
func (c class) value(name, typ string) string {
	oneOf := func(types ...string) bool { return slices.Contains(types, typ) }
	number := oneOf("smallint", "integer", "bigint", "numeric", "real", "double precision")
	switch {
	case c == isTime && oneOf("timestamp without time zone", "date"):
		return name + "::timestamp AT TIME ZONE 'UTC'"
	case c == isText, c == isAny && strings.HasSuffix(typ, "[]"):
		return map[bool]string{true: "to_json(" + name + ")", false: name + "::text"}[c == isAny]
	case c == isUUID && typ == "uuid", c == isTime && typ == "timestamp with time zone", c == isNumber && number, c == isBool && typ == "boolean",
		c == isAny && (number || oneOf("boolean", "uuid", "json", "jsonb", "text", "character varying", "character")):
		return name
	case c == isAny:
		return name + "::text" // an enum, for one
	}
	return ""
}

// table is what is read of one of the platform's tables.
type table struct {
	name    string
	dataset warehouse.Dataset // whose rows it holds; the zero value: none
	columns []column
}

var tables = []table{
	{"customers", warehouse.Customers, columns(`user_id uuid!, id uuid!, name any, email any, phone_number any, source any, interaction_count any,
		last_interaction time, variables any, created_at time!, updated_at time`)},
	{"call_logs", warehouse.Calls, columns(`user_id uuid!, id uuid!, call_sid any, direction any, status any, from_number any, to_number any, phone_number any,
		duration any, duration_seconds any, cost number, summary any, transcript any, conversation_history any, recording_url any, provider any, started_at time,
		ended_at time, created_at time!, updated_at time, assistant_id any, metadata any, stt_minutes number?, stt_seconds number, tts_characters any`)},
	{"whatsapp_messages", warehouse.Messages, columns(`config_id uuid!, id uuid!, direction any, content any, message_type any, from_number any, to_number any,
		status any, is_from_bot any, delivered_at time, read_at time, created_at time, message_timestamp time, updated_at time?, customer_id any,
		assistant_id any, wa_message_id any`)},
	{"whatsapp_configs", warehouse.Dataset{}, columns(`id uuid!, user_id uuid!`)},
	{"call_costs", warehouse.Dataset{}, columns(`call_id any?, call_log_id any?, total_cost number?, total_cost_usd number?, stt_cost number?, stt_cost_usd number?,
		llm_cost number?, llm_cost_usd number?, tts_cost number?, tts_cost_usd number?, infra_cost number?, infra_cost_usd number?,
		livekit_cost number?, livekit_cost_usd number?, telephony_cost number?, telephony_cost_usd number?`)},
	{"api_keys", warehouse.Dataset{}, columns(`id uuid!, user_id uuid!, label text, key text!, type text, created_at time, revoked_at time, is_revoked bool`)},
}

func columns(list string) []column {
	var out []column
	for part := range strings.SplitSeq(strings.Join(strings.Fields(list), " "), ", ") {
		name, typ, _ := strings.Cut(part, " ")
		c := column{name: name, class: class(strings.TrimRight(typ, "!?"))}
		if len(c.class) < len(typ) {
			c.need = rune(typ[len(typ)-1])
		}
		out = append(out, c)
	}
	return out
}

// deployment is what there is of the tables in one database.
type deployment struct {
	tables  map[string]found
	missing []string // tables, and columns as table.column, each perhaps with why
}

// found is a table that can be read.
type found struct {
	relation string // as the session names it, quoted where it must be
	rows     int64  // about
	types    map[string]string
}

// inspect looks the tables up. Without any of the datasets there is nothing to do; a table of theirs that may not be read is an error.
func inspect(ctx context.Context, tx pgx.Tx) (*deployment, error) {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	rows, err := tx.Query(ctx, statement("columns"), names)
	if err != nil {
		return nil, err
	}
	d, forbidden := &deployment{tables: map[string]found{}}, map[string]bool{}
	var name, relation, attribute, typ string
	var readable bool
	var about int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &relation, &about, &attribute, &typ, &readable}, func() error {
		if relation == "" {
			return nil
		}
		if _, ok := d.tables[name]; !ok {
			d.tables[name] = found{relation, about, map[string]string{}}
		}
		if readable {
			d.tables[name].types[attribute] = typ
		} else {
			forbidden[name+"."+attribute] = true
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := d.check(t, forbidden); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(tables, d.gives) {
		return nil, fmt.Errorf("%w: the database has none of the platform's tables (%s): is it the right one, and may the user use their schema?", ErrUnusable, strings.Join(names, ", "))
	}
	return d, nil
}

// check keeps of the table what can be used, and notes what is missing.
func (d *deployment) check(t table, forbidden map[string]bool) error {
	there, ok := d.tables[t.name]
	if !ok {
		d.missing = append(d.missing, t.name)
		return nil
	}
	if len(there.types) == 0 && t.dataset.Name != "" {
		return fmt.Errorf("%w: no permission to read the table %s: GRANT SELECT ON %s TO the user of the DSN", ErrUnusable, t.name, there.relation)
	}
	var lacking []string
	useless := len(there.types) == 0
	for _, c := range t.columns {
		typ, ok := there.types[c.name]
		why := ""
		switch {
		case ok && c.class.value(c.name, typ) != "":
			continue
		case ok:
			why = " (" + typ + " is no " + string(c.class) + ")"
			delete(there.types, c.name)
		case forbidden[t.name+"."+c.name]:
			why = " (no permission)"
		}
		if c.need != '?' || why != "" {
			lacking = append(lacking, t.name+"."+c.name+why)
		}
		useless = useless || c.need == '!'
	}
	if useless {
		delete(d.tables, t.name)
		lacking = []string{t.name + " (without " + strings.Join(lacking, ", ") + ")"}
	}
	d.missing = append(d.missing, lacking...)
	return nil
}

// gives says whether rows of the table's dataset can be read, with what no row may lack.
func (d *deployment) gives(t table) bool {
	_, ok := d.tables[t.name]
	if t.dataset.Name == warehouse.Messages.Name {
		_, owned := d.tables["whatsapp_configs"]
		ok = ok && owned && d.has(t.name, "created_at", "message_timestamp")
	}
	return ok && t.dataset.Name != ""
}

// has says whether the table has one of the columns.
func (d *deployment) has(table string, names ...string) bool {
	types := d.tables[table].types
	return slices.ContainsFunc(names, func(name string) bool { return types[name] != "" })
}

// absent are the fields of the table's dataset that this deployment cannot give.
func (d *deployment) absent(t table) (fields []string) {
	also := map[string]func() bool{
		"transcript":  func() bool { return d.has("call_logs", "conversation_history") },
		"cost":        func() bool { return d.has("call_costs", "total_cost", "total_cost_usd") },
		"metadata":    func() bool { _, ok := d.tables["call_costs"]; return ok },
		"stt_minutes": func() bool { return d.has("call_logs", "stt_seconds") },
		"created_at":  func() bool { return d.has("whatsapp_messages", "message_timestamp") },
		"updated_at":  func() bool { return t.dataset.Name != warehouse.Customers.Name }, // others are not shown with it
	}
	for _, c := range t.columns {
		if other := also[c.name]; !d.has(t.name, c.name) && (other == nil || !other()) && !slices.Contains(helpers, c.name) {
			fields = append(fields, c.name)
		}
	}
	return fields
}

// helpers are columns that fields are made of, and no fields themselves.
var helpers = []string{"conversation_history", "stt_seconds", "message_timestamp", "config_id"}

// fill returns the statement name with every table that it names replaced by a query of all of its columns, those lacking as NULL.
func (d *deployment) fill(name string) string {
	var slots []string
	for _, t := range tables {
		there, ok := d.tables[t.name]
		values := make([]string, len(t.columns))
		for i, c := range t.columns {
			values[i] = none[c.class]
			if typ := there.types[c.name]; typ != "" {
				values[i] = c.class.value(pgx.Identifier{c.name}.Sanitize(), typ)
			}
			values[i] += " AS " + pgx.Identifier{c.name}.Sanitize()
		}
		from := " WHERE false"
		if ok {
			from = " FROM " + there.relation
		}
		slots = append(slots, "{{"+t.name+"}}", "(SELECT "+strings.Join(values, ", ")+from+") AS "+t.name)
	}
	facts := "NULL::jsonb"
	if d.tables["call_logs"].types["metadata"] == "jsonb" {
		facts = "metadata"
	}
	slots = append(slots, "{{facts}}", facts, "{{turns of transcript}}", d.turns("transcript"), "{{turns of conversation_history}}", d.turns("conversation_history"))
	return strings.NewReplacer(slots...).Replace(statement(name))
}

// turns is the expression that gives a column of call_logs as JSON, and NULL where it holds no turn: the platform's default for
// a history is an empty list. One of some size is not compared: that would unpack it for each of the texts.
func (d *deployment) turns(name string) string {
	switch typ := d.tables["call_logs"].types[name]; typ {
	case "":
		return "NULL::json"
	case "jsonb":
		return "CASE WHEN pg_column_size(" + name + ") > 16 OR " + name + ` NOT IN ('[]', '{}', 'null', '""') THEN to_json(` + name + ") END"
	default: // json is compared as text; none of what has no turn is longer than this
		return "CASE WHEN octet_length(" + name + "::text) > 4 THEN to_json(" + name + ") END"
	}
}
