package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/warehouse"
)

// However a password is written into a DSN, neither it nor a part of it is in an error or in the name of the source.
func TestNew_NeverShowsPasswords(t *testing.T) {
	forms := []string{
		"postgres://reader:%s@127.0.0.1:1/platform",
		"postgresql://reader:%s@127.0.0.1:1,127.0.0.1:2/platform?connect_timeout=1",
		"postgres://:%s@127.0.0.1:1/",
		"postgres://127.0.0.1:1/platform?user=reader&password=%s",
		"postgres://reader:%s@127.0.0.1:1/platform?sslmode=verify-full&sslrootcert=system",
		"postgres://reader@127.0.0.1:1/platform?options=-c%%20my.secret=%s",
		"postgresql+driver://reader:%s@127.0.0.1:1/platform?sslmode=disable",
		"host=127.0.0.1 port=1 user=reader password=%s dbname=platform",
		"password=%s host=127.0.0.1 port=1",
		"host=127.0.0.1,127.0.0.1 port=1,2 user=reader password='%s' dbname=platform",
		"host=127.0.0.1 port=1 user=reader options='-c my.secret=%s'",
		"dbname=postgres://reader:%s@127.0.0.1:1/platform host=127.0.0.1 port=1",
		"host=postgres://reader:%s@127.0.0.1:1/platform",
		"reader:%s@127.0.0.1:1/platform?sslmode=disable",
		"reader:%s@127.0.0.1:1/platform",
	}
	part := regexp.MustCompile(`[A-Za-z0-9]{5,}`)
	// Parts of the password that could be words of a message are longer than four letters and contain a digit.
	word := rapid.StringMatching(`[QXZ][a-z]{3}[0-9]{2}`)
	between := rapid.SampledFrom([]string{"@", ":", "/", "%", "?", "#", "'", `\`, " ", "=", "&", ",", ";", "%4", "%zz",
		"://", "[", "]", "@h/", ":1/", "?a=", "$", "+", ""})
	rapid.Check(t, func(t *rapid.T) {
		password := word.Draw(t, "first")
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			password += between.Draw(t, "between") + word.Draw(t, "word")
		}
		dsn := fmt.Sprintf(rapid.SampledFrom(forms).Draw(t, "form"), password)
		shown := ""
		source, err := postgres.New(postgres.Options{DSN: dsn})
		if err == nil {
			shown = source.Name()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			err = source.Pull(ctx, nil, newResult().take)
		}
		if err == nil {
			t.Fatalf("%s: got no error, want one", dsn)
		}
		shown += " " + err.Error()
		for _, secret := range append(part.FindAllString(password, -1), password) {
			if strings.Contains(shown, secret) {
				t.Fatalf("%s: %q is shown: %s", dsn, secret, shown)
			}
		}
	})
}

// A message of the server may repeat a value of the DSN.
func TestPull_RedactsMessagesOfTheServer(t *testing.T) {
	d := newDatabase(t)
	for _, options := range []string{"-c statement_timeout=hush123", "-c hush123", "--hush123=hush123"} {
		source := d.source(postgres.Options{DSN: d.dsn() + " options='" + options + "'"})
		err := source.Pull(t.Context(), nil, newResult().take)
		if err == nil || strings.Contains(err.Error()+source.Name(), "hush123") {
			t.Errorf("options %s: got %v in %s, want an error without the value", options, err, source.Name())
		}
	}
}

// Sources that may read different rows have different names; other differences do not matter.
func TestName_IsTheIdentityOfTheRows(t *testing.T) {
	name := func(dsn string) string {
		t.Helper()
		source, err := postgres.New(postgres.Options{DSN: dsn})
		noError(t, err)
		return source.Name()
	}
	const base = "postgres://reader:hush@db.example.com/platform"
	for _, other := range []string{
		"postgres://other:hush@db.example.com/platform", "postgres://reader:hush@db.example.com:6432/platform",
		"postgres://reader:hush@db2.example.com/platform", "postgres://reader:hush@db.example.com,db2.example.com/platform",
		"postgres://reader:hush@db.example.com/other", base + "?search_path=a", base + "?search_path=b",
		base + "?options=-csearch_path%3Da", base + "?options=-csearch_path%3Db", base + "?role=auditor",
		base + "?role=tenant",
	} {
		if name(other) == name(base) {
			t.Errorf("%s: got the name of %s, want another one: %s", other, base, name(base))
		}
		for _, same := range []string{"application_name=x", "statement_timeout=1000", "connect_timeout=1",
			"sslmode=disable"} {
			more := other + map[bool]string{true: "&", false: "?"}[strings.Contains(other, "?")] + same
			if name(more) != name(other) {
				t.Errorf("%s: got %s, want %s", more, name(more), name(other))
			}
		}
	}
	equal(t, "several hosts and a search path", name("host=a,b port=1,2 user=u dbname=d search_path=s"),
		"postgres u@a:1,b:2/d search_path=s")
	for _, wrong := range []string{base + "?unknown=x", "host=a unknown=x", "postgres://u:p@ss@h/d", "x"} {
		if _, err := postgres.New(postgres.Options{DSN: wrong}); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", wrong, err, warehouse.ErrInvalid)
		}
	}
}

// If the server directs the same DSN to other tables, all of their rows are read.
func TestPull_OtherTablesAreReadCompletely(t *testing.T) {
	callsAndCustomers, _, _ := strings.Cut(platform.Schema, "CREATE TABLE whatsapp_configs")
	d := newDatabase(t, platform.Schema, call(1, row{"created_at": ago(9999), "updated_at": ago(9999)}),
		"CREATE SCHEMA other; ALTER TABLE call_logs SET SCHEMA other; ALTER TABLE customers SET SCHEMA other",
		callsAndCustomers,
		call(2, row{"created_at": ago(9999), "updated_at": ago(9999)}))
	source := d.source(postgres.Options{})
	first := pull(t, source, nil)
	equal(t, "calls", first.ids("calls"), []int{2})
	equal(t, "calls of the next pull", len(pull(t, source, first.state).ids("calls")), 0)
	d.exec("ALTER DATABASE " + d.name + " SET search_path = other, public")
	second := pull(t, source, first.state)
	equal(t, "calls of the other schema", second.ids("calls"), []int{1})
	equal(t, "calls of the next pull", len(pull(t, source, second.state).ids("calls")), 0)
}
