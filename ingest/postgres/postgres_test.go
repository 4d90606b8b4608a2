package postgres_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if server, err := startServer(); err == nil {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		os.Exit(code)
	}))
}

// startServer starts the server that all tests share. Each test creates its own database.
var startServer = sync.OnceValues(func() (*platform.Server, error) { return platform.Start(context.Background()) })

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A database is a database that belongs to one test.
type database struct {
	testing.TB
	*pgx.Conn
	server *platform.Server
	name   string
}

// newDatabase creates a database and runs the statements in it. It skips the test if PostgreSQL is not installed.
func newDatabase(t testing.TB, statements ...string) *database {
	t.Helper()
	server, err := startServer()
	if errors.Is(err, platform.ErrNotInstalled) {
		t.Skip(err)
	}
	noError(t, err)
	d := &database{t, nil, server, "t" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	admin := d.connect("postgres")
	_, err = admin.Exec(t.Context(), "CREATE DATABASE "+d.name)
	noError(t, err)
	noError(t, admin.Close(t.Context()))
	d.Conn = d.connect(d.name)
	for _, statement := range statements {
		d.exec(statement)
	}
	return d
}

func (d *database) connect(name string) *pgx.Conn {
	d.Helper()
	conn, err := pgx.Connect(d.Context(), d.server.DSN(name))
	noError(d, err)
	d.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // the test is over
	return conn
}

func (d *database) exec(statement string) {
	d.Helper()
	if _, err := d.Exec(d.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
		d.Fatalf("%v: %s", err, statement)
	}
}

func (d *database) dsn() string { return d.server.DSN(d.name) }

func (d *database) source(options postgres.Options) *postgres.Source {
	d.Helper()
	if options.DSN == "" {
		options.DSN = d.dsn()
	}
	if options.Window == 0 {
		options.Window = 72 * time.Hour
	}
	options.Log = slog.New(slog.DiscardHandler)
	source, err := postgres.New(options)
	noError(d, err)
	return source
}

type row map[string]any

// A result holds the rows that a pull emitted, by dataset.
type result struct {
	rows   map[string][]row
	absent map[string][]string
	state  json.RawMessage
}

// row returns the row whose id is id(n).
func (g *result) row(t testing.TB, dataset string, n int) row {
	t.Helper()
	i := slices.IndexFunc(g.rows[dataset], func(r row) bool { return r["id"] == id(n) })
	if i < 0 {
		t.Fatalf("%s %d was not emitted", dataset, n)
	}
	return g.rows[dataset][i]
}

func (g *result) ids(dataset string) (ids []int) {
	for _, r := range g.rows[dataset] {
		n := 0
		if text, ok := r["id"].(string); ok {
			fmt.Sscanf(text[24:], "%d", &n) //nolint:errcheck // 0 for ids of other rows
		}
		ids = append(ids, n)
	}
	slices.Sort(ids)
	return ids
}

func (g *result) take(_ context.Context, p ingest.Portion) error {
	lines := bufio.NewReader(p.Rows)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			break
		}
		if err != nil {
			return err
		}
		var r row
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.UseNumber()
		if err := decoder.Decode(&r); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		g.rows[p.Dataset.Name] = append(g.rows[p.Dataset.Name], r)
	}
	g.absent[p.Dataset.Name] = p.Absent
	if p.State != nil {
		g.state = p.State
	}
	return nil
}

func newResult() *result { return &result{rows: map[string][]row{}, absent: map[string][]string{}} }

// pull runs a pull and returns the emitted rows.
func pull(t testing.TB, source *postgres.Source, state json.RawMessage) *result {
	t.Helper()
	g := newResult()
	noError(t, source.Pull(t.Context(), state, g.take))
	return g
}

const (
	tenantA = "aaaaaaaa-0000-4000-8000-00000000000a"
	tenantB = "bbbbbbbb-0000-4000-8000-00000000000b"
	config  = "cccccccc-0000-4000-8000-00000000000c"
)

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// insert returns a statement that inserts a row of text values, each cast to its column's type.
func insert(table string, r row) string {
	var names, values []string
	for name, value := range r {
		text := "NULL"
		if value != nil {
			text = "'" + strings.ReplaceAll(fmt.Sprint(value), "'", "''") + "'"
		}
		names, values = append(names, name), append(values, text)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s);", table, strings.Join(names, ", "), strings.Join(values, ", "))
}

func call(n int, more row) string { return insertOf("call_logs", tenantA, n, more) }

func customer(n int, more row) string {
	return insertOf("customers", tenantA, n, merged(row{"name": "Asha Rao"}, more))
}

func insertOf(table, tenant string, n int, more row) string {
	return insert(table, merged(row{"id": id(n), "user_id": tenant}, more))
}

func message(n int, more row) string {
	return insert("whatsapp_messages", merged(row{"id": id(n), "config_id": config}, more))
}

func merged(rows ...row) row {
	all := row{}
	for _, r := range rows {
		for name, value := range r {
			all[name] = value
		}
	}
	return all
}

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

var insertConfig = fmt.Sprintf("INSERT INTO whatsapp_configs VALUES ('%s', '%s');", config, tenantA)

// ago returns the time that is the given number of hours in the past, in RFC 3339.
func ago(hours int) string {
	return time.Now().Add(-time.Duration(hours) * time.Hour).UTC().Format(time.RFC3339Nano)
}

// normalizeMessage replaces the parts of a message that differ between runs.
func normalizeMessage(d *database, text string) string {
	text = strings.NewReplacer(d.name, "DATABASE").Replace(text)
	return regexp.MustCompile(`/tmp/platform-\d+`).ReplaceAllString(text, "HOST")
}
