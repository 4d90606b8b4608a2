package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/warehouse"
)

func digest(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

const password = "correct-horse"

func TestPull_ErrorMessages(t *testing.T) {
	d := newDatabase(t, platform.Schema, call(1, nil))
	reader := "reader" + d.name[len(d.name)-12:]
	d.exec(
		"CREATE ROLE " + reader + " LOGIN PASSWORD '" + password + "'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO " +
			reader,
	)
	t.Cleanup(func() {
		if _, err := d.Exec(context.Background(), "DROP OWNED BY "+reader+"; DROP ROLE "+reader); err != nil {
			t.Error(err)
		}
	})
	mine := func(dsn string) string { return dsn }
	theirs := d.server.DSNOf(reader, password, d.name)
	for name, c := range map[string]struct {
		before, after string
		dsn           string
		kind          error
		want          string
	}{
		"no server": {dsn: "host=127.0.0.1 port=1 user=x password=" + password + " sslmode=disable",
			kind: postgres.ErrUnavailable,
			want: "database is unavailable: connect to postgres x@127.0.0.1:1/: connection refused: is a server running " +
				"there, and does it accept connections from here?"},
		"no socket": {dsn: "host=/nowhere user=x dbname=y", kind: postgres.ErrUnavailable,
			want: "database is unavailable: connect to postgres x@/nowhere:5432/y: no such file or directory: is a server " +
				"running there, and does it accept connections from here?"},
		"wrong password": {dsn: d.server.DSNOf(reader, "wrong", d.name), kind: postgres.ErrUnusable,
			want: "database cannot be used: connect to postgres READER@HOST:5432/DATABASE: password authentication failed " +
				"for user \"READER\": check user and password of the DSN"},
		"wrong database": {dsn: mine(d.server.DSN("nothing")), kind: postgres.ErrUnusable,
			want: "database cannot be used: connect to postgres platform@HOST:5432/nothing: database \"nothing\" does not " +
				"exist: check the database of the DSN"},
		"another database": {dsn: d.server.DSN("postgres"), kind: postgres.ErrUnusable,
			want: "database cannot be used: the database has none of the platform's tables (customers, call_logs, " +
				"whatsapp_messages, whatsapp_configs, call_costs, api_keys): is it the right database, and may the user access " +
				"the schema?"},
		"no permission": {dsn: theirs, before: "REVOKE SELECT ON call_logs FROM " + reader,
			after: "GRANT SELECT ON call_logs TO " + reader, kind: postgres.ErrUnusable,
			want: "database cannot be used: no permission to read the table call_logs: GRANT SELECT ON call_logs TO the user " +
				"of the DSN"},
		"hidden rows": {dsn: theirs, before: "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
			after: "ALTER TABLE customers DISABLE ROW LEVEL SECURITY", kind: postgres.ErrUnusable,
			want: "database cannot be used: read customers: query would be affected by row-level security policy for table " +
				"\"customers\": GRANT SELECT on the table to the user of the DSN; if row level security hides rows from it, " +
				"ALTER " +
				"ROLE … BYPASSRLS"},
		"too slow": {dsn: d.dsn() + " options='-c statement_timeout=2000'",
			before: "ALTER TABLE call_logs RENAME TO behind; " +
				"CREATE VIEW call_logs AS SELECT behind.* FROM behind, pg_sleep(60)",
			after: "DROP VIEW call_logs; ALTER TABLE behind RENAME TO call_logs", kind: postgres.ErrUnusable,
			want: "database cannot be used: read call_logs: canceling statement due to statement timeout: if that is " +
				"statement_timeout (15 minutes by default), raise it for the user of the DSN, or in the DSN " +
				"(options='-c statement_timeout=1h')"},
		"locked table": {dsn: d.dsn() + " options='-c lock_timeout=100'", before: "BEGIN; LOCK TABLE call_logs",
			after: "ROLLBACK",
			kind:  postgres.ErrUnavailable,
			want: "database is unavailable: read call_logs: canceling statement due to lock timeout: another session has " +
				"locked the table, for example ALTER TABLE or VACUUM FULL; the next run tries again"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.before != "" {
				d.exec(c.before)
				defer d.exec(c.after)
			}
			err := d.source(postgres.Options{DSN: c.dsn}).Pull(t.Context(), nil, newResult().take)
			if !errors.Is(err, c.kind) {
				t.Fatalf("got %v, want kind %v", err, c.kind)
			}
			got := strings.ReplaceAll(normalizeMessage(d, err.Error()), reader, "READER")
			if strings.Contains(c.want, ": connection refused") || strings.Contains(c.want, "no such file") {
				got = strings.ReplaceAll(got, "connect: ", "")
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	t.Run("some columns only", func(t *testing.T) {
		d.exec(
			"REVOKE SELECT ON call_logs, api_keys FROM " + reader + "; GRANT SELECT (id, user_id, created_at, updated_at) ON " +
				"call_logs TO " + reader,
		)
		called := false
		source := d.source(
			postgres.Options{DSN: theirs, Keys: func(context.Context, []postgres.Key) error { called = true; return nil }},
		)
		g := pull(t, source, nil)
		equal(t, "calls", g.ids("calls"), []int{1})
		if missing := strings.Join(source.Missing(), ", "); !strings.Contains(missing, "call_logs.summary (no permission)") ||
			!strings.HasSuffix(missing, "api_keys (without api_keys.id (no permission), api_keys.user_id (no permission), "+
				"api_keys.label (no permission), api_keys.key (no permission), api_keys.type (no permission), api_keys.created_at "+
				"(no permission), api_keys.revoked_at (no permission), api_keys.is_revoked (no permission))") ||
			called {
			t.Errorf("got missing %s, keys called: %v", missing, called)
		}
	})
}

func TestPull_ConnectionLost(t *testing.T) {
	d := newDatabase(t, platform.Schema, platform.Size{Tenants: 2, Calls: 20_000, Customers: 5, End: time.Now()}.Fill())
	g := newResult()
	err := d.source(postgres.Options{}).Pull(t.Context(), nil, func(ctx context.Context, p ingest.Portion) error {
		if p.Dataset.Name == "calls" {
			if _, err := p.Rows.Read(make([]byte, 1<<20)); err != nil {
				return err
			}
			d.exec(
				"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity " +
					"WHERE application_name = 'voicory' AND datname = '" + d.name + "'",
			)
		}
		return g.take(ctx, p)
	})
	if !errors.Is(err, postgres.ErrUnavailable) || g.state != nil {
		t.Errorf("got %v and state %s, want ErrUnavailable and no state", err, g.state)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got an error of several lines: %v", err)
	}
	// The pull fails even if take ignores the error of the reader.
	err = d.source(postgres.Options{}).Pull(t.Context(), nil, func(_ context.Context, p ingest.Portion) error {
		if p.Dataset.Name == "calls" {
			d.exec(
				"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity " +
					"WHERE application_name = 'voicory' AND datname = '" + d.name + "'",
			)
			for buffer := make([]byte, 1<<16); ; {
				if _, err := p.Rows.Read(buffer); err != nil {
					return nil //nolint:nilerr // on purpose
				}
			}
		}
		return nil
	})
	if !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestPull_Cancel(t *testing.T) {
	d := newDatabase(
		t,
		platform.Schema,
		"ALTER TABLE call_logs RENAME TO behind; CREATE VIEW call_logs AS SELECT behind.* FROM behind, pg_sleep(600)",
	)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	err := d.source(postgres.Options{}).Pull(ctx, nil, func(_ context.Context, p ingest.Portion) error {
		if p.Dataset.Name == "calls" {
			group.Go(func() {
				defer cancel()
				for sleeping := false; !sleeping; {
					if err := d.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND "+
						"datname = current_database())").Scan(&sleeping); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		_, err := p.Rows.Read(make([]byte, 1))
		if p.Dataset.Name == "calls" {
			return err
		}
		return nil
	})
	group.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := d.source(postgres.Options{}).Pull(ctx, nil, newResult().take); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: got %v, want context.Canceled", err)
	}
}

func TestNew_InvalidOptions(t *testing.T) {
	for name, options := range map[string]postgres.Options{
		"no DSN at all":       {DSN: "postgres://u:" + password + "@host:port/db"},
		"escape in password":  {DSN: "postgres://u:" + password + "%zz@host/db"},
		"word without value":  {DSN: "host=x password=" + password + " oops"},
		"negative window":     {DSN: "host=x password=" + password, Window: -1},
		"unknown sslmode":     {DSN: "postgres://u:" + password + "@host/db?sslmode=maybe"},
		"certificate missing": {DSN: "postgres://u:" + password + "@host/db?sslmode=verify-full&sslrootcert=/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.New(options)
			if !errors.Is(err, warehouse.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "%z")) {
				t.Errorf("got the password in %v", err)
			}
		})
	}
	source, err := postgres.New(postgres.Options{DSN: "postgres://u:" + password + "@db.example.com/platform"})
	noError(t, err)
	equal(t, "the name", source.Name(), "postgres u@db.example.com:5432/platform")
	for _, state := range []string{"{", "[]", "{}", `{"since":"yesterday"}`} {
		if err := source.Pull(t.Context(), []byte(state), nil); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("state %s: got %v, want ErrInvalid", state, err)
		}
	}
}
