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
		if server, err := start(); err == nil {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		os.Exit(code)
	}))
}

// One server serves all tests, each with a database of its own.
var start = sync.OnceValues(func() (*platform.Server, error) { return platform.Start(context.Background()) })

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// database is one of the test's own.
type database struct {
	testing.TB
	*pgx.Conn
	server *platform.Server
	name   string
}

// newDatabase makes an empty one, and runs the statements in it.
func newDatabase(t testing.TB, statements ...string) *database {
	t.Helper()
	server, err := start()
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
	d.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // closed already, or of no use any more
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

// given is what a pass gave, by dataset.
type given struct {
	rows   map[string][]row
	absent map[string][]string
	state  json.RawMessage
}

// with returns the row whose id ends with n.
func (g *given) with(t testing.TB, dataset string, n int) row {
	t.Helper()
	i := slices.IndexFunc(g.rows[dataset], func(r row) bool { return r["id"] == id(n) })
	if i < 0 {
		t.Fatalf("%s %d was not given", dataset, n)
	}
	return g.rows[dataset][i]
}

func (g *given) ids(dataset string) (ids []int) {
	for _, r := range g.rows[dataset] {
		n := 0
		if text, ok := r["id"].(string); ok {
			fmt.Sscanf(text[24:], "%d", &n) //nolint:errcheck // then it is none of ours
		}
		ids = append(ids, n)
	}
	slices.Sort(ids)
	return ids
}

func (g *given) take(_ context.Context, p ingest.Portion) error {
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

func newGiven() *given { return &given{rows: map[string][]row{}, absent: map[string][]string{}} }

// pull makes a pass.
func pull(t testing.TB, source *postgres.Source, state json.RawMessage) *given {
	t.Helper()
	g := newGiven()
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
		t.Errorf("%s is %s, not %s", what, g, w)
	}
}

var theConfig = fmt.Sprintf("INSERT INTO whatsapp_configs VALUES ('%s', '%s');", config, tenantA)

// ago is a time that many hours back.
func ago(hours int) string {
	return time.Now().Add(-time.Duration(hours) * time.Hour).UTC().Format(time.RFC3339Nano)
}

// words takes what changes from run to run out of a message.
func words(d *database, text string) string {
	text = strings.NewReplacer(d.name, "DATABASE").Replace(text)
	return regexp.MustCompile(`/tmp/platform-\d+`).ReplaceAllString(text, "HOST")
}
