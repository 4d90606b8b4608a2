package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
)

const awkwardText = "Zoë said: \"ok\" \\ back\\nslash\nnew line\r\ttab \u0001\u001f\u2028 नमस्ते 😀 " +
	"'quote' \x7f"

// strangeRows returns statements that insert unusual values of every kind.
func strangeRows() string {
	var out strings.Builder
	n := 0
	add := func(statement string) { out.WriteString(statement + "\n") }
	for _, transcript := range []any{nil, `[{"speaker":"AI","text":"Hello"},{"speaker":"Caller","text":"Hi"}]`,
		`[{"role":"user","content":"Hi","timestamp":"2026-01-01T00:00:00Z"}]`,
		`[{"role":"assistant","message":"Hi","timestamp_ms":1500}]`, `"Caller: Hi\nAssistant: Hello"`,
		`"[{\"speaker\":\"AI\",\"text\":\"Hi\"}]"`, `[]`, `null`, `{}`, `""`,
		quoted(awkwardText)} {
		n++
		add(call(n, row{"transcript": transcript, "summary": awkwardText, "conversation_history": nil}))
	}
	for _, duration := range []any{nil, "138", "2m 18s", "45s", "02:18", ""} {
		n++
		add(call(n, row{"duration": duration, "duration_seconds": nil, "cost": "12345.6789"}))
	}
	for _, at := range []any{"2026-04-18 19:50:20.322+00", "2026-04-18 19:50:20.123456+05:30",
		"1999-12-31 23:59:59.999999+00", "1969-07-20 20:17:40.5+00", "0044-03-15 12:00:00+00 BC",
		"10000-01-01 00:00:00+00", "infinity", "-infinity", nil} {
		n++
		add(call(n, row{"created_at": at, "started_at": at, "ended_at": at}))
	}
	for _, metadata := range []any{nil, `{}`, `{"a": 0.1000, "big": 123456789012345678901234567890.00100, "e": 1e-7, ` +
		`"list": [null, true]}`, `"text"`, `[1]`, `{"transcript": "Caller: Hi"}`} {
		n++
		add(call(n, row{"metadata": metadata, "cost": nil, "stt_seconds": n, "tts_characters": 2147483647}))
	}
	add(insert("call_logs", row{"id": id(n + 1), "user_id": nil}))
	n = 0
	for _, email := range []any{nil, "", "asha@example.com"} {
		n++
		add(
			customer(
				n,
				row{
					"email":             email,
					"phone_number":      "+91 98765 12345",
					"source":            nil,
					"variables":         `{"ключ": "ß\n\\"}`,
					"interaction_count": nil,
					"name":              awkwardText,
				},
			),
		)
	}
	n = 0
	for _, content := range []any{`{"text":{"body":"Hi"}}`, `{"body":"Hi"}`, `{"mediaId":"m","caption":"c"}`,
		`{"latitude":12.900,"longitude":77.6}`, `{"templateName":"t"}`, `{}`, nil,
		fmt.Sprintf(`{"body":%s}`, quoted(awkwardText))} {
		n++
		add(
			message(
				n,
				row{"content": content, "delivered_at": "2026-04-18 19:50:20+00", "is_from_bot": n%2 == 0, "status": awkwardText},
			),
		)
	}
	add(message(n+1, row{"is_from_bot": nil, "config_id": nil}))
	return out.String()
}

func quoted(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(out), `\u2028`, "\u2028")
}

// Each emitted field equals the JSON that PostgreSQL itself makes of the column.
func TestPull_RowsEqualDatabase(t *testing.T) {
	d := newDatabase(t, platform.Schema, insertConfig, strangeRows())
	g := pull(t, d.source(postgres.Options{}), nil)
	// Derived fields are left to another test.
	for dataset, query := range map[string]string{
		"calls": "SELECT to_jsonb(call_logs) - '{transcript,conversation_history,stt_seconds,notes,stt_minutes}'::text[] || " +
			"jsonb_build_object('transcript', nullif(transcript, 'null')) FROM call_logs",
		"customers": "SELECT to_jsonb(customers) FROM customers",
		"messages": "SELECT to_jsonb(whatsapp_messages) - '{config_id,message_timestamp}'::text[] || " +
			"jsonb_build_object('user_id', user_id) FROM whatsapp_messages LEFT JOIN whatsapp_configs c ON c.id = config_id",
	} {
		rows, err := d.Query(t.Context(), query)
		noError(t, err)
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		noError(t, err)
		equal(t, "the number of "+dataset, len(g.rows[dataset]), len(texts))
		for _, text := range texts {
			var want row
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber()
			noError(t, decoder.Decode(&want))
			var got row
			for _, r := range g.rows[dataset] {
				if r["id"] == want["id"] {
					got = r
				}
			}
			for name, value := range want {
				if g, w := normalize(name, got[name]), normalize(name, value); g != w {
					t.Errorf("%s %v: %s: got %s, want %s", dataset, want["id"], name, g, w)
				}
			}
			for name := range got {
				if _, ok := want[name]; !ok && name != "stt_minutes" && name != "updated_at" {
					t.Errorf("got the unknown field %s of %s", name, dataset)
				}
			}
		}
	}
}

// normalize returns the value as JSON, with times in one notation.
func normalize(name string, value any) string {
	if text, ok := value.(string); ok && strings.HasSuffix(name, "_at") {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at.UTC().String()
		}
		if strings.HasPrefix(text, "10000-") { // time.Parse accepts only years of four digits
			return text[:12]
		}
		if year, ok := map[bool]string{true: "44 BC"}[strings.HasSuffix(text, " BC") || strings.HasPrefix(text, "-")]; ok &&
			!strings.Contains(text, "infinity") {
			return year
		}
	}
	out, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func TestPull_DerivedFields(t *testing.T) {
	turns, history := `[{"text":"Hi"}]`, `[{"role":"user","content":"Hi"}]`
	costs := row{
		"total_cost_usd":   0.0300, // the cost of the providers, never the call's
		"credits_charged":  6.40,
		"stt_cost_usd":     0.01,
		"llm_cost_usd":     0.02,
		"tts_cost_usd":     nil,
		"livekit_cost_usd": 0.004,
	}
	const breakdown = `{"infra":0.004000,"llm":0.020000,"stt":0.010000}`
	d := newDatabase(
		t,
		platform.Schema,
		insertConfig,
		call(1, row{"transcript": turns, "conversation_history": history}),
		call(2, row{"conversation_history": history}),
		call(3, row{"transcript": `[]`, "conversation_history": history}),
		call(4, row{"transcript": nil, "conversation_history": `[]`, "stt_seconds": 130}),
		call(5, row{"transcript": `null`, "conversation_history": nil, "stt_minutes": nil, "stt_seconds": nil}),
		call(6, row{"cost": 0, "metadata": `{"a":1}`}),
		insert("call_costs", merged(costs, row{"call_id": id(6)})),
		call(7, row{"cost": nil, "metadata": nil}),
		insert("call_costs", merged(costs, row{"call_id": id(7)})),
		call(
			8,
			row{"cost": 0.5, "metadata": `{"cost_breakdown":{"llm":1}}`},
		),
		insert("call_costs", merged(costs, row{"call_id": id(8)})),
		call(
			9,
			row{"cost": nil, "metadata": `"text"`},
		),
		insert("call_costs", merged(costs, row{"call_id": id(9)})),
		insert("call_costs", row{"call_id": id(9), "credits_charged": 100}),
		call(
			10,
			row{"cost": nil, "metadata": `{}`},
		),
		call(11, row{"cost": 0.7, "stt_minutes": 0, "stt_seconds": 90, "summary": "", "notes": "Called back."}),
		insert("call_costs", row{"call_id": id(11), "total_cost_usd": 9, "credits_charged": 0}),
		call(12, row{"cost": 0, "stt_minutes": 3, "stt_seconds": 90, "summary": "A summary.", "notes": "Called back."}),
		insert("call_costs", row{"call_id": strings.ToUpper(id(12)), "total_cost_usd": 9}),
		insert("call_costs", row{"call_id": "an older name of the call", "credits_charged": 9}),
		message(1, row{"created_at": nil, "message_timestamp": "2026-01-02T03:04:05Z"}),
		message(2, row{"created_at": "2026-01-01T00:00:00Z", "message_timestamp": "2026-01-02T03:04:05Z"}),
		message(3, row{"config_id": tenantB}),
	)
	g := pull(t, d.source(postgres.Options{}), nil)
	for _, want := range []struct {
		dataset string
		n       int
		field   string
		value   string
	}{
		{"calls", 1, "transcript", turns}, {"calls", 2, "transcript", `[{"content":"Hi","role":"user"}]`},
		{"calls", 3, "transcript", `[{"content":"Hi","role":"user"}]`},
		{"calls", 4, "transcript", `null`}, {"calls", 5, "transcript", `null`},
		{"calls", 4, "stt_minutes", `2.1666666666666665`}, {"calls", 5, "stt_minutes", `null`},
		{"calls", 6, "cost", `0.0640`}, {"calls", 6, "metadata", `{"a":1,"cost_breakdown":` + breakdown + `}`},
		{"calls", 7, "cost", `0.0640`}, {"calls", 7, "metadata", `{"cost_breakdown":` + breakdown + `}`},
		{"calls", 8, "cost", `0.0640`}, {"calls", 8, "metadata", `{"cost_breakdown":{"llm":1}}`},
		{"calls", 9, "cost", `1.0640`}, {"calls", 9, "metadata", `"text"`},
		{"calls", 11, "cost", `0.7000`}, {"calls", 11, "stt_minutes", `1.5`}, {"calls", 11, "summary", `"Called back."`},
		{"calls", 12, "cost", `0.0000`}, {"calls", 12, "stt_minutes", `3`}, {"calls", 12, "summary", `"A summary."`},
		{"calls", 10, "cost", `null`}, {"calls", 10, "metadata", `{}`},
		{"messages", 1, "created_at", `"2026-01-02T03:04:05Z"`}, {"messages", 2, "created_at", `"2026-01-01T00:00:00Z"`},
		{"messages", 1, "user_id", `"` + tenantA + `"`}, {"messages", 3, "user_id", `null`},
	} {
		got, err := json.Marshal(g.row(t, want.dataset, want.n)[want.field])
		noError(t, err)
		equal(t, fmt.Sprintf("%s %d: %s", want.dataset, want.n, want.field), string(got), want.value)
	}
	equal(t, "missing", strings.Join(d.source(postgres.Options{}).Missing(), ","), "")
}

// olderSchema creates an older deployment with other types and missing columns and tables.
const olderSchema = `
	CREATE SCHEMA app; SET search_path = app;
	CREATE TYPE direction AS ENUM ('inbound', 'outbound');
	CREATE DOMAIN e164 AS varchar(30);
	CREATE TABLE call_logs ("id" uuid, user_id uuid, direction direction, from_number e164, duration integer,
		cost double precision, transcript text, metadata json, started_at date, created_at timestamp, updated_at text,
		tts_characters numeric, status text[], provider inet);
	CREATE VIEW customers AS
		SELECT ''::text AS name, NULL::uuid AS id, NULL::uuid AS user_id, now() AS created_at WHERE false;
	CREATE TABLE call_costs (call_log_id uuid, total_cost numeric, telephony_cost numeric);
	CREATE TABLE whatsapp_messages (id uuid, config_id uuid, content jsonb);
	CREATE TABLE api_keys (id uuid, user_id uuid, label text, key text, type text, created_at timestamptz);`

func TestPull_MissingColumns(t *testing.T) {
	d := newDatabase(
		t,
		olderSchema,
		call(
			1,
			row{
				"direction":      "inbound",
				"from_number":    "+91 98",
				"duration":       7,
				"cost":           0.25,
				"transcript":     awkwardText,
				"metadata":       "{\"a\" :\r\n 1e2, \"b\\n\":\n\"\\u0000\"}",
				"started_at":     "2026-04-18",
				"created_at":     "2026-04-18 19:50:20.322",
				"updated_at":     "yesterday",
				"tts_characters": "NaN",
				"status":         "{a,\"b c\"}",
				"provider":       "10.0.0.1",
			},
		),
		call(2, row{"cost": "Infinity", "transcript": ""}),
		call(3, row{"cost": 0}),
		insert("call_costs", row{"call_log_id": id(3), "total_cost": 0.5, "telephony_cost": 0.125}),
	)
	source := d.source(postgres.Options{DSN: d.dsn() + " options='-c search_path=app'"})
	g := pull(t, source, nil)
	equal(
		t,
		"missing",
		strings.Join(source.Missing(), ", "),
		"customers.email, customers.phone_number, customers.source, customers.interaction_count, "+
			"customers.last_interaction, customers.variables, "+
			"customers.updated_at, call_logs.call_sid, call_logs.to_number, call_logs.phone_number, "+
			"call_logs.duration_seconds, call_logs.summary, call_logs.conversation_history, "+
			"call_logs.recording_url, call_logs.ended_at, call_logs.updated_at (type text, want time), call_logs.assistant_id, "+
			"call_logs.stt_seconds, "+
			"whatsapp_messages.direction, whatsapp_messages.message_type, whatsapp_messages.from_number, "+
			"whatsapp_messages.to_number, whatsapp_messages.status, whatsapp_messages.is_from_bot, "+
			"whatsapp_messages.delivered_at, whatsapp_messages.read_at, whatsapp_messages.created_at, "+
			"whatsapp_messages.message_timestamp, whatsapp_messages.customer_id, "+
			"whatsapp_messages.assistant_id, whatsapp_messages.wa_message_id, whatsapp_configs, api_keys.revoked_at, "+
			"api_keys.is_revoked",
	)
	equal(
		t,
		"absent",
		strings.Join(g.absent["calls"], ", "),
		"call_sid, to_number, phone_number, duration_seconds, summary, recording_url, ended_at, assistant_id, stt_minutes",
	)
	if _, ok := g.absent["messages"]; ok {
		t.Error("got messages, want none because they have no tenant")
	}
	first := g.row(t, "calls", 1)
	for name, want := range map[string]string{
		"direction": `"inbound"`, "from_number": `"+91 98"`, "duration": `7`, "cost": `0.25`,
		"transcript": quoted(awkwardText), "metadata": `{"a":1e2,"b\n":"\u0000"}`,
		"started_at": `"2026-04-18T00:00:00Z"`, "created_at": `"2026-04-18T19:50:20.322Z"`, "updated_at": `null`,
		"summary": `null`, "tts_characters": `"NaN"`,
		"status": `["a","b c"]`, "provider": `"10.0.0.1/32"`, "stt_minutes": `null`} {
		got, err := json.Marshal(first[name])
		noError(t, err)
		equal(t, name, strings.ReplaceAll(string(got), `\u2028`, "\u2028"), want)
	}
	equal(t, "a cost without end", g.row(t, "calls", 2)["cost"], any("Infinity"))
	equal(t, "the cost of call_costs", g.row(t, "calls", 3)["cost"], any(json.Number("0.5")))
	breakdown, err := json.Marshal(g.row(t, "calls", 3)["metadata"])
	noError(t, err)
	equal(t, "the breakdown of call_costs", string(breakdown), `{"cost_breakdown":{"telephony":0.125}}`)
}

// Rows are in UTF-8, in UTC and with all digits, whatever the server's settings are.
func TestPull_ServerSettings(t *testing.T) {
	d := newDatabase(t)
	latin := d.name + "l"
	d.exec("CREATE DATABASE " + latin + " ENCODING LATIN1 TEMPLATE template0")
	d.exec(
		"ALTER DATABASE " + latin + " SET TimeZone = 'Asia/Kolkata'; ALTER DATABASE " + latin + " SET DateStyle = 'SQL, " +
			"DMY'; ALTER DATABASE " + latin + " SET extra_float_digits = -10; ALTER DATABASE " + latin +
			" SET row_security = on",
	)
	d.Conn, d.name = d.connect(latin), latin
	d.exec("SET client_encoding = 'UTF8'")
	d.exec(
		"CREATE TABLE call_logs (id uuid, user_id uuid, created_at timestamptz, ended_at timestamp, cost double precision, " +
			"summary date, transcript text);" +
			call(
				1,
				row{
					"created_at": "01/02/2026 05:30:00+05:30",
					"ended_at":   "01/02/2026 00:00:00.5",
					"cost":       0.1234567890123456,
					"summary":    "01/02/2026",
					"transcript": "Grüße",
				},
			),
	)
	r := pull(t, d.source(postgres.Options{}), nil).row(t, "calls", 1)
	for name, want := range (row{"created_at": "2026-02-01T00:00:00Z", "ended_at": "2026-02-01T00:00:00.5Z",
		"cost": json.Number("0.1234567890123456"), "summary": "2026-02-01", "transcript": "Grüße"}) {
		equal(t, name, r[name], want)
	}
}
