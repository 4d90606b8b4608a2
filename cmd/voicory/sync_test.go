package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/warehouse/schema"
)

// rowsOf reads all pages of a list by their cursors and returns the rows by id.
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

// platformServer is the PostgreSQL server of all tests. TestMain stops it.
var platformServer struct {
	sync.Once
	server *platform.Server
	err    error
}

// newPlatform creates a database with the tables of the platform, and connects to it.
func newPlatform(t *testing.T, name string) (*platform.Server, *pgx.Conn) {
	t.Helper()
	p := &platformServer
	p.Do(func() { p.server, p.err = platform.Start(context.WithoutCancel(t.Context())) })
	if errors.Is(p.err, platform.ErrNotInstalled) {
		t.Skip(p.err)
	}
	noError(t, p.err)
	connect := func(database string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), p.server.DSN(database))
		noError(t, err)
		t.Cleanup(func() { noError(t, conn.Close(context.WithoutCancel(t.Context()))) })
		return conn
	}
	_, err := connect("postgres").Exec(t.Context(), "CREATE DATABASE "+name)
	noError(t, err)
	conn := connect(name)
	_, err = conn.Exec(t.Context(), platform.Schema)
	noError(t, err)
	return p.server, conn
}

// One run pulls the rows and API keys of all tenants of the platform. Later runs pull updates, deletions and
// revocations.
func TestSync_Postgres(t *testing.T) {
	t.Parallel()
	database, conn := newPlatform(t, "sync")
	there := func(statement string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), statement)
		noError(t, err)
	}
	size := platform.Size{Tenants: 3, Calls: 300, Customers: 60, Messages: 900, Costs: 50, End: time.Now()}
	there(size.Fill())

	here := t.TempDir()
	sync := func(says string) {
		t.Helper()
		got := mustRun(t, "", "sync", "postgres", "--data", here, "--dsn", database.DSN("sync"))
		if !strings.Contains(got.stdout, says) {
			t.Errorf("%q is not in %s", says, got.stdout)
		}
	}
	sync("read 1260 rows: 1260 new, 0 changed, 0 unchanged, 0 deleted, 0 refused\n")
	sync(" 0 new, 0 changed, ")
	var key, tenant string // a key that the platform has created
	noError(t, conn.QueryRow(t.Context(), "SELECT key, user_id::text FROM api_keys LIMIT 1").Scan(&key, &tenant))
	url, _ := serve(t, here, "--rate-limit", "none")
	for dataset, want := range map[string]int{"calls": 100, "customers": 20, "messages": 300} {
		if rows := rowsOf(t, url, key, dataset); len(rows) != want {
			t.Errorf("got %d %s, want %d", len(rows), dataset, want)
		}
	}
	there("UPDATE call_logs SET summary = 'late', updated_at = now() WHERE id = (SELECT min(id::text)::uuid FROM " +
		"call_logs WHERE user_id = '" + tenant + "')")
	there("DELETE FROM customers WHERE id = (SELECT min(id::text)::uuid FROM customers WHERE user_id = '" + tenant + "')")
	sync(" 0 new, 1 changed, ") // in the server
	if rows := rowsOf(t, url, key, "customers"); len(rows) != 19 {
		t.Errorf("got %d customers after a deletion, want 19", len(rows))
	}
	there("UPDATE api_keys SET is_revoked = true, revoked_at = now() WHERE key = '" + key + "'")
	sync(" 0 new, 0 changed, ")
	if status, body := get(t, url+"/api/v1/calls", key); status != 401 || !strings.Contains(body, "REVOKED_API_KEY") {
		t.Error(status, body)
	}
	there("ALTER TABLE call_logs DROP COLUMN summary")
	sync("the source lacks call_logs.summary")
	got := wantStatus(t, run(t, "", "sync", "postgres", "--data", here, "--dsn",
		database.DSNOf("nobody", "hush", "sync")), exitFailed)
	if strings.Contains(got.stderr, "hush") || strings.Count(got.stderr, "\n") != 1 {
		t.Error(got.stderr)
	}
}

// upstream starts another warehouse as the upstream API. It returns its URL, a public key of the tenant, and its data
// folder.
func upstream(t *testing.T, tenant demo.Tenant, flags ...string) (url, key, data string) {
	t.Helper()
	data = t.TempDir()
	dump := t.TempDir()
	writeDump(t, dump, tenant)
	mustRun(t, "", "ingest", "--data", data, dump)
	key = createKey(t, data, tenant.ID.String(), "public")
	url, _ = serve(t, data, flags...)
	return url, key, data
}

// sameRows compares the rows of a tenant on two servers.
func sameRows(t *testing.T, ours, ourKey, theirs, theirKey string) {
	t.Helper()
	for _, dataset := range []string{"calls", "customers", "messages"} {
		here, there := rowsOf(t, ours, ourKey, dataset), rowsOf(t, theirs, theirKey, dataset)
		if len(there) == 0 || !maps.Equal(here, there) {
			differ := 0
			for id, row := range there {
				if here[id] != row {
					if differ++; differ == 1 {
						t.Logf("there %s\nhere  %s", row, here[id])
					}
				}
			}
			t.Errorf("%s: %d rows here, %d there, %d differ", dataset, len(here), len(there), differ)
		}
	}
}

// Pulled rows are identical to those of the upstream API. The next run pulls only new rows.
func TestSync_Voicory(t *testing.T) {
	t.Parallel()
	tenant := demo.Tenant{ID: demoTenant.ID, Calls: 110, Customers: 110, Messages: 110, Days: 45}
	theirs, theirKey, there := upstream(t, tenant, "--rate-limit", "none")
	here := t.TempDir()
	sync := func(says string) {
		t.Helper()
		got := mustRun(t, "", "sync", "voicory", "--data", here, "--base-url", theirs+"/api/v1", "--api-key", theirKey,
			"--tenant", tenant.ID.String(), "--details")
		if !strings.Contains(got.stdout, says) {
			t.Errorf("%q is not in %s", says, got.stdout)
		}
	}
	sync(" 330 new, ")
	ourKey := createKey(t, here, tenant.ID.String(), "public")
	ours, _ := serve(t, here, "--rate-limit", "none")
	sameRows(t, ours, ourKey, theirs, theirKey)
	compared := 0
	for id := range rowsOf(t, ours, ourKey, "calls") {
		if compared++; compared > 20 { // each call takes the same road
			break
		}
		_, here := get(t, ours+"/api/v1/calls/"+id, ourKey)
		if _, there := get(t, theirs+"/api/v1/calls/"+id, theirKey); here != there || !strings.Contains(here, "stt_minutes") {
			t.Fatalf("there %s\nhere  %s", there, here)
		}
	}
	sync(" 0 new, 0 changed, ")
	line := fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":%q,"summary":"late"}`, tenant.ID, uuid.NewString(),
		time.Now().UTC().Format(time.RFC3339Nano))
	mustRun(t, line, "ingest", "--data", there, "--dataset", "calls", "-")
	sync(" 1 new, 0 changed, ")
	sync(" 0 new, 0 changed, ")
	sameRows(t, ours, ourKey, theirs, theirKey)

	for _, wrong := range [][]string{{"--base-url", "api.example.com"}, {"--api-key", "sk"}, {"--tenant", "nobody"},
		{"--window", "-1h"}} {
		args := []string{"sync", "voicory", "--data", here, "--base-url", theirs + "/api/v1", "--api-key", theirKey,
			"--tenant", tenant.ID.String()}
		wantStatus(t, run(t, "", append(args, wrong...)...), exitUsage)
	}
	unknown := "sk_" + strings.Repeat("x", 32)
	got := wantStatus(t, run(t, "", "sync", "voicory", "--data", here, "--base-url", theirs+"/api/v1", "--api-key",
		unknown, "--tenant", tenant.ID.String()), exitUsage)
	if strings.Contains(got.stderr, unknown) || strings.Count(got.stderr, "\n") != 1 {
		t.Error(got.stderr)
	}
}

// killRepeatedly runs a command up to the given number of times and returns the number of runs that it killed. It kills
// each run once the data folder has grown step bytes more than in the run before, and stops after a run that ends by
// itself.
func killRepeatedly(t *testing.T, times int, step int64, data string, args ...string) (killed int) {
	t.Helper()
	for n := range times {
		ctx, kill := context.WithCancel(t.Context())
		command := exec.CommandContext(ctx, os.Args[0], args...) // cancelling ctx kills the process with SIGKILL
		command.Env = append(os.Environ(), runAsProgram+"=yes")
		noError(t, command.Start())
		before := folderSize(data)
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		look := time.NewTicker(5 * time.Millisecond)
		var err error
		for running := true; running; {
			select {
			case err = <-ended:
				running = false
			case <-look.C:
				if folderSize(data)-before > int64(n)*step {
					kill()
				}
			}
		}
		look.Stop()
		kill()
		if err == nil {
			return killed
		}
		killed++
	}
	return killed
}

// A sync that is killed repeatedly ends up with the rows of the upstream API.
func TestSync_ResumesAfterKill(t *testing.T) {
	t.Parallel()
	tenant := demo.Tenant{ID: demoTenant.ID, Calls: 400, Customers: 110, Messages: 200}
	theirs, theirKey, _ := upstream(t, tenant, "--rate-limit", "none")
	here := t.TempDir()
	args := []string{"sync", "voicory", "--data", here, "--base-url", theirs + "/api/v1", "--api-key", theirKey,
		"--tenant", tenant.ID.String()}
	if killed := killRepeatedly(t, 4, 600_000, here, args...); killed < 2 {
		t.Errorf("got %d runs killed before their end, want at least 2", killed)
	}
	got := mustRun(t, "", args...)
	if !strings.Contains(got.stdout, " 0 changed, ") {
		t.Error(got.stdout)
	}
	ourKey := createKey(t, here, tenant.ID.String(), "public")
	ours, _ := serve(t, here, "--rate-limit", "none")
	sameRows(t, ours, ourKey, theirs, theirKey)
}

// The printed counts add up to the number of rows read.
func TestSyncSummary_CountsSuperseded(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	(&syncSummary{Synced: admin.Synced{Summary: ingest.Summary{
		Counts: schema.Counts{Read: 5, New: 3, Superseded: 2}}}}).text(&out)
	if first, _, _ := strings.Cut(out.String(),
		"\n"); first != "read 5 rows: 3 new, 0 changed, 0 unchanged, 0 deleted, 0 refused, 2 superseded by a newer version" {
		t.Error(first)
	}
}

// Refused rows are printed by reason, the most frequent first.
func TestSyncSummary_GroupsRefusals(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	printReasons(&out, map[string]int64{"calls: id is missing": 2, "calls: cost is not a decimal(10,4)": 30,
		"messages: line is not UTF-8": 2})
	want := "  refused 30 of calls: cost is not a decimal(10,4)\n  refused 2 of calls: id is missing\n" +
		"  refused 2 of messages: line is not UTF-8\n  `voicory quarantine list` shows the rows\n"
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
