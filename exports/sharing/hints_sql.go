package sharing

import (
	"regexp"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// The predicates of the protocol in SQL: a column that is compared with a constant, on either side, and tests for null.
// Texts with a quote or a backslash are not read, because dialects differ in their meaning.
const (
	sqlColumn   = "(`[^`]+`|[a-zA-Z_][a-zA-Z0-9_]*)"
	sqlLiteral  = `([-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|(?i:date\s*|timestamp\s*)?'[^'\\]*'|(?i:true|false))`
	sqlOperator = `(<>|!=|<=|>=|==|=|<|>)`
)

var (
	sqlColumnFirst  = regexp.MustCompile(`^\s*` + sqlColumn + `\s*` + sqlOperator + `\s*` + sqlLiteral + `\s*$`)
	sqlLiteralFirst = regexp.MustCompile(`^\s*` + sqlLiteral + `\s*` + sqlOperator + `\s*` + sqlColumn + `\s*$`)
	sqlNull         = regexp.MustCompile(`^\s*` + sqlColumn + `\s+(?i:is\s+(not\s+)?null)\s*$`)
)

// parseSQL returns the predicate of a hint in SQL. ok is false if it is not one that this package understands.
func parseSQL(text string, export schema.Export) (_ predicate, ok bool) {
	if m := sqlNull.FindStringSubmatch(text); m != nil {
		column, ok := columnNamed(export, strings.Trim(m[1], "`"))
		if m[2] != "" {
			return not(isNull(column)), ok
		}
		return isNull(column), ok
	}
	var name, operator, constant string
	first := sqlColumnFirst.FindStringSubmatch(text)
	if first != nil {
		name, operator, constant = first[1], first[2], first[3]
	} else if m := sqlLiteralFirst.FindStringSubmatch(text); m != nil {
		constant, operator, name = m[1], m[2], m[3]
	}
	column, ok := columnNamed(export, strings.Trim(name, "`"))
	if !ok {
		return nil, false
	}
	with, ok := sqlConstant(constant, column.Type)
	op, negated := comparison(operator), false
	switch operator {
	case "<>", "!=":
		op, negated = equal, true
	case "==":
		op = equal
	}
	if first == nil {
		op = op.swapped()
	}
	p := compares(column, op, with)
	if negated {
		p = not(p)
	}
	return p, ok
}

// sqlConstant returns the literal of a constant that is compared with a column of the DuckDB type. ok is false if a
// database would convert the constant or the column in a way that depends on its dialect.
func sqlConstant(text, duckdb string) (_ literal, ok bool) {
	keyword, quoted, isText := strings.Cut(text, "'")
	quoted = strings.TrimSuffix(quoted, "'")
	keyword = strings.ToLower(strings.TrimSpace(keyword))
	switch {
	case isText && (duckdb == "VARCHAR" || duckdb == "JSON") && keyword == "":
		return literal{quoted, quoted}, true
	case isText && duckdb == "DATE" && keyword != "timestamp":
		return dayLiteral(quoted)
	case isText && duckdb == "TIMESTAMP WITH TIME ZONE":
		return timeLiteral(quoted)
	case isText:
		return literal{}, false
	case duckdb == "BOOLEAN" && strings.EqualFold(text, "true"):
		return literal{int64(1), int64(1)}, true
	case duckdb == "BOOLEAN" && strings.EqualFold(text, "false"):
		return literal{int64(0), int64(0)}, true
	case duckdb == "INTEGER" || duckdb == "BIGINT":
		if with, ok := integerLiteral(text, 64); ok {
			return with, true
		}
		return numberLiteral(text)
	case duckdb == "DOUBLE" || strings.HasPrefix(duckdb, "DECIMAL("):
		return numberLiteral(text)
	}
	return literal{}, false
}
