package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest/postgres/platform"
)

// rowsOf walks through a list by its links and returns its rows by id.
func rowsOf(t *testing.T, url, key, dataset string) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for cursor := ""; ; {
		status, body := get(t, url+"/api/v1/"+dataset+"?limit=100&cursor="+cursor, key)
		var list struct {
			Data []json.RawMessage
			Meta struct {
				NextCursor string `json:"next_cursor"`
			}
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 {
			t.Fatal(status, body, err)
		}
		for _, item := range list.Data {
			var row struct{ ID uuid.UUID }
			noError(t, json.Unmarshal(item, &row))
			rows[row.ID.String()] = string(item)
		}
		if cursor = list.Meta.NextCursor; cursor == "" {
			return rows
		}
	}
}

// All tenants of the platform's database come in one run, with their API keys; what changes, goes or is revoked there does so here.
func TestSyncPostgres(t *testing.T) {
	database, err := platform.Start(t.Context())
	if errors.Is(err, platform.ErrNotInstalled) {
		t.Skip(err)
	}
	noError(t, err)
	defer func() { noError(t, database.Stop()) }()
	conn, err := pgx.Connect(t.Context(), database.DSN("postgres"))
	noError(t, err)
	defer func() { noError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	there := func(statement string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), statement)
		noError(t, err)
	}
	size := platform.Size{Tenants: 3, Calls: 300, Customers: 60, Messages: 900, Costs: 50, End: time.Now()}
	there(platform.Schema)
	there(size.Fill())

	here := t.TempDir()
	sync := func(says string) {
		t.Helper()
		got := wantStatus(t, run(t, "", "sync", "postgres", "--data", here, "--dsn", database.DSN("postgres")), exitDone)
		if !strings.Contains(got.stdout, says) {
			t.Errorf("%q is not in %s", says, got.stdout)
		}
	}
	sync("read 1260 rows: 1260 new, 0 changed, 0 unchanged, 0 deleted, 0 refused\n")
	sync(" 0 new, 0 changed, ")
	var key, tenant string // as the platform has given it to its customer
	noError(t, conn.QueryRow(t.Context(), "SELECT key, user_id::text FROM api_keys LIMIT 1").Scan(&key, &tenant))
	url, _ := serve(t, here, "--rate-limit", "none")
	for dataset, want := range map[string]int{"calls": 100, "customers": 20, "messages": 300} {
		if rows := rowsOf(t, url, key, dataset); len(rows) != want {
			t.Errorf("%d %s, not %d", len(rows), dataset, want)
		}
	}
	there("UPDATE call_logs SET summary = 'late', updated_at = now() WHERE id = (SELECT min(id::text)::uuid FROM call_logs WHERE user_id = '" + tenant + "')")
	there("DELETE FROM customers WHERE id = (SELECT min(id::text)::uuid FROM customers WHERE user_id = '" + tenant + "')")
	sync(" 0 new, 1 changed, ") // by the server
	if rows := rowsOf(t, url, key, "customers"); len(rows) != 19 {
		t.Errorf("%d customers after a deletion", len(rows))
	}
	there("UPDATE api_keys SET is_revoked = true, revoked_at = now() WHERE key = '" + key + "'")
	sync(" 0 new, 0 changed, ")
	if status, body := get(t, url+"/api/v1/calls", key); status != 401 || !strings.Contains(body, "REVOKED_API_KEY") {
		t.Error(status, body)
	}
	there("ALTER TABLE call_logs DROP COLUMN summary")
	sync("the source lacks call_logs.summary")
	got := wantStatus(t, run(t, "", "sync", "postgres", "--data", here, "--dsn", database.DSNOf("nobody", "hush", "postgres")), exitFailed)
	if strings.Contains(got.stderr, "hush") || strings.Count(got.stderr, "\n") != 1 {
		t.Error(got.stderr)
	}
}
