package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/querytest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// checkedEngine returns an engine with the views of a worker, which have no rows.
func checkedEngine(t testing.TB) *engine {
	t.Helper()
	e, err := openEngine(map[string]string{"threads": "1"})
	querytest.NoError(t, err)
	querytest.NoError(t, e.exec(schema.CreateQueryViews()+"SET errors_as_json = true;"))
	return e
}

// texts returns the first column of a trusted statement, which is not checked.
func (e *engine) texts(t testing.TB, sql string) (all []string) {
	t.Helper()
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(e.conn, sql, &result) == duckdb.StateError {
		t.Fatal(duckdb.ResultError(&result))
	}
	for {
		chunk := duckdb.FetchChunk(result)
		if chunk.Ptr == nil {
			return all
		}
		values := (*duckdb.StringT)(duckdb.VectorGetData(duckdb.DataChunkGetVector(chunk, 0)))
		for _, value := range unsafe.Slice(values, duckdb.DataChunkGetSize(chunk)) {
			all = append(all, duckdb.StringTData(&value))
		}
		duckdb.DestroyDataChunk(&chunk)
	}
}

func TestCheck_AcceptsAnalyticStatements(t *testing.T) {
	e := checkedEngine(t)
	all := querytest.ReadStatements(t, "testdata/statements.txt")
	if len(all) < 150 {
		t.Errorf("got %d statements, want 150 or more", len(all))
	}
	for _, sql := range all {
		s, err := e.prepare(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if duckdb.NParams(s.prepared) == 0 {
			if err := s.run(); err != nil {
				t.Errorf("run %s: %v", sql, err)
			}
		}
		s.close()
	}
}

func TestCheck_AcceptsStatementsOfTheDocumentation(t *testing.T) {
	e := checkedEngine(t)
	for _, name := range []string{"../../../../docs/sql.md", "../../../../docs/data-scientists.md"} {
		text, err := os.ReadFile(name)
		querytest.NoError(t, err)
		statements := regexp.MustCompile("(?s)```sql\n(.*?)```|SQL = \"\"\"(.*?)\"\"\"|query\\(\"(.*?)\"\\)")
		found := statements.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no statement", name)
		}
		for _, groups := range found {
			sql := groups[1] + groups[2] + groups[3]
			if s, err := e.prepare(sql); err != nil {
				t.Errorf("%s: %s: %v", name, sql, err)
			} else {
				s.close()
			}
		}
	}
}

// run runs a statement and discards its rows.
func (s *statement) run() error {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.ExecutePrepared(s.prepared, &result) == duckdb.StateError {
		return s.explain(duckdb.ResultError(&result))
	}
	return nil
}

// refused reports whether the check, not DuckDB, refuses a statement.
func refused(e *engine, sql string) bool {
	_, err := e.prepare(sql)
	return errors.Is(err, protocol.ErrSQL) && strings.Contains(err.Error(), "is not available in queries")
}

// expressionPlaces are statements with a place for an expression.
var expressionPlaces = []string{
	"SELECT %s",
	"SELECT 1 + %s",
	"SELECT (SELECT %s)",
	"SELECT * FROM (SELECT 1 AS a, %s)",
	"WITH x AS (SELECT %s) FROM x",
	"WITH x AS (SELECT 1) SELECT %s FROM x",
	"WITH x AS MATERIALIZED (WITH y AS (SELECT %s) FROM y) FROM x",
	"WITH unused AS (SELECT %s) SELECT 1",
	"WITH RECURSIVE r(n) AS (SELECT %s UNION ALL SELECT n FROM r) FROM r",
	"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT %s FROM r) FROM r",
	"WITH RECURSIVE r(a, b) USING KEY (a) AS (SELECT 1, 2 UNION SELECT a, %s FROM recurring.r) FROM r",
	"SELECT 1 UNION SELECT %s",
	"SELECT 1 EXCEPT SELECT 2 INTERSECT SELECT %s",
	"(SELECT 1) UNION ALL BY NAME (SELECT %s LIMIT 1)",
	"VALUES (1), (%s)",
	"SELECT * FROM (VALUES (%s)) v(x)",
	"SELECT * FROM calls c, LATERAL (SELECT %s, c.id)",
	"SELECT * FROM calls a JOIN calls b ON a.id = b.id AND (%s) IS NULL",
	"SELECT * FROM calls ASOF JOIN messages ON calls.created_at >= messages.created_at AND (%s) IS NULL",
	"SELECT * FROM calls WHERE (%s) IS NOT NULL",
	"SELECT * FROM calls WHERE id IN (SELECT %s)",
	"SELECT * FROM calls WHERE id IN (NULL, %s)",
	"SELECT * FROM calls WHERE EXISTS (SELECT 1 WHERE (%s) IS NULL)",
	"SELECT * FROM calls WHERE id = ANY (SELECT %s)",
	"SELECT * FROM calls WHERE 1 BETWEEN 0 AND (%s)",
	"SELECT * FROM calls WHERE NOT (true AND (%s) IS DISTINCT FROM 1)",
	"SELECT count(*) FROM calls GROUP BY %s",
	"SELECT count(*) FROM calls GROUP BY GROUPING SETS ((id), (%s))",
	"SELECT count(*) FROM calls GROUP BY CUBE (id, (%s))",
	"SELECT count(*) FROM calls GROUP BY id HAVING (%s) IS NULL",
	"SELECT id FROM calls QUALIFY row_number() OVER (ORDER BY %s) = 1",
	"SELECT id FROM calls ORDER BY %s",
	"SELECT id FROM calls ORDER BY (%s) COLLATE nocase DESC",
	"SELECT id FROM calls LIMIT (%s)",
	"SELECT id FROM calls LIMIT 1 OFFSET (%s)",
	"SELECT id FROM calls LIMIT (%s) %%",
	"SELECT DISTINCT ON (%s) id FROM calls",
	"SELECT CASE WHEN (%s) IS NULL THEN 1 END",
	"SELECT CASE 1 WHEN 1 THEN %s ELSE 2 END",
	"SELECT CASE WHEN true THEN 1 ELSE %s END",
	"SELECT IF(true, 1, %s)",
	"SELECT coalesce(NULL, %s)",
	"SELECT nullif(1, %s)",
	"SELECT TRY(%s)",
	"SELECT CAST(%s AS VARCHAR)",
	"SELECT TRY_CAST((%s)::VARCHAR AS INTEGER)",
	"SELECT (%s) AT TIME ZONE 'UTC'",
	"SELECT (%s) COLLATE de",
	"SELECT (%s)[1]",
	"SELECT [1, 2][1:(%s)]",
	"SELECT (%s).a",
	"SELECT [%s]",
	"SELECT {'a': {'b': %s}}",
	"SELECT MAP {'a': %s}",
	"SELECT MAP {%s: 1}",
	"SELECT ARRAY[%s]",
	"SELECT row(%s)",
	"SELECT (1, %s)",
	"SELECT struct_pack(a := %s)",
	"SELECT upper(lower(%s))",
	"SELECT list_transform([1], lambda x: %s)",
	"SELECT list_transform([1], x -> %s)",
	"SELECT list_reduce([1, 2], lambda a, b: a + b, %s)",
	"SELECT list_filter([1], lambda x: list_transform([2], lambda y: %s) IS NULL)",
	"SELECT [%s FOR x IN [1]]",
	"SELECT [x FOR x IN [1] IF (%s) IS NULL]",
	"SELECT [x FOR x IN [%s]]",
	"SELECT INTERVAL (%s) DAY",
	"SELECT extract(year FROM %s)",
	"SELECT position('a' IN %s)",
	"SELECT 'a' LIKE 'b' ESCAPE (%s)",
	"SELECT 'a' SIMILAR TO (%s)",
	"SELECT count(*) FILTER (WHERE (%s) IS NULL) FROM calls",
	"SELECT string_agg(status, ',' ORDER BY %s) FROM calls",
	"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY %s) FROM calls",
	"SELECT count(DISTINCT %s) FROM calls",
	"SELECT sum(1) OVER (PARTITION BY %s) FROM calls",
	"SELECT sum(1) OVER (ORDER BY %s) FROM calls",
	"SELECT sum(1) OVER w FROM calls WINDOW w AS (PARTITION BY %s)",
	"SELECT sum(1) OVER (ORDER BY 1 ROWS (%s) PRECEDING) FROM calls",
	"SELECT sum(1) OVER (ORDER BY 1 ROWS BETWEEN 1 PRECEDING AND (%s) FOLLOWING) FROM calls",
	"SELECT sum(1) FILTER (WHERE (%s) IS NULL) OVER () FROM calls",
	"SELECT lag(id, (%s)) OVER (ORDER BY id) FROM calls",
	"SELECT lag(id, 1, %s) OVER (ORDER BY id) FROM calls",
	"SELECT first(id ORDER BY %s) OVER () FROM calls",
	"SELECT * REPLACE (%s AS id) FROM calls",
	"SELECT COLUMNS(lambda c: (%s) IS NULL) FROM calls",
	"SELECT COLUMNS([%s]) FROM calls",
	"SELECT unnest([%s])",
	"FROM range((%s))",
	"FROM unnest([%s])",
	"FROM json_each(%s)",
	"FROM summary((SELECT %s))",
	"PIVOT (SELECT %s AS a) ON a IN (1) USING count(*)",
	"PIVOT calls ON status IN ('x') USING max(%s)",
	"PIVOT calls ON (id IS NULL AND (%s) IS NULL) IN (true) USING count(*)",
	"PIVOT calls ON status IN ((%s)) USING count(*)",
	"FROM calls PIVOT (max(%s) FOR status IN ('x'))",
	"UNPIVOT (SELECT %s AS a) ON a",
	"FROM calls SELECT %s",
	"DESCRIBE SELECT %s",
	"SUMMARIZE SELECT %s",
	"FROM (DESCRIBE SELECT %s)",
	"FROM (SUMMARIZE (SELECT %s))",
	"EXPLAIN SELECT %s",
	"EXPLAIN ANALYZE SELECT %s",
	"EXPLAIN (FORMAT json) SELECT %s",
	"EXPLAIN (ANALYZE, FORMAT json) WITH x AS (SELECT %s) FROM x",
	"EXPLAIN ANALYZE DESCRIBE SELECT %s",
	"/* a */ eXpLaIn -- b\n /* c */ AnAlYzE SELECT %s",
	"SELECT $1, %s",
	"SELECT %s -- a comment",
	"SELECT a: %s",
	"SELECT NOT ((%s) IS NULL)",
	"SELECT -(%s)",
	"SELECT 1 UNION SELECT 2 ORDER BY (%s)",
	"SELECT 1 UNION SELECT 2 LIMIT (%s)",
	"SELECT * FROM calls SEMI JOIN messages ON (%s) IS NULL",
	"SELECT * FROM calls LEFT JOIN LATERAL unnest([%s]) ON true",
	"SELECT (%s) = ALL (SELECT '1')",
	"SELECT (%s) > ANY (SELECT '1')",
	"SELECT '1' = ANY ([%s])",
	"SELECT '1' IN ([%s])",
	"SELECT (%s) BETWEEN '0' AND '2'",
	"SELECT [1, 2, 3][1:2:(%s)]",
	"SELECT substring('abc' FROM 1 FOR (%s))",
	"SELECT trim(LEADING (%s) FROM 'x')",
	"SELECT position((%s) IN 'x')",
	"SELECT (%s) NOT ILIKE 'x' ESCAPE '!'",
	"SELECT nth_value(id, (%s)) OVER (ORDER BY id) FROM calls",
	"SELECT ntile((%s)) OVER (ORDER BY id) FROM calls",
	"SELECT sum(1) OVER (ORDER BY id GROUPS BETWEEN (%s) PRECEDING AND CURRENT ROW EXCLUDE GROUP) FROM calls",
	"SELECT sum(1) OVER (w ORDER BY id) FROM calls WINDOW w AS (PARTITION BY (%s))",
	"SELECT percentile_cont((%s)) WITHIN GROUP (ORDER BY id) FROM calls",
	"SELECT list(status ORDER BY (%s) DESC) FROM calls",
	"SELECT COLUMNS(* REPLACE ((%s) AS id)) FROM calls",
	"SELECT calls.* REPLACE ((%s) AS id) FROM calls",
	"SELECT coalesce(*COLUMNS(lambda c: (%s) IS NULL)) FROM calls",
	"SELECT * LIKE (%s) FROM calls",
	"SELECT unnest({'a': %s}, recursive := true)",
	"FROM json_each('{}', (%s))",
	"FROM range(start := (%s))",
	"PIVOT calls ON status IN ('x'), provider IN ((%s)) USING count(*)",
	"FROM calls PIVOT (count(*) FOR status IN ((%s)))",
	"UNPIVOT calls ON (%s) AS x",
	"UNPIVOT calls ON COLUMNS(lambda c: (%s) IS NULL)",
	"FROM calls UNPIVOT (v FOR n IN (upper(%s)))",
	"SELECT %s ; ;",
}

// tablePlaces are statements with a place for a table.
var tablePlaces = []string{
	"FROM %s",
	"SELECT * FROM %s AS t(a)",
	"SELECT (SELECT 1 FROM %s)",
	"SELECT * FROM (FROM %s)",
	"WITH x AS (FROM %s) FROM x",
	"WITH unused AS MATERIALIZED (FROM %s) SELECT 1",
	"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r, %s) FROM r",
	"SELECT 1 UNION ALL SELECT 1 FROM %s",
	"SELECT * FROM calls, %s",
	"SELECT * FROM calls JOIN %s ON true",
	"SELECT * FROM %s LEFT JOIN calls ON true",
	"SELECT * FROM calls POSITIONAL JOIN %s",
	"SELECT * FROM calls c, LATERAL (SELECT c.id FROM %s)",
	"SELECT * FROM calls WHERE EXISTS (FROM %s)",
	"SELECT * FROM calls WHERE id IN (SELECT 1 FROM %s)",
	"SELECT id FROM calls LIMIT (SELECT 1 FROM %s)",
	"SELECT ARRAY(SELECT 1 FROM %s)",
	"SELECT list_transform([1], lambda x: (SELECT 1 FROM %s))",
	"SELECT * FROM %s TABLESAMPLE 10%%",
	"PIVOT %s ON a IN (1) USING count(*)",
	"FROM %s PIVOT (count(*) FOR a IN (1))",
	"UNPIVOT %s ON a",
	"FROM summary((FROM %s))",
	"DESCRIBE FROM %s",
	"SUMMARIZE FROM %s",
	"FROM (DESCRIBE FROM %s)",
	"EXPLAIN FROM %s",
	"EXPLAIN ANALYZE FROM %s",
	"EXPLAIN (ANALYZE, FORMAT json) FROM %s",
}

// spellings are the ways to write a call of a function.
func spellings(name string) []string {
	quoted := `"` + name + `"`
	return []string{
		quoted + "()", strings.ToUpper(quoted) + "(1)", "main." + quoted + "('x', 1)", "system.main." + quoted + "(a := 1)",
		"pg_catalog." + quoted + "()",
	}
}

// Each denied function is refused in each place, before DuckDB binds it. No call has the required arguments, so the
// binder would return another error.
func TestCheck_RefusesDeniedFunctionsEverywhere(t *testing.T) {
	e := checkedEngine(t)
	n := 0
	expect := func(sql string) {
		if n++; !refused(e, sql) {
			_, err := e.prepare(sql)
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, place := range expressionPlaces {
		if accepted := strings.ReplaceAll(fmt.Sprintf(place, "upper('1')"), "$1, ", ""); refused(e, accepted) {
			t.Errorf("%s is refused without a denied function", accepted)
		}
	}
	for _, place := range tablePlaces {
		if accepted := fmt.Sprintf(place, "range(1)"); refused(e, accepted) {
			t.Errorf("%s is refused without a denied function", accepted)
		}
	}
	unknown := []entry{{kind: "scalar", name: "unknown"}, {kind: "table", name: "unknown"}}
	for i, entry := range append(parseAllowList(allowListText), unknown...) {
		if entry.allow {
			continue
		}
		switch positionOf[entry.kind] {
		case inExpression:
			if entry.kind == "pragma" {
				continue
			}
			calls := spellings(entry.name)
			calls = append(calls, fmt.Sprintf("id.%q()", entry.name), fmt.Sprintf("calls.id.%q(1)", entry.name))
			for j, place := range expressionPlaces {
				expect(fmt.Sprintf(place, calls[(i+j)%len(calls)]))
			}
			for _, call := range calls {
				expect("SELECT " + call + " FROM calls")
			}
			expect(fmt.Sprintf("SELECT %q(1) OVER () FROM calls", entry.name))
			expect(fmt.Sprintf("SELECT %q(DISTINCT 1 ORDER BY 2) FILTER (WHERE true) FROM calls", entry.name))
		case inFrom:
			calls := spellings(entry.name)
			for j, place := range tablePlaces {
				expect(fmt.Sprintf(place, calls[(i+j)%len(calls)]))
			}
			for _, call := range calls {
				expect("FROM " + call)
			}
			expect(fmt.Sprintf("SELECT * FROM calls, LATERAL %q(calls.id)", entry.name))
			expect(fmt.Sprintf("FROM %q((SELECT 1)) WITH ORDINALITY", entry.name))
		case asType:
			expect(fmt.Sprintf("SELECT NULL::%q", entry.name))
			expect(fmt.Sprintf("SELECT CAST(NULL AS main.%q)", strings.ToUpper(entry.name)))
			expect(fmt.Sprintf("SELECT TRY_CAST(NULL AS STRUCT(a MAP(VARCHAR, UNION(b %q[3][]))))", entry.name))
		case asView:
			schema, name, _ := strings.Cut(entry.name, ".")
			for _, place := range tablePlaces {
				expect(fmt.Sprintf(place, entry.name))
			}
			expect(fmt.Sprintf("FROM system.%q.%q", strings.ToUpper(schema), strings.ToUpper(name)))
			if schema != "information_schema" {
				expect("FROM " + name)
				expect("SUMMARIZE " + name)
			}
		}
	}
	t.Logf("%d statements", n)
}

// Every attack that must be refused is refused before DuckDB binds it. Tests of package query run the other attacks in
// a worker.
func TestCheck_RefusesAttacks(t *testing.T) {
	e := checkedEngine(t)
	for _, a := range querytest.Attacks(t, "../../testdata/attacks.txt") {
		if a.Want != "refused" {
			continue
		}
		if s, err := e.prepare(a.SQL); !errors.Is(err, protocol.ErrSQL) {
			t.Errorf("%s: %.200s: got %v (%v), want ErrSQL", a.Note, a.SQL, err, s)
		}
	}
}

func TestCheck_RefusesOtherRelations(t *testing.T) {
	e := checkedEngine(t)
	for _, name := range []string{
		`nothing`, `'/etc/passwd'`, `'x.csv'`, `"x.parquet"`, `main."x.json"`, `memory.main."x.csv"`, `temp.calls`,
		`temp.main.calls`, `system.calls`,
		`system.main.calls`, `information_schema.calls`, `pg_catalog.calls`, `nothing.calls`, `x.y.calls`,
		`recurring.calls`, `tables`, `temp.information_schema.tables`,
		`"cäll"`, `"calls "`, `"\u212Aalls"`, `calls AT (VERSION => 1)`, `calls AT (TIMESTAMP => now())`,
	} {
		for _, place := range tablePlaces {
			if sql := fmt.Sprintf(place, name); !refused(e, sql) {
				_, err := e.prepare(sql)
				if strings.Contains(name, " AT ") && err != nil && strings.Contains(err.Error(), "syntax error") {
					continue // the place does not accept an AT clause
				}
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	// A common table expression has the same scope in the check as in DuckDB. Outside it, DuckDB would open a file of
	// that name.
	for _, sql := range []string{
		`SELECT * FROM (WITH "x.csv" AS (SELECT 1) FROM "x.csv"), "x.csv"`,
		`SELECT (WITH "x.csv" AS (SELECT 1) FROM "x.csv"), (FROM "x.csv")`,
		`(WITH "x.csv" AS (SELECT 1) FROM "x.csv") UNION ALL FROM "x.csv"`,
		`WITH a AS (FROM "x.csv"), "x.csv" AS (SELECT 1) FROM a`,
		`WITH "x.csv" AS (FROM "x.csv") FROM "x.csv"`,
		`WITH RECURSIVE "x.csv" AS (FROM "x.csv") FROM "x.csv"`,
		`WITH RECURSIVE "x.csv" AS (FROM "x.csv" UNION ALL SELECT 1) FROM "x.csv"`,
		`WITH a AS (WITH "x.csv" AS (SELECT 1) FROM "x.csv") FROM a, "x.csv"`,
		`WITH "x.csv" AS (SELECT 1) FROM main."x.csv"`,
		`WITH "x.csv" AS (SELECT 1) FROM memory.main."x.csv"`,
		`WITH "x.csv" AS (SELECT 1) FROM recurring."x.csv"`,
		`WITH "recurring.x.csv" AS (SELECT 1) FROM recurring."x.csv"`,
		`WITH RECURSIVE "x.csv" AS (SELECT 1 AS a UNION SELECT a FROM recurring."x.csv") FROM "x.csv"`,
		`WITH RECURSIVE "x.csv"(a) USING KEY (a) AS (SELECT 1 UNION SELECT a FROM "x.csv") FROM recurring."x.csv"`,
	} {
		if !refused(e, sql) {
			_, err := e.prepare(sql)
			t.Errorf("%s: %v", sql, err)
		}
	}
	// If the check accepts a name as a common table expression, DuckDB resolves it as one.
	for _, place := range tablePlaces {
		if strings.HasPrefix(place, "EXPLAIN") {
			continue
		}
		sql := fmt.Sprintf(`WITH "x.csv" AS (SELECT 1 AS a) FROM (`+place+`)`, `"x.csv"`)
		if s, err := e.prepare(sql); err == nil {
			s.close()
		} else if refused(e, sql) || strings.Contains(err.Error(), "x.csv") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestCheck_RefusesOtherStatementsAndClauses(t *testing.T) {
	e := checkedEngine(t)
	for _, sql := range []string{
		"SHOW DATABASES", "SHOW SCHEMAS", "SHOW VARIABLES", "SHOW TABLES FROM main", "FROM (SHOW VARIABLES)",
		"SHOW memory_limit", "EXPLAIN SHOW VARIABLES",
		"SELECT sum(1) EXPORT_STATE", "SELECT list(sum(1) EXPORT_STATE)", "SELECT DEFAULT",
		"FROM calls PIVOT (count(*) FOR status IN statuses)",
		"SELECT NULL::pointer", "SELECT NULL::aggregate_state", `SELECT NULL::"lambda"`, `SELECT NULL::"unknown"`,
		"SELECT NULL::nothing", "SELECT NULL::a.b.c",
	} {
		if !refused(e, sql) {
			_, err := e.prepare(sql)
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		"PRAGMA version", "CALL pragma_version()", "SET threads = 1", "RESET threads", "SET VARIABLE x = 1",
		"CREATE TABLE x AS SELECT 1", "CREATE MACRO f(x) AS x",
		"INSERT INTO calls SELECT 1", "UPDATE calls SET cost = 1", "DELETE FROM calls", "COPY calls TO 'x'",
		"ATTACH 'x'", "USE memory", "LOAD json", "BEGIN",
		"CHECKPOINT", "VACUUM", "PREPARE x AS SELECT 1", "EXECUTE x", "DEALLOCATE x", "EXPORT DATABASE 'x'",
		"PIVOT calls ON status USING count(*)",
		"EXPLAIN PRAGMA version", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "EXPLAIN EXPLAIN SELECT 1",
		"EXPLAIN ANALYZE EXPLAIN ANALYZE SELECT 1",
		"EXPLAIN (FORMAT json) COPY calls TO 'x'", "EXPLAIN (NOTHING) SELECT 1", "EXPLAIN VERBOSE SELECT 1",
		"EXPLAIN", "EXPLAIN ANALYZE", "EXPLAINSELECT 1",
		"EXPLAIN SELECT 1; SELECT 2", "SELECT 1; SELECT 2", "SELECT 1; PRAGMA version", "", ";", "-- nothing",
		"/* EXPLAIN", "EXPLAIN /* /* */ PRAGMA version */ SELECT 1",
		"WITH x AS (INSERT INTO calls VALUES (1) RETURNING *) FROM x", "SELECT 1 INTO x",
		"SELECT 1 FROM calls FOR UPDATE; ",
	} {
		if s, err := e.prepare(sql); !errors.Is(err, protocol.ErrSQL) {
			t.Errorf("%s: got %v (%v), want ErrSQL", sql, s, err)
		}
	}
}

func TestCheck_FailuresHavePositions(t *testing.T) {
	e := checkedEngine(t)
	for _, c := range []struct {
		sql          string
		line, column int
		message      string
	}{
		{"SELECT 1,\n  'é', getenv('x')", 2, 8, `function "getenv" is not available in queries`},
		{"SELECT\n * FROM READ_CSV('x')", 2, 9, `table function "read_csv" is not available in queries`},
		{"FROM main.\"x.csv\"", 1, 6, `table "main.x.csv" is not available in queries: the tables are calls, `},
		{"SELECT 1::geometry", 1, 11, `type "GEOMETRY" is not available in queries`},
		{"EXPLAIN\n ANALYZE\n SELECT pg_sleep(1)", 3, 9, `function "pg_sleep" is not available in queries`},
		{"EXPLAIN (FORMAT  json)\n SELEC 1", 2, 2, `Parser Error: syntax error at or near "SELEC"`},
		{"EXPLAIN (FORMAT  json)\n SELECT nope FROM calls", 2, 9, `Binder Error: Referenced column "nope" not found`},
		{"EXPLAIN (FORMAT nothing)\n SELECT 1", 1, 10, "Parser Error: syntax error"},
		{"SHOW VARIABLES", 0, 0, `SHOW of "variables" is not available in queries`},
		{"CALL f()", 0, 0, "Only statements that read are run"},
	} {
		_, err := e.prepare(c.sql)
		failure := (*protocol.Failure)(nil)
		if !errors.As(err, &failure) || !errors.Is(err, protocol.ErrSQL) {
			t.Errorf("%s: got %v, want ErrSQL", c.sql, err)
		} else if failure.Line != c.line || failure.Column != c.column || !strings.HasPrefix(failure.Message, c.message) {
			t.Errorf("%s: got %+v, want %+v", c.sql, failure, c)
		}
	}
}

// The check visits every node of every accepted tree. It refuses a tree in which any node has an unknown property,
// kind or form.
func TestCheck_RefusesUnknownNodes(t *testing.T) {
	e := checkedEngine(t)
	accepts := func(tree any) bool {
		c := checker{location: -1}
		return c.node("statement", tree) == nil
	}
	changed := 0
	for _, sql := range querytest.ReadStatements(t, "testdata/statements.txt") {
		if prefix, _ := cutExplain(sql); prefix != "" {
			continue
		}
		text, err := e.tree(sql)
		querytest.NoError(t, err)
		var answer struct{ Statements []any }
		querytest.NoError(t, json.Unmarshal([]byte(text), &answer))
		tree := answer.Statements[0]
		if !accepts(tree) {
			t.Errorf("%s is refused", sql)
		}
		// expect changes a property, requires that the tree is refused, and restores the property.
		expect := func(node map[string]any, property string, value any, path string) {
			old, had := node[property]
			node[property] = value
			if changed++; accepts(tree) {
				t.Errorf("%s: accepted with %v as %s.%s", sql, value, path, property)
			}
			if node[property] = old; !had {
				delete(node, property)
			}
		}
		var walk func(node any, path string)
		walk = func(node any, path string) {
			switch node := node.(type) {
			case []any:
				for _, element := range node {
					walk(element, path)
				}
			case map[string]any:
				expect(node, "new", 1, path)
				for _, property := range slices.Sorted(maps.Keys(node)) {
					old := node[property]
					_, isText := old.(string)
					if isText && (property == "class" || property == "id" || property == "function_name" ||
						property == "table_name" && node["type"] == "BASE_TABLE" || property == "type_name" ||
						property == "type" && !strings.HasSuffix(path, ".orders")) && !singleType[node["class"]] {
						expect(node, property, "NEW", path)
					}
					expect(node, property, map[string]any{"new": 1}, path)
					if _, isList := old.([]any); !isList {
						expect(node, property, []any{map[string]any{"new": old}}, path)
					}
					walk(old, path+"."+property)
				}
			}
		}
		walk(tree, "")
	}
	t.Logf("%d changed trees", changed)
}

// singleType lists the expression classes with a single type, which the check does not read.
var singleType = map[any]bool{
	"BETWEEN": true, "CASE": true, "CAST": true, "COLLATE": true, "COLUMN_REF": true, "CONSTANT": true, "FUNCTION": true,
	"LAMBDA": true, "PARAMETER": true, "POSITIONAL_REFERENCE": true, "STAR": true, "SUBQUERY": true, "TYPE": true,
}

func BenchmarkCheck(b *testing.B) {
	e := checkedEngine(b)
	for name, sql := range map[string]string{
		"count": "SELECT count(*) FROM calls",
		"window": `WITH x AS (SELECT *, row_number() OVER (PARTITION BY assistant_id ORDER BY cost DESC NULLS LAST, id) AS n
			FROM calls WHERE status IN ('completed', 'failed'))
			SELECT provider, quantile_cont(cost, [0.5, 0.9]), list_transform(list(cost), lambda c: c * 2)
			FROM x JOIN transcript_turns t ON t.call_id = x.id WHERE n <= 3 GROUP BY ALL ORDER BY ALL LIMIT 10`,
		"values": "SELECT count(*) FROM calls WHERE duration IN (" + strings.Repeat("1234,", 1000) + "1)",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				tree, err := e.tree(sql)
				querytest.NoError(b, err)
				c := checker{text: sql, location: -1}
				querytest.NoError(b, c.statement(tree))
			}
		})
	}
}
