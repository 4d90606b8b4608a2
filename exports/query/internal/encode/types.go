package encode

import (
	"fmt"
	"slices"
	"strings"
)

// A Type is the DuckDB type of a column, a member or an element. An [arrow.DataType] does not have all of it: JSON is a
// text there, and a UUID is 16 bytes.
type Type struct {
	ID      string   // name without parameters, such as INTEGER, DECIMAL or LIST
	Width   int      // digits of a DECIMAL
	Scale   int      // digits of a DECIMAL after the point
	Size    int      // elements of an ARRAY
	Members []Member // the element of a LIST or ARRAY, the key and the value of a MAP, the members of a STRUCT or UNION
}

// A Member is a part of a nested type.
type Member struct {
	Name string
	Type *Type
}

// Types with a representation of their own. The others are named in typeNames of package worker only.
const (
	typeArray   = "ARRAY"
	typeBigNum  = "BIGNUM"
	typeBit     = "BIT"
	typeBoolean = "BOOLEAN"
	typeDate    = "DATE"
	typeDecimal = "DECIMAL"
	typeHugeInt = "HUGEINT"
	typeJSON    = "JSON"
	typeList    = "LIST"
	typeMap     = "MAP"
	typeStruct  = "STRUCT"
	typeTimeTZ  = "TIME WITH TIME ZONE"
	typeUHuge   = "UHUGEINT"
	typeUnion   = "UNION"
	typeUUID    = "UUID"
	typeVarchar = "VARCHAR"
)

// String returns the name as DuckDB's DESCRIBE shows it, with two exceptions: an ENUM's values are left out, and member
// names are always quoted.
func (t *Type) String() string {
	switch t.ID {
	case typeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Width, t.Scale)
	case typeList:
		return t.Members[0].Type.String() + "[]"
	case typeArray:
		return fmt.Sprintf("%s[%d]", t.Members[0].Type, t.Size)
	case typeMap:
		return fmt.Sprintf("MAP(%s, %s)", t.Members[0].Type, t.Members[1].Type)
	case typeStruct, typeUnion:
		members := make([]string, len(t.Members))
		for i, m := range t.Members {
			members[i] = `"` + strings.ReplaceAll(m.Name, `"`, `""`) + `" ` + m.Type.String()
		}
		return t.ID + "(" + strings.Join(members, ", ") + ")"
	}
	return t.ID
}

// Contains reports whether the type is, or has at any depth, the type with the given ID.
func (t *Type) Contains(id string) bool {
	return t.ID == id || slices.ContainsFunc(t.Members, func(m Member) bool { return m.Type.Contains(id) })
}

// A Column is a column of a result.
type Column struct {
	Name string
	Type *Type
}

// columnNames returns the names of the columns, made unique by uniqueNames.
func columnNames(columns []Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return uniqueNames(names)
}

// memberNames returns the names of the members, made unique by uniqueNames: those of row(1, 2) are empty.
func (t *Type) memberNames() []string {
	names := make([]string, len(t.Members))
	for i, m := range t.Members {
		names[i] = m.Name
	}
	return uniqueNames(names)
}

// uniqueNames returns names that are all different and not empty, as objects and Arrow and Parquet readers need them.
// An empty name becomes fN, with the position from 1. A name that occurred before gets the suffix _N.
func uniqueNames(names []string) []string {
	unique, taken := make([]string, len(names)), map[string]bool{} // true if the name is in unique
	for i, name := range names {
		if unique[i] = name; name == "" {
			unique[i] = fmt.Sprintf("f%d", i+1)
		}
		taken[unique[i]] = false
	}
	for i, name := range unique {
		for n := 1; taken[unique[i]]; n++ {
			candidate := fmt.Sprintf("%s_%d", name, n)
			if _, occurs := taken[candidate]; !occurs {
				unique[i] = candidate
			}
		}
		taken[unique[i]] = true
	}
	return unique
}
