package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

func TestPull_ReadsOneSnapshot(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		insertConfig,
		customer(1, nil),
		call(1, nil),
		call(2, row{"status": "ringing"}),
		message(1, nil),
	)
	source, g := d.source(postgres.Options{}), newResult()
	noError(t, source.Pull(t.Context(), nil, func(ctx context.Context, p ingest.Portion) error {
		if p.Dataset.Name == "customers" {
			d.exec(
				"DELETE FROM call_logs WHERE id = '" + id(
					1,
				) + "'; UPDATE call_logs SET status = 'completed', updated_at = now();" + call(
					3,
					nil,
				) + message(
					2,
					nil,
				),
			)
		}
		return g.take(ctx, p)
	}))
	equal(t, "calls", g.ids("calls"), []int{1, 2})
	equal(t, "messages", g.ids("messages"), []int{1})
	equal(t, "the status of call 2", g.row(t, "calls", 2)["status"], any("ringing"))

	g = pull(t, source, g.state)
	equal(t, "calls of the next pull", g.ids("calls"), []int{2, 3})
	equal(t, "messages of the next pull", g.ids("messages"), []int{1, 2})
	equal(t, "the status of call 2", g.row(t, "calls", 2)["status"], any("completed"))
}

// After the last row of a table, the server starts reading the next table while the rows are merged.
func TestPull_PrefetchesNextTable(t *testing.T) {
	d := newDatabase(t, platform.Schema, insertConfig, customer(1, nil), call(1, nil), message(1, nil))
	watching, g := d.connect("postgres"), newResult()
	asked := map[string]string{"customers": "call_logs_page", "calls": "whatsapp_messages_page"}
	noError(t, d.source(postgres.Options{}).Pull(t.Context(), nil, func(ctx context.Context, p ingest.Portion) error {
		if err := g.take(ctx, p); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		for there := asked[p.Dataset.Name] == ""; !there; {
			if err := watching.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = $1 AND query LIKE "+
				"'FETCH%' || $2 || '%'", d.name, asked[p.Dataset.Name]).Scan(&there); err != nil {
				return fmt.Errorf("after %s there was no query of %s: %w", p.Dataset.Name, asked[p.Dataset.Name], err)
			}
		}
		return nil
	}))
	equal(t, "calls", g.ids("calls"), []int{1})
	equal(t, "messages", g.ids("messages"), []int{1})

	stop := errors.New("stop") // the prefetched page is then never read
	if err := d.source(postgres.Options{}).Pull(t.Context(), nil, func(ctx context.Context, p ingest.Portion) error {
		return errors.Join(newResult().take(ctx, p), stop)
	}); !errors.Is(err, stop) {
		t.Errorf("take failed after it had read all rows: got %v, want %v", err, stop)
	}
}

func TestPull_StateComesWithLastPortion(t *testing.T) {
	d := newDatabase(t, platform.Schema)
	var with []bool
	take := func(_ context.Context, p ingest.Portion) error {
		with = append(with, p.State != nil)
		return nil // a take that reads no rows does not stop the pull
	}
	noError(t, d.source(postgres.Options{}).Pull(t.Context(), nil, take))
	equal(t, "whether there was a state", with, []bool{false, false, true})

	stop := errors.New("stop")
	d.exec(call(1, nil) + call(2, nil))
	for n := range 3 {
		seen := 0
		if err := d.source(postgres.Options{}).Pull(t.Context(), nil, func(context.Context, ingest.Portion) error {
			if seen++; seen > n {
				return stop
			}
			return nil
		}); !errors.Is(err, stop) || seen != n+1 {
			t.Errorf("take failed at portion %d: got %v after %d portions, want %v", n, err, seen, stop)
		}
	}
}

// sinceOf returns the time at which a state was taken.
func sinceOf(t *testing.T, state json.RawMessage) time.Time {
	t.Helper()
	var s struct{ Since time.Time }
	noError(t, json.Unmarshal(state, &s))
	return s.Since
}

func TestPull_Incremental(t *testing.T) {
	d := newDatabase(t, platform.Schema, insertConfig)
	source := d.source(postgres.Options{Window: time.Hour})
	at := func(n int, name string, t time.Time) string {
		return call(n, row{"created_at": ago(9999), "updated_at": ago(9999), name: t.Format(time.RFC3339Nano)})
	}
	// The rows of an older transaction have times before the pull and are committed after it.
	late, err := d.connect(d.name).Begin(t.Context())
	noError(t, err)
	_, err = late.Exec(t.Context(), call(1, nil))
	noError(t, err)
	_, err = late.Exec(t.Context(), message(1, nil))
	noError(t, err)
	d.exec(
		call(
			2,
			row{"created_at": ago(2), "updated_at": ago(2)},
		) + customer(
			2,
			row{"created_at": ago(2), "updated_at": ago(2)},
		) + message(
			2,
			row{"created_at": ago(2)},
		),
	)
	first := pull(t, source, nil)
	equal(t, "calls of the first pull", first.ids("calls"), []int{2})
	noError(t, late.Commit(t.Context()))

	from := sinceOf(t, first.state).Add(-time.Hour)
	d.exec(
		at(
			3,
			"created_at",
			from,
		) + at(
			4,
			"updated_at",
			from,
		) + at(
			5,
			"created_at",
			from.Add(-time.Microsecond),
		) + at(
			6,
			"updated_at",
			from.Add(-time.Microsecond),
		) +
			message(
				3,
				row{"created_at": nil, "message_timestamp": from.Format(time.RFC3339Nano)},
			) + message(
			4,
			row{"created_at": nil, "message_timestamp": ago(2)},
		) +
			"UPDATE call_logs SET cost = 1, updated_at = now() WHERE id = '" + id(
			2,
		) + "'; UPDATE customers SET name = 'Asha', updated_at = now();",
	)
	second := pull(t, source, first.state)
	equal(t, "calls", second.ids("calls"), []int{1, 2, 3, 4})
	equal(t, "customers", second.ids("customers"), []int{2})
	equal(t, "messages", second.ids("messages"), []int{1, 3})
	if !sinceOf(t, second.state).After(sinceOf(t, first.state)) {
		t.Errorf("got state %s after %s, want a later time", second.state, first.state)
	}
	// The window finds changes without a new updated_at.
	d.exec(
		"UPDATE call_logs SET cost = 2 WHERE id IN ('" + id(
			1,
		) + "', '" + id(
			5,
		) + "'); INSERT INTO call_costs (call_id, credits_charged, llm_cost_usd) VALUES ('" + id(
			3,
		) + "', 50, 0.5)",
	)
	third := pull(t, d.source(postgres.Options{}), second.state)
	equal(t, "the cost of call 1", third.row(t, "calls", 1)["cost"], any(json.Number("2.0000")))
	equal(t, "the cost of call 3", third.row(t, "calls", 3)["cost"], any(json.Number("0.5000")))
	equal(t, "the cost of call 5, in a window of 72 hours", third.row(t, "calls", 5)["cost"], any(json.Number("2.0000")))
	// The database's clock is behind the state, for example after a restore.
	ahead := json.RawMessage(`{"since":"2999-01-01T00:00:00Z"}`)
	equal(t, "calls of a state of the future", pull(t, source, ahead).ids("calls"), []int{1, 2})
}

func TestPull_RecoveredColumnCausesFullRead(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		"ALTER TABLE call_logs DROP COLUMN summary",
		call(1, row{"created_at": ago(9999), "updated_at": ago(9999)}),
	)
	source := d.source(postgres.Options{})
	first := pull(t, source, nil)
	equal(t, "missing", source.Missing(), []string{"call_logs.summary"})
	equal(t, "calls of the next pull", len(pull(t, source, first.state).ids("calls")), 0)
	d.exec("ALTER TABLE call_logs ADD COLUMN summary text DEFAULT 'Asked for the price.'")
	third := pull(t, source, first.state)
	equal(t, "the summary", third.row(t, "calls", 1)["summary"], any("Asked for the price."))
	equal(t, "missing", len(source.Missing()), 0)
	equal(t, "calls of the pull after that", len(pull(t, source, third.state).ids("calls")), 0)
}

func TestPull_Progress(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		platform.Size{Tenants: 3, Calls: 500, Customers: 10_000, Messages: 10_001, End: time.Now()}.Fill(),
	)
	var done, total, steps int64
	source := d.source(postgres.Options{Progress: func(d, t int64) { done, total, steps = d, t, steps+1 }})
	g := pull(t, source, nil)
	equal(t, "done", done, 20_501)
	equal(t, "total", total, 20_501)
	equal(t, "messages", len(g.rows["messages"]), 10_001)
	if steps < 5 {
		t.Errorf("got %d calls of Progress, want at least 5", steps)
	}
	// Rows are ordered by tenant, so that a batch has few tenants.
	previous := ""
	for _, r := range g.rows["calls"] {
		key := fmt.Sprint(r["user_id"], r["created_at"], r["id"])
		if len(previous) > 36 && previous[:36] > key[:36] {
			t.Fatalf("got %s after %s, want tenants in order", key, previous)
		}
		previous = key
	}
	pull(t, source, g.state)
	equal(t, "total of an incremental pull", total, 0)
}

func TestPull_Keys(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		insertOf(
			"api_keys",
			tenantA,
			1,
			row{
				"label":      "site",
				"key":        "pk_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
				"type":       "public",
				"created_at": "2026-01-01T00:00:00Z",
			},
		),
		insertOf(
			"api_keys",
			tenantA,
			2,
			row{
				"label":      "crm",
				"key":        "sk_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
				"type":       "private",
				"revoked_at": "2026-02-01T00:00:00Z",
				"is_revoked": true,
			},
		),
		insertOf("api_keys", tenantB, 3, row{"label": "", "key": "sk_other", "type": "private", "is_revoked": true}),
		insertOf("api_keys", tenantB, 4, row{"label": "", "key": "", "type": "private"}),
	)
	var keys []postgres.Key
	calls := 0
	source := d.source(
		postgres.Options{Keys: func(_ context.Context, all []postgres.Key) error { keys, calls = all, calls+1; return nil }},
	)
	g := pull(t, source, nil)
	now := sinceOf(t, g.state)
	equal(t, "the number of keys", len(keys), 3)
	for i, want := range []struct {
		typ               control.KeyType
		label, key, since string
		tenant            string
	}{
		{control.Public, "site", "pk_AbCdEfGhIjKlMnOpQrStUvWxYz012345", "", tenantA},
		{control.Secret, "crm", "sk_AbCdEfGhIjKlMnOpQrStUvWxYz012345", "2026-02-01T00:00:00Z", tenantA},
		{control.Secret, "", "sk_other", now.Format(time.RFC3339Nano), tenantB},
	} {
		k := keys[i]
		revoked := ""
		if k.RevokedAt != nil {
			revoked = k.RevokedAt.UTC().Format(time.RFC3339Nano)
		}
		equal(t, "key "+want.key, fmt.Sprintln(k.ID, k.Tenant, k.Type, k.Label, k.Prefix, k.Digest, revoked),
			fmt.Sprintln(id(i+1), want.tenant, want.typ, want.label, want.key[:8], digest(want.key), want.since))
		if strings.Contains(fmt.Sprintf("%+v", k), want.key[3:]) && len(want.key) > 8 {
			t.Errorf("got the key itself in %+v", k)
		}
	}
	equal(t, "when key 1 was made", keys[0].CreatedAt.UTC().Format(time.RFC3339), "2026-01-01T00:00:00Z")

	d.exec(
		"UPDATE api_keys SET is_revoked = true WHERE id = '" + id(
			1,
		) + "'; DELETE FROM api_keys WHERE id = '" + id(
			2,
		) + "'; ALTER TABLE api_keys DROP COLUMN revoked_at",
	)
	pull(t, source, g.state)
	if len(keys) != 2 || keys[0].RevokedAt == nil {
		t.Errorf("got keys %+v in the next pull, want 2 with the first one revoked", keys)
	}
	d.exec("DROP TABLE api_keys")
	pull(t, source, g.state)
	equal(t, "number of calls of Keys", calls, 2) // a missing table is different from a table without keys
	stop := errors.New("stop")
	d.exec("CREATE TABLE api_keys (id uuid, user_id uuid, key text)")
	source = d.source(postgres.Options{Keys: func(context.Context, []postgres.Key) error { return stop }})
	if err := source.Pull(t.Context(), nil, newResult().take); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

// pageOf returns an Options.Known that serves the given customers.
func pageOf(all ...postgres.Customer) func(context.Context, postgres.Customer, int) ([]postgres.Customer, error) {
	return func(_ context.Context, after postgres.Customer, limit int) (page []postgres.Customer, err error) {
		for _, c := range all {
			if c.Compare(after) > 0 && len(page) < limit {
				page = append(page, c)
			}
		}
		return page, nil
	}
}

func TestPull_DeletedCustomers(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		`INSERT INTO customers (id, user_id, name) SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '`+
			tenantA+`', '' FROM generate_series(1, 25000) AS n;`+
			insertOf(
				"call_logs",
				tenantB,
				1,
				nil,
			),
	)
	a, b := uuid.MustParse(tenantA), uuid.MustParse(tenantB)
	var known []postgres.Customer
	for n := range 25_000 {
		known = append(known, postgres.Customer{Tenant: a, ID: uuid.MustParse(id(n + 1))})
	}
	// The last customer of a tenant that has calls, and a customer of a tenant that the database does not know.
	known = append(
		known,
		postgres.Customer{Tenant: b, ID: uuid.MustParse(id(1))},
		postgres.Customer{Tenant: uuid.MustParse(config), ID: uuid.MustParse(id(1))},
	)
	d.exec(
		"DELETE FROM customers WHERE id IN ('" + id(
			1,
		) + "', '" + id(
			9_999,
		) + "', '" + id(
			10_001,
		) + "', '" + id(
			25_000,
		) + "') OR id BETWEEN '" + id(
			12_000,
		) + "' AND '" + id(
			23_999,
		) + "'",
	)
	d.exec(customer(30_000, nil)) // not known yet
	source := d.source(postgres.Options{Known: pageOf(known...), MaxDeleted: 100})
	g := pull(t, source, nil)
	gone := map[string]bool{}
	for _, r := range g.rows["customers"] {
		if r["deleted_at"] != nil {
			gone[fmt.Sprint(r["user_id"], r["id"])] = true
			equal(t, "the time of a deletion", r["deleted_at"], any(sinceOf(t, g.state).Format(time.RFC3339Nano)))
		}
	}
	equal(t, "the number of deletions", len(gone), 5+12_000)
	for _, n := range []int{1, 9_999, 10_001, 12_000, 18_000, 23_999, 25_000} {
		if !gone[tenantA+" "+id(n)] && !gone[tenantA+id(n)] {
			t.Errorf("customer %d was not emitted as deleted", n)
		}
	}
	d.exec("TRUNCATE customers")
	equal(
		t,
		"deletions of known ones that are all elsewhere",
		len(pull(t, d.source(postgres.Options{Known: pageOf(known[len(known)-1])}), g.state).rows["customers"]),
		0,
	)

	known[1], known[2] = known[2], known[1]
	disorder := d.source(
		postgres.Options{
			Known: func(context.Context, postgres.Customer, int) ([]postgres.Customer, error) { return known[:3], nil },
		},
	)
	err := disorder.Pull(t.Context(), nil, newResult().take)
	if err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("got %v, want an error about the order", err)
	}
}

// A failed pull is repeated, and the warehouse stores no row twice.
func TestPull_RepeatedIntoWarehouse(t *testing.T) {
	size := platform.Size{Tenants: 5, Calls: 400, Customers: 100, Messages: 700, Costs: 200, End: time.Now()}
	d := newDatabase(t, platform.Schema, size.Fill(), insertConfig, strangeRows())
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir()})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	var total schema.Counts
	var state json.RawMessage
	into := func(ctx context.Context, p ingest.Portion) error {
		summary, err := ingest.Load(ctx, w, ingest.Input{Name: "rows.ndjson", Dataset: p.Dataset.Name, Body: p.Rows})
		total.Add(summary.Counts)
		if p.State != nil && err == nil {
			state = p.State
		}
		if summary.FilesRefused > 0 {
			t.Errorf("refused: %+v", summary.Refusals)
		}
		return err
	}
	crash := errors.New("crash")
	source := d.source(postgres.Options{})
	if err := source.Pull(t.Context(), nil, func(ctx context.Context, p ingest.Portion) error {
		return errors.Join(into(ctx, p), map[string]error{"calls": crash}[p.Dataset.Name])
	}); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	noError(t, source.Pull(t.Context(), state, into))
	// A call and a message without a tenant, and six calls without a time or with one before 1970 or after 9999.
	const refused = 1 + 1 + 6
	once := total
	total = schema.Counts{}
	noError(t, source.Pull(t.Context(), nil, into))
	again := total
	if again.New+again.Changed+again.Superseded != 0 || again.Refused != refused {
		t.Errorf("got %+v when repeating a full pull, want only %d refused rows", again, refused)
	}
	if once.New != again.Unchanged || once.Changed != 0 {
		t.Errorf("got %+v by a failed pull and its repetition, want the %d rows of a full pull once", once, again.Unchanged)
	}
}
