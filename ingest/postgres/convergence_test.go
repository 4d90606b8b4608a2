package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A replica is a warehouse that is kept in step with a database.
type replica struct {
	*warehouse.Warehouse
	runner *schedule.Scheduler
	source *postgres.Source
}

// newReplica opens a warehouse and a source that imports keys into it and knows its customers.
func newReplica(t *testing.T, d *database, options postgres.Options) *replica {
	t.Helper()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir()})
	noError(t, err)
	t.Cleanup(func() { noError(t, w.Close()) })
	r := &replica{Warehouse: w, runner: schedule.New(w)}
	options.Keys = func(ctx context.Context, keys []postgres.Key) error {
		imported := make([]control.ImportedKey, len(keys))
		for i, key := range keys {
			imported[i] = control.ImportedKey(key)
		}
		return w.ImportKeys(ctx, control.KeySource{Name: r.source.Name(), Limit: options.MaxDeleted}, imported)
	}
	options.Known = func(ctx context.Context, after postgres.Customer, limit int) (page []postgres.Customer, err error) {
		known, err := w.CustomersAfter(ctx, warehouse.Customer(after), limit)
		for _, customer := range known {
			page = append(page, postgres.Customer(customer))
		}
		return page, err
	}
	r.source = d.source(options)
	return r
}

func (r *replica) sync(t *testing.T) {
	t.Helper()
	_, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
	noError(t, err)
}

// rows returns the tenants and ids of all rows of the warehouse, and the valid keys.
func (r *replica) rows(t *testing.T) (rows []string) {
	t.Helper()
	tenants, err := r.Tenants(t.Context())
	noError(t, err)
	for _, tenant := range tenants {
		for _, dataset := range schema.Datasets {
			page, err := r.List(t.Context(), tenant.ID, dataset, warehouse.Listing{Limit: 100})
			noError(t, err)
			for _, item := range page.Items {
				var listed struct{ ID string }
				noError(t, json.Unmarshal([]byte(item), &listed))
				rows = append(rows, strings.Join([]string{dataset.Name, tenant.ID.String(), listed.ID}, " "))
			}
		}
	}
	for _, key := range r.Keys() {
		if key.RevokedAt == nil {
			rows = append(rows, strings.Join([]string{"keys", key.Tenant.String(), key.ID.String()}, " "))
		}
	}
	slices.Sort(rows)
	return rows
}

// expected returns what the warehouse must hold. The platform's deletions of calls and messages are not followed, so
// the test deletes none.
func (d *database) expected() (rows []string) {
	d.Helper()
	noError(d, d.QueryRow(d.Context(), `SELECT array_agg(kind || ' ' || user_id || ' ' || id) FROM (
		SELECT 'calls' AS kind, user_id, id FROM call_logs
		UNION ALL SELECT 'customers', user_id, id FROM customers
		UNION ALL SELECT 'messages', configs.user_id, messages.id FROM whatsapp_messages AS messages JOIN whatsapp_configs AS configs ON configs.id = config_id
		UNION ALL SELECT 'keys', user_id, id FROM api_keys) AS rows`).Scan(&rows))
	slices.Sort(rows)
	return rows
}

// After any changes of the platform, an incremental pull makes the warehouse hold the rows that the platform has: rows
// that come back with their old times, and rows, keys and numbers that change their tenant.
func TestPull_ConvergesOnTheRowsOfTheDatabase(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			const old = "'2026-03-01'" // far outside of the window
			d := newDatabase(t, platform.Schema, insertConfig,
				fmt.Sprintf(`INSERT INTO customers (user_id, name, created_at, updated_at) SELECT u, 'c', %[1]s, %[1]s FROM generate_series(1, 8), unnest('{%[2]s,%[3]s}'::uuid[]) AS u;
				INSERT INTO call_logs (user_id, created_at, updated_at) SELECT u, %[1]s, %[1]s FROM generate_series(1, 4), unnest('{%[2]s,%[3]s}'::uuid[]) AS u;
				INSERT INTO whatsapp_messages (config_id, created_at) SELECT '%[4]s', %[1]s FROM generate_series(1, 6);
				INSERT INTO api_keys (user_id, label, key, type) SELECT u, 'k', 'sk_' || md5(u::text || i), 'private' FROM generate_series(1, 4) AS i, unnest('{%[2]s,%[3]s}'::uuid[]) AS u;
				CREATE TABLE all_customers AS SELECT * FROM customers; CREATE TABLE all_keys AS SELECT * FROM api_keys;`,
					old, tenantA, tenantB, config))
			other := "CASE WHEN user_id = '" + tenantA + "' THEN '" + tenantB + "' ELSE '" + tenantA + "' END::uuid"
			changes := []string{
				"DELETE FROM customers WHERE random() < 0.5",
				"INSERT INTO customers SELECT * FROM all_customers ON CONFLICT DO NOTHING", // with their old times
				"TRUNCATE customers; INSERT INTO customers SELECT * FROM all_customers",
				"UPDATE customers SET user_id = " + other + " WHERE random() < 0.3",
				"UPDATE customers SET user_id = '" + tenantB + "'",
				"UPDATE call_logs SET updated_at = now(), user_id = " + other + " WHERE random() < 0.3",
				"UPDATE whatsapp_configs SET user_id = " + other,
				"DELETE FROM api_keys WHERE random() < 0.5",
				"INSERT INTO api_keys SELECT * FROM all_keys WHERE id NOT IN (SELECT id FROM api_keys)",
				"UPDATE api_keys SET user_id = " + other + " WHERE random() < 0.3",
			}
			random := rand.New(rand.NewPCG(seed, 25))
			r := newReplica(t, d, postgres.Options{MaxDeleted: 100})
			r.sync(t)
			for _, i := range random.Perm(len(changes)) {
				change := changes[i]
				d.exec(change)
				r.sync(t)
				if got, want := r.rows(t), d.expected(); !slices.Equal(got, want) {
					t.Fatalf("after %s: got %d rows, want %d:\n%s\n%s", change, len(got), len(want),
						strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// A pull that misses too many customers, or too many keys, deletes nothing.
func TestPull_TooManyDeletions(t *testing.T) {
	d := newDatabase(t, platform.Schema, call(1, nil), fmt.Sprintf(
		`INSERT INTO customers (user_id, name) SELECT '%s', 'c' FROM generate_series(1, 60);
		INSERT INTO api_keys (user_id, label, key, type) SELECT '%[1]s', 'k', 'sk_' || md5(i::text), 'private' FROM generate_series(1, 40) AS i;`,
		tenantA))
	r := newReplica(t, d, postgres.Options{MaxDeleted: 20})
	r.sync(t)
	before := r.rows(t)
	for _, table := range []string{"customers", "api_keys"} {
		d.exec("CREATE TABLE kept AS SELECT * FROM " + table + "; DELETE FROM " + table + " WHERE random() < 2")
		_, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
		if !errors.Is(err, schema.ErrTooManyDeletions) || !strings.Contains(err.Error(), "--max-deleted 100") {
			t.Errorf("without %s: got %v, want %v and the flag", table, err, schema.ErrTooManyDeletions)
		}
		d.exec("INSERT INTO " + table + " SELECT * FROM kept; DROP TABLE kept")
		if after := r.rows(t); !slices.Equal(after, before) {
			t.Errorf("without %s: got %d rows, want the %d from before", table, len(after), len(before))
		}
	}
	d.exec("DELETE FROM customers WHERE id IN (SELECT id FROM customers LIMIT 10)") // few rows may always be deleted
	r.sync(t)
	if got, want := r.rows(t), d.expected(); !slices.Equal(got, want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
}

// The rows that the tests of files hold are the same rows if they come from a database.
func TestPull_SameRowsAsFiles(t *testing.T) {
	ndjson, err := os.ReadFile("../testdata/writers/rows.ndjson")
	noError(t, err)
	d := newDatabase(t, platform.Schema, "ALTER TABLE call_logs ALTER metadata DROP DEFAULT, ALTER metadata TYPE json, "+
		"ALTER transcript TYPE json") // jsonb would sort the members of objects
	for line := range strings.Lines(string(ndjson)) {
		d.exec("INSERT INTO call_logs SELECT row.* FROM json_populate_record(NULL::call_logs, '" +
			strings.ReplaceAll(line, "'", "''") + "') AS row; UPDATE call_logs SET user_id = '" + tenantA + "'")
	}
	r := newReplica(t, d, postgres.Options{})
	_, err = ingest.Load(t.Context(), r.Warehouse, ingest.Input{Name: "calls.ndjson", Tenant: uuid.MustParse(tenantA),
		Body: bytes.NewReader(ndjson)})
	noError(t, err)
	summary, err := r.runner.Pull(t.Context(), r.source, uuid.Nil)
	noError(t, err)
	if summary.Read != 3 || summary.Unchanged != 3 {
		t.Errorf("got %+v after the same rows of a file, want three unchanged rows", summary)
	}
}
