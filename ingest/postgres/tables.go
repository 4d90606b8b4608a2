package postgres

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/warehouse/schema"
)

//go:embed sql/*.sql
var files embed.FS

// statement returns the text of the SQL file with the given name.
func statement(name string) string {
	text, err := files.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic("postgres: no statement " + name) // programming error
	}
	return string(text)
}

// A column is a column of the platform's tables that the statements read.
type column struct {
	name  string
	class columnClass
	// required is the effect of a missing column. '!': its table is not used. '?': none, because other deployments have
	// the column under another name. 0: the column is reported as missing.
	required rune
}

// A columnClass is a set of suitable types. A column of another type counts as missing. Any and text accept all types.
type columnClass string

const (
	isUUID   columnClass = "uuid"
	isTime   columnClass = "time"
	isNumber columnClass = "number"
	isBool   columnClass = "bool"
	isText   columnClass = "text"
	isAny    columnClass = "any"
)

// typedNull has the expression that replaces a missing column of each class.
var typedNull = map[columnClass]string{
	isUUID: "NULL::uuid", isTime: "NULL::timestamptz", isNumber: "NULL::numeric", isBool: "NULL::boolean",
	isText: "NULL::text", isAny: "NULL::text",
}

// expression returns the SQL expression that reads the column name of the type typ, or "" if the type is not suitable.
func (c columnClass) expression(name, typ string) string {
	oneOf := func(types ...string) bool { return slices.Contains(types, typ) }
	text := oneOf("text", "character varying", "character")
	number := oneOf("smallint", "integer", "bigint", "numeric", "real", "double precision")
	switch {
	case c == isTime && oneOf("timestamp without time zone", "date"):
		return name + "::timestamp AT TIME ZONE 'UTC'"
	case c == isText, c == isAny && strings.HasSuffix(typ, "[]"):
		return map[bool]string{true: "to_json(" + name + ")", false: name + "::text"}[c == isAny]
	case c == isUUID && text:
		return "lower(" + name + "::text)" // as PostgreSQL prints a UUID, so that ids can be compared as texts
	case c == isUUID && typ == "uuid", c == isTime && typ == "timestamp with time zone", c == isNumber && number,
		c == isBool && typ == "boolean", c == isAny && number,
		c == isAny && (text || oneOf("boolean", "uuid", "json", "jsonb")):
		return name
	case c == isAny:
		return name + "::text" // for example an enum
	}
	return ""
}

// A table lists the columns that are read of one of the platform's tables.
type table struct {
	name    string
	dataset schema.Dataset // dataset that consists of the table's rows; the zero value: none
	columns []column
}

var customersTable = table{"customers", schema.Customers, columns(`user_id uuid!, id uuid!, name any,
	email any, phone_number any, source any, interaction_count any, last_interaction time, variables any,
	created_at time!, updated_at time`)}

var tables = []table{
	customersTable,
	{"call_logs", schema.Calls, columns(`user_id uuid!, id uuid!, call_sid any, direction any, status any,
		from_number any, to_number any, phone_number any, duration any, duration_seconds any, cost number, summary any,
		notes any?, transcript any,
		conversation_history any, recording_url any, provider any, started_at time, ended_at time, created_at time!,
		updated_at time, assistant_id any, metadata any, stt_minutes number?, stt_seconds number, tts_characters any`)},
	{"whatsapp_messages", schema.Messages, columns(`config_id uuid!, id uuid!, direction any, content any,
		message_type any, from_number any, to_number any, status any, is_from_bot any, delivered_at time, read_at time,
		created_at time,
		message_timestamp time, updated_at time?, customer_id any, assistant_id any, wa_message_id any`)},
	{"whatsapp_configs", schema.Dataset{}, columns(`id uuid!, user_id uuid!`)},
	{"call_costs", schema.Dataset{}, columns(`call_id any?, call_log_id any?, total_cost number?,
		credits_charged number?,
		stt_cost number?, stt_cost_usd number?, llm_cost number?, llm_cost_usd number?,
		tts_cost number?, tts_cost_usd number?,
		infra_cost number?, infra_cost_usd number?, livekit_cost number?, livekit_cost_usd number?, telephony_cost number?,
		telephony_cost_usd number?`)},
	{"api_keys", schema.Dataset{}, columns(`id uuid!, user_id uuid!, label text, key text!, type text, created_at time,
		revoked_at time, is_revoked bool`)},
}

// columns parses a list of columns, each with its class and an optional mark (see column.required).
func columns(list string) []column {
	var out []column
	for part := range strings.SplitSeq(strings.Join(strings.Fields(list), " "), ", ") {
		name, typ, _ := strings.Cut(part, " ")
		c := column{name: name, class: columnClass(strings.TrimRight(typ, "!?"))}
		if len(c.class) < len(typ) {
			c.required = rune(typ[len(typ)-1])
		}
		out = append(out, c)
	}
	return out
}

// A deployment describes the tables that one database has.
type deployment struct {
	tables  map[string]foundTable
	missing []string // missing tables, and columns as table.column, some with a reason in brackets
	unread  []string // columns of the datasets' tables that this package does not read, as table.column
}

// A foundTable is a table that can be read.
type foundTable struct {
	relation string            // name in this session, quoted if necessary
	id       uint32            // object id
	rows     int64             // estimated number of rows; 0: unknown
	types    map[string]string // types of the readable columns, by name
}

// inspect returns the tables that the database has. It returns ErrUnusable if no dataset can be read, or if the table
// of a dataset exists and no column of it can be read.
func inspect(ctx context.Context, tx pgx.Tx) (*deployment, error) {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}
	rows, err := tx.Query(ctx, statement("columns"), names)
	if err != nil {
		return nil, err
	}
	d, forbidden := &deployment{tables: map[string]foundTable{}}, map[string]bool{}
	var name, relation, attribute, typ string
	var readable bool
	var about int64
	var id uint32
	if _, err := pgx.ForEachRow(rows, []any{&name, &relation, &id, &about, &attribute, &typ, &readable}, func() error {
		if relation == "" {
			return nil
		}
		if _, ok := d.tables[name]; !ok {
			d.tables[name] = foundTable{relation, id, about, map[string]string{}}
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
		d.addUnread(t)
		if err := d.checkTable(t, forbidden); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(tables, d.hasDataset) {
		return nil, fmt.Errorf("%w: the database has none of the platform's tables (%s): "+
			"is it the right database, and may the user access the schema?", ErrUnusable, strings.Join(names, ", "))
	}
	return d, nil
}

// addUnread adds the columns of a dataset's table that are not read to unread.
func (d *deployment) addUnread(t table) {
	if t.dataset.Name == "" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(d.tables[t.name].types)) {
		if !slices.ContainsFunc(t.columns, func(c column) bool { return c.name == name }) {
			d.unread = append(d.unread, t.name+"."+name)
		}
	}
}

// checkTable removes the table and columns that are not usable, and adds them to missing. It returns ErrUnusable if the
// table of a dataset exists and cannot be read.
func (d *deployment) checkTable(t table, forbidden map[string]bool) error {
	found, ok := d.tables[t.name]
	if !ok {
		d.missing = append(d.missing, t.name)
		return nil
	}
	if len(found.types) == 0 && t.dataset.Name != "" {
		return fmt.Errorf("%w: no permission to read the table %s: GRANT SELECT ON %s TO the user of the DSN",
			ErrUnusable, t.name, found.relation)
	}
	var missing []string
	unusable := len(found.types) == 0
	for _, c := range t.columns {
		typ, ok := found.types[c.name]
		reason := ""
		switch {
		case ok && c.class.expression(c.name, typ) != "":
			continue
		case ok:
			reason = " (type " + typ + ", want " + string(c.class) + ")"
			delete(found.types, c.name)
		case forbidden[t.name+"."+c.name]:
			reason = " (no permission)"
		}
		if c.required != '?' || reason != "" {
			missing = append(missing, t.name+"."+c.name+reason)
		}
		unusable = unusable || c.required == '!'
	}
	if unusable && t.dataset.Name != "" {
		return fmt.Errorf("%w: the table %s cannot be read without %s", ErrUnusable, found.relation,
			strings.Join(missing, ", "))
	}
	if unusable {
		delete(d.tables, t.name)
		missing = []string{t.name + " (without " + strings.Join(missing, ", ") + ")"}
	}
	d.missing = append(d.missing, missing...)
	return nil
}

// hasDataset reports whether the table's rows are a dataset and have all required columns.
func (d *deployment) hasDataset(t table) bool {
	_, ok := d.tables[t.name]
	if t.dataset.Name == schema.Messages.Name {
		_, owned := d.tables["whatsapp_configs"]
		ok = ok && owned && d.has(t.name, "created_at", "message_timestamp")
	}
	return ok && t.dataset.Name != ""
}

// has reports whether the table has at least one of the columns.
func (d *deployment) has(table string, names ...string) bool {
	types := d.tables[table].types
	return slices.ContainsFunc(names, func(name string) bool { return types[name] != "" })
}

// missingFields returns the fields of the table's dataset that this deployment cannot provide.
func (d *deployment) missingFields(t table) (fields []string) {
	alternatives := map[string]func() bool{
		"transcript":  func() bool { return d.has("call_logs", "conversation_history") },
		"cost":        func() bool { return d.has("call_costs", "total_cost", "credits_charged") },
		"summary":     func() bool { return d.has("call_logs", "notes") },
		"metadata":    func() bool { _, ok := d.tables["call_costs"]; return ok },
		"stt_minutes": func() bool { return d.has("call_logs", "stt_seconds") },
		"created_at":  func() bool { return d.has("whatsapp_messages", "message_timestamp") },
		"updated_at":  func() bool { return t.dataset.Name != schema.Customers.Name }, // not a field of other datasets
	}
	for _, c := range t.columns {
		other := alternatives[c.name]
		if !d.has(t.name, c.name) && (other == nil || !other()) && !slices.Contains(helperColumns, c.name) {
			fields = append(fields, c.name)
		}
	}
	return fields
}

// helperColumns are columns that other fields are derived from and that are not fields themselves.
var helperColumns = []string{"conversation_history", "notes", "stt_seconds", "message_timestamp", "config_id"}

// render returns the named statement with each table replaced by a subquery of all of its columns. Missing columns are
// NULL.
func (d *deployment) render(name string) string {
	var slots []string
	for _, t := range tables {
		found, ok := d.tables[t.name]
		values := make([]string, len(t.columns))
		for i, c := range t.columns {
			values[i] = typedNull[c.class]
			if typ := found.types[c.name]; typ != "" {
				values[i] = c.class.expression(pgx.Identifier{c.name}.Sanitize(), typ)
			}
			values[i] += " AS " + pgx.Identifier{c.name}.Sanitize()
		}
		from := " WHERE false"
		if ok {
			from = " FROM " + found.relation
		}
		for _, c := range t.columns {
			if c.class == isUUID {
				slots = append(slots, uuidSlots(t.name, c.name, found.types[c.name])...)
			}
		}
		slots = append(slots, "{{"+t.name+"}}", "(SELECT "+strings.Join(values, ", ")+from+") AS "+t.name)
	}
	metadata := "NULL::jsonb"
	if d.tables["call_logs"].types["metadata"] == "jsonb" {
		metadata = "metadata"
	}
	configType := ""
	if d.tables["whatsapp_messages"].types["config_id"] != d.tables["whatsapp_configs"].types["id"] {
		configType = "::text"
	}
	slots = append(slots, "{{config_type}}", configType, "{{jsonb_metadata}}", metadata,
		"{{transcript_turns}}", d.turnsExpression("transcript"),
		"{{history_turns}}", d.turnsExpression("conversation_history"))
	return strings.NewReplacer(slots...).Replace(statement(name))
}

// uuidSlots returns the slots, in pairs, that depend on whether a column of UUIDs has the type uuid or text: the
// condition that a value is a UUID, the collation that sorts the values by their bytes, and the cast of a UUID to the
// type.
func uuidSlots(table, name, typ string) []string {
	column := pgx.Identifier{name}.Sanitize()
	valid, order, cast := column+" IS NOT NULL", "", ""
	if typ != "" && typ != "uuid" {
		valid = column + " ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"
		order, cast = `COLLATE "C"`, "::text"
	}
	slot := "{{" + table + "." + name
	return []string{slot + " is uuid}}", valid, slot + " order}}", order, slot + " type}}", cast}
}

// turnsExpression returns the SQL expression that reads a column of call_logs as JSON, or as NULL if it holds no turn:
// the platform's default for a history is an empty list. Large values are not compared, because that would decompress
// them each time.
func (d *deployment) turnsExpression(name string) string {
	switch typ := d.tables["call_logs"].types[name]; typ {
	case "":
		return "NULL::json"
	case "jsonb":
		return "CASE WHEN pg_column_size(" + name + ") > 16 OR " + name +
			` NOT IN ('[]', '{}', 'null', '""') THEN to_json(` + name + ") END"
	default: // json cannot be compared; the values without a turn have at most 4 bytes
		return "CASE WHEN octet_length(" + name + "::text) > 4 THEN to_json(" + name + ") END"
	}
}
