package sharing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// node is an operation of a predicate in the JSON form of the protocol.
type node struct {
	Op        string `json:"op"`
	Children  []node `json:"children"`
	Name      string `json:"name"`
	Value     any    `json:"value"`
	ValueType string `json:"valueType"`
}

// comparisons are the operations that compare two leaves.
var comparisons = map[string]comparison{
	"equal": equal, "lessThan": less, "lessThanOrEqual": lessOrEqual, "greaterThan": greater,
	"greaterThanOrEqual": greaterOrEqual,
}

// parseJSON returns the predicate of a hint in JSON. ok is false if any part of it is invalid: the protocol requires
// that no file is left out then.
func parseJSON(text string, export schema.Export) (_ predicate, ok bool) {
	var root node
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&root) != nil {
		return nil, false
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return root.predicate(export)
}

func (n node) predicate(export schema.Export) (_ predicate, ok bool) {
	switch n.Op {
	case "and", "or", "not":
		children := make([]predicate, len(n.Children))
		for i, child := range n.Children {
			if children[i], ok = child.predicate(export); !ok {
				return nil, false
			}
		}
		switch {
		case n.Op == "not" && len(children) == 1:
			return not(children[0]), true
		case n.Op == "and" && len(children) > 1:
			return all(children), true
		case n.Op == "or" && len(children) > 1:
			return anyOf(children), true
		}
		return nil, false
	case "isNull":
		if len(n.Children) != 1 || n.Children[0].Op != "column" {
			return nil, false
		}
		column, ok := columnNamed(export, n.Children[0].Name)
		return isNull(column), ok
	}
	op, ok := comparisons[n.Op]
	if !ok || len(n.Children) != 2 {
		return nil, false
	}
	left, right := n.Children[0], n.Children[1]
	if left.Op == "literal" {
		left, right, op = right, left, op.swapped()
	}
	column, ok := columnNamed(export, left.Name)
	if left.Op != "column" || right.Op != "literal" || !ok {
		return nil, false
	}
	with, ok := right.literal(column)
	if left.ValueType != right.ValueType {
		with = literal{} // the client converts one of them in a way that the protocol does not define
	}
	p := compares(column, op, with)
	if right.ValueType == "int" && column.Type == "BIGINT" {
		p = ifFits(column, p)
	}
	return p, ok
}

// ifFits returns the predicate p for files in which the column has values of 32 bits only. The client converts the
// values of the column to that type.
func ifFits(column schema.Column, p predicate) predicate {
	return func(ranges map[string]columnRange) outcomes {
		r := ranges[strings.ToLower(column.Name)]
		if before(int64(math.MinInt32), r.lower, true) && before(r.upper, int64(math.MaxInt32), true) {
			return p(ranges)
		}
		return unknown
	}
}

// literal returns the literal of a leaf that is compared with the column. The literal has no value if the column cannot
// be compared with the type of the leaf. ok is false if the value does not have the type.
func (n node) literal(column schema.Column) (with literal, ok bool) {
	if n.Value == nil {
		return literal{}, false
	}
	text, types := fmt.Sprint(n.Value), ""
	switch typ := strings.ToLower(n.ValueType); {
	case typ == "bool", typ == "boolean":
		types = "BOOLEAN"
		switch strings.ToLower(text) {
		case "true":
			with, ok = literal{int64(1), int64(1)}, true
		case "false":
			with, ok = literal{int64(0), int64(0)}, true
		}
	case typ == "int", typ == "integer":
		types = "INTEGER BIGINT"
		with, ok = integerLiteral(text, 32)
	case typ == "long":
		types = "INTEGER BIGINT"
		with, ok = integerLiteral(text, 64)
	case typ == "double", strings.HasPrefix(typ, "decimal"):
		types = "INTEGER BIGINT DOUBLE DECIMAL"
		with, ok = numberLiteral(text)
	case typ == "float": // the client rounds the values of the column
		_, ok = numberLiteral(text)
	case typ == "string":
		types, with, ok = "VARCHAR JSON", literal{text, text}, true
	case typ == "date":
		types = "DATE"
		with, ok = dayLiteral(text)
	case typ == "timestamp":
		types = "TIMESTAMP"
		with, ok = timeLiteral(text)
	}
	name, _, _ := strings.Cut(column.Type, "(")
	name, _, _ = strings.Cut(name, " ") // without the time zone
	if !strings.Contains(types, name) {
		with = literal{}
	}
	return with, ok
}
