package sql

import (
	"context"
	"crypto/sha256"
	stdsql "database/sql"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"pgregory.net/rapid"
)

// hostile are texts that end a literal or an identifier if quoting is wrong.
var hostile = []string{
	"", "plain", "it's", "''", `say "x"`, `""`, `\'; DROP TABLE t; --`, "'; SELECT 1; --", "a\nb", "a\\", "\\", "$$x$$",
	"{{slot}}",
	"%s", "é’ʼ＇", "\u2019",
	"/* */", "-- x", "a;b", "E'\\x27'", "\ufeffx", "\U0001F600'",
}

func open(t testing.TB) *stdsql.DB {
	t.Helper()
	db, err := stdsql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestText_RoundTrips(t *testing.T) {
	db := open(t)
	check := func(t interface{ Fatalf(string, ...any) }, text string) {
		var got string
		if err := db.QueryRowContext(context.Background(), "SELECT "+Text(text)).Scan(&got); err != nil || got != text {
			t.Fatalf("Text(%q): got %q, %v", text, got, err)
		}
	}
	for _, text := range hostile {
		check(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.StringOfN(rapid.RuneFrom([]rune(`'"\;-$/*{}a `+"\n\u2019\U0001F600")), 0, 30, -1).Draw(t, "text"))
	})
}

func TestIdent_RoundTrips(t *testing.T) {
	db := open(t)
	for _, name := range hostile {
		if name == "" {
			continue // DuckDB has no empty identifier
		}
		rows, err := db.QueryContext(t.Context(), "SELECT 1 AS "+Ident(name))
		if err != nil {
			t.Errorf("Ident(%q): %v", name, err)
			continue
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil || len(columns) != 1 || columns[0] != name {
			t.Errorf("Ident(%q): got %q, %v", name, columns, err)
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
		}
	}
}

func TestTexts_AndStruct_RoundTrip(t *testing.T) {
	db := open(t)
	var count int64
	var joined string
	query := "SELECT len(l), array_to_string(l, '|') FROM (SELECT " + Texts(hostile...) + " AS l)"
	if err := db.QueryRowContext(t.Context(), query).Scan(&count, &joined); err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(hostile, "|"); int(count) != len(hostile) || joined != want {
		t.Errorf("Texts: got %d %q, want %d %q", count, joined, len(hostile), want)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT len("+Texts()+")").Scan(&count); err != nil || count != 0 {
		t.Errorf("Texts(): got %d, %v", count, err)
	}
	texts := map[string]string{}
	for i, text := range hostile {
		texts[fmt.Sprintf("key%d", i)] = text
	}
	for key, want := range texts {
		var got string
		if err := db.QueryRowContext(t.Context(), "SELECT ("+Struct(texts)+")."+key).Scan(&got); err != nil || got != want {
			t.Errorf("Struct, %s: got %q, %v, want %q", key, got, err, want)
		}
	}
}

// An unknown name panics at run time; this test moves that to the build: each name in the program's code is a file, and
// each file is named in the program's code.
func TestStatements_NamesInCodeAreFiles(t *testing.T) {
	literals := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if ok && literal.Kind == token.STRING {
				if value, err := strconv.Unquote(literal.Value); err == nil {
					literals[value] = true
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fmt.Sprint(selector.X) != "statements" {
				return true
			}
			name, ok := call.Args[0].(*ast.BasicLit)
			if !ok || selector.Sel.Name != "Get" && selector.Sel.Name != "Fill" && selector.Sel.Name != "For" {
				return true
			}
			value, _ := strconv.Unquote(name.Value)
			if _, err := files.ReadFile(value + ".sql"); err != nil {
				t.Errorf("%s: no statement %q", path, value)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(files, ".", func(path string, _ fs.DirEntry, err error) error {
		name, isSQL := strings.CutSuffix(path, ".sql")
		if err != nil || !isSQL || strings.HasPrefix(path, "migrations/") {
			return err
		}
		folder, rest, _ := strings.Cut(name, "/")
		_, part, isPart := strings.Cut(rest, "_")
		// A name is written whole, as its folder and the rest, or, for a part of a page, as the name of the part.
		if !literals[name] && !literals[folder+"/"] &&
			(folder != "pages" || !literals[rest] && (!isPart || !literals[part])) {
			t.Errorf("%s is not named in the program's code", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGet_UnknownNamePanics(t *testing.T) {
	for _, name := range []string{"", "no such statement", "query/no such", "../go"} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Errorf("Get(%q) did not panic", name)
				}
			}()
			Get(name)
		})
	}
}

func TestFill_FillingsAreNotFilledAgain(t *testing.T) {
	got := Fill("query/source", "source", "{{text}}", "text", "{{source}}")
	if !strings.Contains(got, "{{text}} = {{source}}") {
		t.Errorf("got %q", got)
	}
}

func TestMigrations_AreNumberedWithoutGaps(t *testing.T) {
	for _, store := range []string{"control", "tenant"} {
		names, err := fs.Glob(files, "migrations/"+store+"/*.sql")
		if err != nil || len(names) != len(Migrations(store)) || len(names) == 0 {
			t.Fatalf("%s: got %d names, %d scripts, %v", store, len(names), len(Migrations(store)), err)
		}
		for i, name := range names {
			if prefix := fmt.Sprintf("%03d", i+1); !strings.HasPrefix(filepath.Base(name), prefix) {
				t.Errorf("%s: want a name that begins with %s", name, prefix)
			}
		}
	}
}

// A script that was released never changes: data folders would differ by the version that made them. A new script needs
// a line in testdata/migrations.sha256.
func TestMigrations_ReleasedScriptsNeverChange(t *testing.T) {
	list, err := os.ReadFile("testdata/migrations.sha256")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(list)) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		known[name] = hash
	}
	names, err := fs.Glob(files, "migrations/*/*.sql")
	if err != nil || len(names) < len(known) {
		t.Errorf("got %d scripts and error %v, want at least the %d that were released", len(names), err, len(known))
	}
	for _, name := range names {
		text := Get(strings.TrimSuffix(name, ".sql"))
		got := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		switch {
		case known[name] == "":
			t.Errorf("add this line to testdata/migrations.sha256:\n%s  %s", got, name)
		case known[name] != got:
			t.Errorf("%s: got SHA-256 %s, want %s as released; write a new script instead", name, got, known[name])
		}
	}
}
