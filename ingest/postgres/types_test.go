package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/warehouse/schema"
)

// textIDs makes every id of the platform's schema a text, as some object mappers do.
func textIDs(name string) string {
	return fmt.Sprintf("DO $$ DECLARE c record; BEGIN FOR c IN SELECT table_name, column_name FROM "+
		"information_schema.columns "+
		"WHERE table_schema = 'public' AND data_type = 'uuid' LOOP EXECUTE format('ALTER TABLE %%I ALTER %%I DROP DEFAULT, "+
		"ALTER %%I TYPE %[1]s', c.table_name, c.column_name, c.column_name); END LOOP; END $$;", name)
}

// Ids may be texts, and types may be domains over domains. The warehouse holds the same rows, and a row whose id is not
// a UUID is refused by itself.
func TestPull_ColumnTypes(t *testing.T) {
	data := fmt.Sprintf(`INSERT INTO call_logs (id, user_id, created_at, cost) VALUES ('%[2]s', '%[1]s', '2026-03-01', 0.5);
		INSERT INTO customers (id, user_id, name, created_at) VALUES ('%[2]s', '%[1]s', 'a', '2026-03-01'),
			('%[3]s', '%[1]s', 'b', '2026-03-01');
		INSERT INTO whatsapp_messages (id, config_id, created_at) VALUES ('%[2]s', '%[4]s', '2026-03-01');
		INSERT INTO api_keys (id, user_id, label, key, type) VALUES ('%[2]s', '%[1]s', 'k', 'sk_0123456789', 'private');
		INSERT INTO call_costs (id, call_id, credits_charged) VALUES ('%[3]s', '%[2]s', 50)`, tenantA, id(1), id(2), config)
	for name, change := range map[string]string{
		"text":    textIDs("text"),
		"varchar": textIDs("varchar(80)"),
		"nested domains": "CREATE DOMAIN d1 AS uuid; CREATE DOMAIN d2 AS d1; CREATE DOMAIN d3 AS d2; " + textIDs("d3") +
			"CREATE DOMAIN n1 AS numeric(10,4); CREATE DOMAIN n2 AS n1; ALTER TABLE call_logs ALTER cost TYPE n2;" +
			"CREATE DOMAIN t1 AS timestamptz; CREATE DOMAIN t2 AS t1; ALTER TABLE call_logs ALTER created_at TYPE t2;" +
			"CREATE DOMAIN s1 AS text; CREATE DOMAIN s2 AS s1; ALTER TABLE customers ALTER name TYPE s2;",
		"texts of configs only": "ALTER TABLE whatsapp_configs ALTER id TYPE text, ALTER user_id TYPE text",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, platform.Schema, change, insertConfig, data)
			if name == "text" {
				d.exec("UPDATE call_logs SET id = upper(id), user_id = upper(user_id);" +
					"UPDATE whatsapp_configs SET id = upper(id);" +
					"INSERT INTO call_logs (id, user_id, created_at) VALUES ('clx0000', '" + tenantA + "', '2026-03-01')")
			}
			r := newReplica(t, d, postgres.Options{MaxDeleted: 100})
			summary, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
			noError(t, err)
			var refused []string
			for _, refusal := range summary.Refusals {
				refused = append(refused, refusal.Reason)
			}
			want := []string{"calls " + id(1), "customers " + id(1), "customers " + id(2), "keys " + id(1), "messages " + id(1)}
			check := func() {
				t.Helper()
				var got []string
				for _, r := range r.rows(t) {
					got = append(got, strings.Replace(r, tenantA+" ", "", 1))
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v; missing %v", got, want, r.source.Missing())
				}
			}
			check()
			if wanted := map[string]string{"text": "[id is not a UUID: clx0000]"}[name]; fmt.Sprint(refused) != wanted &&
				wanted != "" ||
				wanted == "" && len(refused) > 0 {
				t.Errorf("got refusals %v, want %s", refused, wanted)
			}
			if name == "text" {
				equal(t, "counts by reason", fmt.Sprint(summary.Reasons), "map[calls: id is not a UUID:1]")
			}
			d.exec("DELETE FROM customers WHERE name = 'b'") // ids are also compared
			r.sync(t)
			want = slices.Delete(want, 2, 3)
			check()
		})
	}
}

// A table of rows that exists and cannot be read, or that was read before, is a failure. A table that was never there
// is reported as missing.
func TestPull_LostTables(t *testing.T) {
	for name, test := range map[string]struct{ before, change, want string }{
		"id of another type": {change: "ALTER TABLE call_logs DROP id, ADD id bigint",
			want: "the table call_logs cannot be read without call_logs.id (type bigint, want uuid)"},
		"column dropped":  {change: "ALTER TABLE customers DROP created_at", want: "customers.created_at"},
		"table dropped":   {change: "DROP TABLE call_logs", want: "the table call_logs was read before"},
		"numbers dropped": {change: "DROP TABLE whatsapp_configs", want: "the table whatsapp_messages was read before"},
		"never there":     {before: "DROP TABLE whatsapp_messages, whatsapp_configs", change: "SELECT 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, platform.Schema, insertConfig, call(1, nil), test.before)
			source := d.source(postgres.Options{})
			state := pull(t, source, nil).state
			d.exec(test.change)
			err := source.Pull(t.Context(), state, newResult().take)
			switch {
			case test.want == "":
				noError(t, err)
			case !errors.Is(err, postgres.ErrUnusable) || !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v, want %v with %q", err, postgres.ErrUnusable, test.want)
			}
		})
	}
}

// Columns that are not read are named by the first pull that finds them.
func TestPull_UnreadColumns(t *testing.T) {
	d := newDatabase(t, platform.Schema,
		"ALTER TABLE call_logs ADD b text, ADD a text; ALTER TABLE customers ADD tags text[]")
	source := d.source(postgres.Options{})
	g := pull(t, source, nil)
	equal(t, "unread columns", source.Unread(), []string{"customers.tags", "call_logs.a", "call_logs.b"})
	d.exec("ALTER TABLE call_logs ADD c text")
	g = pull(t, source, g.state)
	equal(t, "unread columns of the next pull", source.Unread(), []string{"call_logs.c"})
	pull(t, source, g.state)
	equal(t, "number of unread columns of the third pull", len(source.Unread()), 0)
}

// In a database without an encoding, a row with bytes that are not UTF-8 is refused by itself.
func TestPull_DatabaseWithoutEncoding(t *testing.T) {
	d := newDatabase(t)
	ascii := d.name + "a"
	d.exec("CREATE DATABASE " + ascii + " ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
	d.Conn, d.name = d.connect(ascii), ascii
	d.exec(platform.Schema + call(1, row{"summary": "Grüße"}) + call(2, nil) + call(3, nil))
	d.exec(`UPDATE call_logs SET summary = E'Gr\xfc\xdfe' WHERE id = '` + id(2) + `'`)
	d.exec(insertOf("api_keys", tenantA, 1, row{"label": "k", "key": "sk_0123456789", "type": "private"}) +
		`UPDATE api_keys SET label = E'\xfc'`)
	r := newReplica(t, d, postgres.Options{})
	summary, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
	noError(t, err)
	equal(t, "rows", strings.Join(r.rows(t), ", "), strings.Join([]string{"calls " + tenantA + " " + id(1),
		"calls " + tenantA + " " + id(3), "keys " + tenantA + " " + id(1)}, ", "))
	if summary.Refused != 1 || summary.Refusals[0].Reason != "line is not UTF-8" {
		t.Errorf("got refusals %+v, want one row that is not UTF-8", summary.Refusals)
	}
}

// In a database with an encoding other than UTF-8, texts are converted, and a row with bytes that have no character is
// refused by itself.
func TestPull_Encodings(t *testing.T) {
	d := newDatabase(t)
	for encoding, test := range map[string]struct {
		escaped, text string // bytes of a text in a literal, and the text
		invalid       string // bytes without a character; empty: each byte has one
	}{
		"LATIN1": {`Gr\xfc\xdfe`, "Grüße", ""}, "LATIN9": {`5\xa4`, "5€", ""}, "WIN1252": {`5\x80`, "5€", ""},
		"WIN1253": {`\xe1\xe2`, "αβ", `\xff`}, "KOI8R": {`\xc1\xc2`, "аб", ""},
		"EUC_JP": {`\xc6\xfc\xcb\xdc`, "日本", `\xa9\xa1`},
		"EUC_TW": {`\xc4\xe3`, "中", ""},
	} {
		t.Run(encoding, func(t *testing.T) {
			other := *d
			other.name = d.name + strings.ToLower(encoding)
			d.exec("CREATE DATABASE " + other.name + " ENCODING " + encoding + " LOCALE 'C' TEMPLATE template0")
			other.Conn = d.connect(other.name)
			other.exec("CREATE TABLE call_logs (id uuid, user_id uuid, created_at timestamptz DEFAULT now(), summary text, " +
				"metadata jsonb)" +
				";" + call(1, nil) + call(2, nil))
			texts := "E'" + test.escaped + "'"
			other.exec("UPDATE call_logs SET summary = " + texts + ", metadata = jsonb_build_object('k', " + texts +
				") WHERE id = '" + id(1) + "'")
			if test.invalid != "" {
				other.exec("UPDATE call_logs SET summary = E'" + test.invalid + "' WHERE id = '" + id(2) + "'")
			}
			r := newReplica(t, &other, postgres.Options{})
			summary, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
			noError(t, err)
			refused := int64(min(len(test.invalid), 1))
			if summary.New != 2-refused || summary.Refused != refused {
				t.Errorf("got %+v, want %d rows refused of 2", summary, refused)
			}
			stored, err := r.Get(t.Context(), uuid.MustParse(tenantA), schema.Calls, uuid.MustParse(id(1)))
			noError(t, err)
			if want := `"k":"` + test.text + `"`; !strings.Contains(stored, test.text) || !strings.Contains(stored, want) {
				t.Errorf("got %s, want the text %s", stored, test.text)
			}
		})
	}
}
