package worker

import (
	"errors"
	"fmt"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// errUnsupportedType reports a type that Arrow, and so every format, cannot hold without loss.
var errUnsupportedType = errors.New("no format holds the type")

// simpleTypes are the names of types without parameters.
var simpleTypes = map[duckdb.Type]string{
	duckdb.TypeBoolean: "BOOLEAN", duckdb.TypeTinyInt: "TINYINT", duckdb.TypeSmallInt: "SMALLINT",
	duckdb.TypeInteger: "INTEGER", duckdb.TypeBigInt: "BIGINT", duckdb.TypeUTinyInt: "UTINYINT",
	duckdb.TypeUSmallInt: "USMALLINT", duckdb.TypeUInteger: "UINTEGER", duckdb.TypeUBigInt: "UBIGINT",
	duckdb.TypeFloat: "FLOAT", duckdb.TypeDouble: "DOUBLE", duckdb.TypeTimestamp: "TIMESTAMP", duckdb.TypeDate: "DATE",
	duckdb.TypeTime: "TIME", duckdb.TypeInterval: "INTERVAL", duckdb.TypeHugeInt: "HUGEINT",
	duckdb.TypeVarchar: "VARCHAR", duckdb.TypeBlob: "BLOB", duckdb.TypeTimestampS: "TIMESTAMP_S",
	duckdb.TypeTimestampMS: "TIMESTAMP_MS", duckdb.TypeTimestampNS: "TIMESTAMP_NS", duckdb.TypeUUID: "UUID",
	duckdb.TypeTimestampTZ: "TIMESTAMP WITH TIME ZONE", duckdb.TypeSQLNull: `"NULL"`, duckdb.TypeEnum: "ENUM",
}

// lossyTypes are the names of types that DuckDB exports to Arrow as another type.
var lossyTypes = map[duckdb.Type]string{
	duckdb.TypeUHugeInt: "UHUGEINT", duckdb.TypeBit: "BIT", duckdb.TypeTimeTZ: "TIME WITH TIME ZONE",
	duckdb.TypeBigNum: "BIGNUM",
}

// typeName returns the name of a type as DuckDB's DESCRIBE shows it, with two exceptions: an ENUM's values are left
// out, and member names are always quoted. It returns errUnsupportedType, with a name, if no format can hold the type.
func typeName(t duckdb.LogicalType) (string, error) {
	id := duckdb.GetTypeId(t)
	if alias := duckdb.LogicalTypeGetAlias(t); alias != "" && id == duckdb.TypeVarchar { // JSON
		return alias, nil
	}
	child := func(of duckdb.LogicalType) (string, error) {
		defer duckdb.DestroyLogicalType(&of)
		return typeName(of)
	}
	switch id {
	case duckdb.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", duckdb.DecimalWidth(t), duckdb.DecimalScale(t)), nil
	case duckdb.TypeList:
		name, err := child(duckdb.ListTypeChildType(t))
		return name + "[]", err
	case duckdb.TypeArray:
		name, err := child(duckdb.ArrayTypeChildType(t))
		return fmt.Sprintf("%s[%d]", name, duckdb.ArrayTypeArraySize(t)), err
	case duckdb.TypeMap:
		key, keyErr := child(duckdb.MapTypeKeyType(t))
		value, err := child(duckdb.MapTypeValueType(t))
		return "MAP(" + key + ", " + value + ")", errors.Join(keyErr, err)
	case duckdb.TypeStruct:
		return memberTypes("STRUCT", duckdb.StructTypeChildCount(t),
			func(i duckdb.IdxT) string { return duckdb.StructTypeChildName(t, i) },
			func(i duckdb.IdxT) (string, error) { return child(duckdb.StructTypeChildType(t, i)) })
	case duckdb.TypeUnion:
		return memberTypes("UNION", duckdb.UnionTypeMemberCount(t),
			func(i duckdb.IdxT) string { return duckdb.UnionTypeMemberName(t, i) },
			func(i duckdb.IdxT) (string, error) { return child(duckdb.UnionTypeMemberType(t, i)) })
	}
	if name, ok := simpleTypes[id]; ok {
		return name, nil
	}
	if name, ok := lossyTypes[id]; ok {
		return name, errUnsupportedType
	}
	return "another", errUnsupportedType
}

// memberTypes returns the name of a STRUCT or UNION type with the names and types of its members.
func memberTypes(
	kind string, count duckdb.IdxT, name func(duckdb.IdxT) string, typ func(duckdb.IdxT) (string, error),
) (string, error) {
	var all []string
	var errs []error
	for i := range count {
		of, err := typ(i)
		errs = append(errs, err)
		all = append(all, `"`+strings.ReplaceAll(name(i), `"`, `""`)+`" `+of)
	}
	return kind + "(" + strings.Join(all, ", ") + ")", errors.Join(errs...)
}
