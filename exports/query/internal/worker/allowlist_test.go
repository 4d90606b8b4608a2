package worker

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/exports/query/internal/querytest"
)

var update = flag.Bool("update", false, "add new names of DuckDB's catalogue to allowlist.txt, remove old ones")

// catalogue returns the kinds and names in the catalogue of the linked DuckDB, and the functions that only its binder
// knows.
func catalogue(t *testing.T) (all []entry) {
	t.Helper()
	e, err := openEngine(nil)
	querytest.NoError(t, err)
	for _, line := range e.texts(t, `
		SELECT DISTINCT function_type || chr(9) || function_name FROM duckdb_functions()
		UNION SELECT 'view' || chr(9) || schema_name || '.' || view_name FROM duckdb_views()
		UNION SELECT 'type' || chr(9) || lower(type_name) FROM duckdb_types()`) {
		kind, name, _ := strings.Cut(line, "\t")
		all = append(all, entry{kind: kind, name: name})
	}
	for _, name := range []string{"unlist", "unnest"} { // DuckDB's ExpressionBinder::IsUnnestFunction
		all = append(all, entry{kind: "binder", name: name})
	}
	slices.SortFunc(all, compareEntries)
	return all
}

func compareEntries(a, b entry) int {
	return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
}

func TestAllowList_NamesTheLinkedCatalogue(t *testing.T) {
	reviewed := parseAllowList(allowListText)
	linked := catalogue(t)
	has := func(all []entry, e entry) bool {
		_, found := slices.BinarySearchFunc(all, e, compareEntries)
		return found
	}
	if !slices.IsSortedFunc(reviewed, compareEntries) {
		t.Fatal("the lines are not sorted by kind and name")
	}
	if *update {
		updateAllowList(t, reviewed, linked)
		return
	}
	for i, e := range linked {
		if !has(reviewed, e) {
			t.Errorf("%s %q is in DuckDB's catalogue and has not been reviewed", e.kind, e.name)
		}
		if _, ok := positionOf[e.kind]; !ok && e.kind != "pragma" {
			t.Errorf("%s %q is of an unknown kind", e.kind, e.name)
		}
		if i > 0 && e == linked[i-1] {
			t.Errorf("%s %q is there twice", e.kind, e.name)
		}
	}
	for _, e := range reviewed {
		if !has(linked, e) {
			t.Errorf("%s %q is not in DuckDB's catalogue", e.kind, e.name)
		}
		if e.allow != (e.reason == "") || strings.HasPrefix(e.reason, "unreviewed") {
			t.Errorf("%s %q: allow %v, reason %q", e.kind, e.name, e.allow, e.reason)
		}
		if e.kind == "pragma" && e.allow {
			t.Errorf("pragma %q is allowed, which has no effect", e.name)
		}
	}
}

// updateAllowList writes allowlist.txt with the names of the linked catalogue. Reviewed lines are kept; new names are
// denied.
func updateAllowList(t *testing.T, reviewed, linked []entry) {
	var text strings.Builder
	for line := range strings.Lines(allowListText) {
		if strings.HasPrefix(line, "#") {
			text.WriteString(line)
		}
	}
	for _, e := range linked {
		e.reason = "unreviewed"
		if i, found := slices.BinarySearchFunc(reviewed, e, compareEntries); found {
			e = reviewed[i]
		}
		fields := []string{e.kind, e.name, "allow"}
		if !e.allow {
			fields = []string{e.kind, e.name, "deny", e.reason}
		}
		text.WriteString(strings.Join(fields, "\t") + "\n")
	}
	querytest.NoError(t, os.WriteFile("allowlist.txt", []byte(text.String()), 0o644))
}

// DuckDB turns some column names into function calls after parsing, and list_aggregate calls the aggregate that its
// argument names. So these functions must be allowed, or must fail.
func TestAllowList_ImplicitlyCalledFunctionsAreAllowedOrFail(t *testing.T) {
	for _, name := range []string{ // GetSQLValueFunctionName in DuckDB's binder
		"current_catalog", "current_date", "current_schema", "current_role", "get_current_time",
		"get_current_timestamp", "current_user",
		"current_localtime", "current_localtimestamp", "session_user", "user",
	} {
		if !isAllowed(inExpression, name) {
			t.Errorf("%s is denied, but can be written as a column", name)
		}
	}
	e := checkedEngine(t)
	for _, entry := range parseAllowList(allowListText) {
		if entry.kind != "aggregate" || entry.allow {
			continue
		}
		if s, err := e.prepare("SELECT list_aggregate([1, 2], '" + entry.name + "')"); err == nil {
			s.close()
			t.Errorf("the denied aggregate %s runs by list_aggregate", entry.name)
		}
	}
}

// An allowed macro calls only allowed functions and reads only allowed views.
func TestAllowList_AllowedMacrosCallOnlyAllowedFunctions(t *testing.T) {
	e := checkedEngine(t)
	const macros = "SELECT function_name || chr(9) || macro_definition FROM duckdb_functions() " +
		"WHERE function_type = 'macro'"
	for _, line := range e.texts(t, macros) {
		name, definition, _ := strings.Cut(line, "\t")
		if !isAllowed(inExpression, name) {
			continue
		}
		tree, err := e.tree("SELECT " + definition)
		querytest.NoError(t, err)
		c := checker{text: definition, location: -1}
		if err := c.statement(tree); err != nil {
			t.Errorf("macro %s: %v", name, err)
		}
	}
}
