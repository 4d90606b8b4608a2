package sharing

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
)

// outcomes is the set of results that a predicate can have for the rows of a file. It may have more results than the
// rows give, never fewer.
type outcomes uint8

const (
	canBeTrue outcomes = 1 << iota
	canBeFalse
	canBeNull

	unknown = canBeTrue | canBeFalse | canBeNull
)

// when returns the outcome if possible is true.
func when(possible bool, outcome outcomes) outcomes {
	if possible {
		return outcome
	}
	return 0
}

// A predicate returns the outcomes for a file with the ranges.
type predicate func(ranges map[string]columnRange) outcomes

// all returns the conjunction of predicates, which is true without any.
func all(predicates []predicate) predicate {
	return func(ranges map[string]columnRange) outcomes {
		result := canBeTrue
		for _, p := range predicates {
			one := p(ranges)
			result = result&one&canBeTrue | (result|one)&(canBeFalse|canBeNull)
		}
		return result
	}
}

// not returns the negation of a predicate. The negation of null is null.
func not(p predicate) predicate {
	return func(ranges map[string]columnRange) outcomes {
		result := p(ranges)
		return when(result&canBeFalse != 0, canBeTrue) | when(result&canBeTrue != 0, canBeFalse) | result&canBeNull
	}
}

// anyOf returns the disjunction of predicates.
func anyOf(predicates []predicate) predicate {
	negated := make([]predicate, len(predicates))
	for i, p := range predicates {
		negated[i] = not(p)
	}
	return not(all(negated))
}

// isNull returns the predicate that a column is null.
func isNull(column schema.Column) predicate {
	return func(ranges map[string]columnRange) outcomes {
		r, ok := ranges[strings.ToLower(column.Name)]
		if !ok || r.nulls < 0 {
			return canBeTrue | canBeFalse
		}
		return when(r.nulls > 0, canBeTrue) | when(r.nulls < r.values, canBeFalse)
	}
}

// comparison is an operator that compares a column, on its left, with a literal.
type comparison string

const (
	equal          comparison = "="
	less           comparison = "<"
	lessOrEqual    comparison = "<="
	greater        comparison = ">"
	greaterOrEqual comparison = ">="
)

// swapped returns the operator that means the same if the column and the literal change sides.
func (c comparison) swapped() comparison {
	switch c {
	case less:
		return greater
	case lessOrEqual:
		return greaterOrEqual
	case greater:
		return less
	case greaterOrEqual:
		return lessOrEqual
	}
	return c
}

// A literal is a constant of a predicate. Its value lies between low and high, which have the types of bounds. They
// differ if the client has not named the time zone of a time. Nil: the literal cannot be compared with the column.
type literal struct{ low, high any }

// compares returns the predicate that compares a column with a literal.
func compares(column schema.Column, op comparison, with literal) predicate {
	switch op {
	case greater:
		return not(compares(column, lessOrEqual, with))
	case greaterOrEqual:
		return not(compares(column, less, with))
	}
	return func(ranges map[string]columnRange) outcomes {
		r, ok := ranges[strings.ToLower(column.Name)]
		switch {
		case !ok || with.low == nil:
			return unknown
		case r.nulls == r.values:
			return when(r.values > 0, canBeNull)
		}
		result := when(r.nulls != 0, canBeNull)
		switch op {
		case less: // true for the least value and the greatest literal, if for any
			result |= when(!before(with.high, r.lower, true), canBeTrue)
			result |= when(!before(r.upper, with.low, false), canBeFalse)
		case lessOrEqual:
			result |= when(!before(with.high, r.lower, false), canBeTrue)
			result |= when(!before(r.upper, with.low, true), canBeFalse)
		case equal:
			result |= when(!before(with.high, r.lower, false) && !before(r.upper, with.low, false), canBeTrue)
			same := before(with.high, r.lower, true) && before(r.upper, with.low, true)
			result |= when(!same, canBeFalse)
		}
		return result
	}
}

// before reports whether a is certainly less than b, or also equal to b if orEqual is true. A number that is compared
// with one of another type is compared in floating point, as clients may do: rounding may hide a difference, so equal
// numbers are not certainly equal then.
func before(a, b any, orEqual bool) bool {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return a < b || orEqual && a == b
		}
	case string:
		b, ok := b.(string)
		return ok && (a < b || orEqual && a == b)
	}
	x, isNumber := float(a)
	y, bothNumbers := float(b)
	return isNumber && bothNumbers && x < y
}

func float(value any) (_ float64, ok bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// zones is the maximum difference of local time from UTC.
const zones = 14 * time.Hour

// dayLiteral returns the literal of a date. ok is false if the text is not a date.
func dayLiteral(text string) (_ literal, ok bool) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return literal{}, false
	}
	days := day.Unix() / (24 * 3600)
	return literal{days, days}, true
}

// timeLayouts are the forms of times without a zone.
var timeLayouts = []string{"2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// timeLiteral returns the literal of a time. ok is false if the text is not a time.
func timeLiteral(text string) (_ literal, ok bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			// Times of the tables have microseconds.
			return literal{at.UnixMicro(), at.Add(time.Microsecond - 1).UnixMicro()}, true
		}
	}
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return literal{at.Add(-zones).UnixMicro(), at.Add(zones).UnixMicro()}, true
		}
	}
	return literal{}, false
}

// integerLiteral returns the literal of a number without fraction, of the given size. ok is false if the text is not
// such a number.
func integerLiteral(text string, bits int) (_ literal, ok bool) {
	n, err := strconv.ParseInt(text, 10, bits)
	return literal{n, n}, err == nil
}

// numberLiteral returns the literal of a number. ok is false if the text is not a finite number.
func numberLiteral(text string) (_ literal, ok bool) {
	n, err := strconv.ParseFloat(text, 64)
	return literal{n, n}, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

// columnNamed returns the column of an export by its name, in upper or lower case. ok is false if the export lacks it.
func columnNamed(export schema.Export, name string) (_ schema.Column, ok bool) {
	for _, column := range export.Columns {
		if strings.EqualFold(column.Name, name) {
			return column, true
		}
	}
	return schema.Column{}, false
}
