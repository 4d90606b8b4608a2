package schema

import (
	"fmt"
	"strings"
)

// Headers returns the name of the field that each column of a table fills, or "" for other columns. Names match in any
// letter case, and with or without spaces, underscores, hyphens and dots: "Created At" and createdAt are created_at. Of
// several columns for one field, the one with its exact name fills it, then one that differs only in letter case.
// Headers returns an error if it cannot decide.
func (d Dataset) Headers(columns []string) (fields []string, err error) {
	const exact, otherCase, similar, none = 0, 1, 2, 3 // ranks
	byLetters := map[string]string{}
	for _, name := range d.acceptedFields() {
		byLetters[letters(name)] = name
	}
	fields = make([]string, len(columns))
	best := map[string]int{} // rank of the best column of a field
	rank := make([]int, len(columns))
	for i, column := range columns {
		name := byLetters[letters(column)]
		switch {
		case name == "":
			rank[i] = none
		case column == name:
			rank[i] = exact
		case lowerASCII(strings.TrimSpace(column)) == name:
			rank[i] = otherCase
		default:
			rank[i] = similar
		}
		fields[i] = name
		if known, ok := best[name]; name != "" && (!ok || rank[i] < known) {
			best[name] = rank[i]
		}
	}
	filled := map[string]int{}
	for i, name := range fields {
		if name == "" || rank[i] > best[name] {
			fields[i] = ""
			continue
		}
		if first, twice := filled[name]; twice {
			return nil, fmt.Errorf("column %q occurs twice, as %.80q and %.80q", name, columns[first], columns[i])
		}
		filled[name] = i
	}
	return fields, nil
}

// letters returns a name in lower case and without separators.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t_-.\u00a0\ufeff", r) {
			return -1
		}
		return r
	}, lowerASCII(name))
}

// lowerASCII returns name with its ASCII letters in lower case.
func lowerASCII(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}
