package worker

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed allowlist.txt
var allowListText string

// position is a place in a statement in which a name of DuckDB's catalogue can stand. DuckDB looks a name up by its
// position.
type position int

const (
	inExpression position = iota // a function or an operator
	inFrom                       // a table function
	asView                       // a view of the catalogue, by schema and name
	asType                       // a type
)

// positionOf maps the kinds of the allow list to the position in which DuckDB looks them up. PRAGMA statements are
// refused as a whole, so that pragma functions have no position.
var positionOf = map[string]position{
	"scalar": inExpression, "aggregate": inExpression, "macro": inExpression, "binder": inExpression,
	"table": inFrom, "table_macro": inFrom, "view": asView, "type": asType,
}

// entry is a line of the allow list.
type entry struct {
	kind, name string
	allow      bool
	reason     string // of a denial
}

// parseAllowList returns the lines of allowlist.txt. A line that does not say "allow" denies.
func parseAllowList(text string) (entries []entry) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if strings.HasPrefix(line, "#") || len(fields) < 3 {
			continue
		}
		e := entry{kind: fields[0], name: fields[1], allow: fields[2] == "allow"}
		if len(fields) == 4 {
			e.reason = fields[3]
		}
		entries = append(entries, e)
	}
	return entries
}

// allowList returns the allowed names, in lower case, by their position. Schemas do not count: DuckDB may find a name
// in any of them. So a name is allowed only if no kind that DuckDB looks up in the same position denies it.
var allowList = sync.OnceValue(func() map[position]map[string]bool {
	list := map[position]map[string]bool{inExpression: {}, inFrom: {}, asView: {}, asType: {}}
	for _, e := range parseAllowList(allowListText) {
		place, ok := positionOf[e.kind]
		if !ok {
			continue
		}
		name := lowerASCII(e.name)
		allowed, seen := list[place][name]
		list[place][name] = e.allow && (allowed || !seen)
	}
	return list
})

// isAllowed reports whether a statement may use a name in a position.
func isAllowed(place position, name string) bool { return allowList()[place][lowerASCII(name)] }

// lowerASCII lowers ASCII letters and no others, as DuckDB does when it compares names.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
