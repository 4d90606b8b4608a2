package worker

import (
	"fmt"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/encode"
)

// typeNames are the names of the types that results can have, without their parameters.
var typeNames = map[duckdb.Type]string{
	duckdb.TypeArray: "ARRAY", duckdb.TypeBigInt: "BIGINT", duckdb.TypeBigNum: "BIGNUM", duckdb.TypeBit: "BIT",
	duckdb.TypeBlob: "BLOB", duckdb.TypeBoolean: "BOOLEAN", duckdb.TypeDate: "DATE", duckdb.TypeDecimal: "DECIMAL",
	duckdb.TypeDouble: "DOUBLE", duckdb.TypeEnum: "ENUM", duckdb.TypeFloat: "FLOAT", duckdb.TypeHugeInt: "HUGEINT",
	duckdb.TypeInteger: "INTEGER", duckdb.TypeInterval: "INTERVAL", duckdb.TypeList: "LIST", duckdb.TypeMap: "MAP",
	duckdb.TypeSQLNull: `"NULL"`, duckdb.TypeSmallInt: "SMALLINT", duckdb.TypeStruct: "STRUCT", duckdb.TypeTime: "TIME",
	duckdb.TypeTimeNS: "TIME_NS", duckdb.TypeTimeTZ: "TIME WITH TIME ZONE", duckdb.TypeTimestamp: "TIMESTAMP",
	duckdb.TypeTimestampMS: "TIMESTAMP_MS", duckdb.TypeTimestampNS: "TIMESTAMP_NS", duckdb.TypeTimestampS: "TIMESTAMP_S",
	duckdb.TypeTimestampTZ: "TIMESTAMP WITH TIME ZONE", duckdb.TypeTinyInt: "TINYINT", duckdb.TypeUBigInt: "UBIGINT",
	duckdb.TypeUHugeInt: "UHUGEINT", duckdb.TypeUInteger: "UINTEGER", duckdb.TypeUSmallInt: "USMALLINT",
	duckdb.TypeUTinyInt: "UTINYINT", duckdb.TypeUUID: "UUID", duckdb.TypeUnion: "UNION", duckdb.TypeVarchar: "VARCHAR",
}

// typeOf returns a type of DuckDB's. It returns an error for a type that the check of statements does not allow, such
// as GEOMETRY.
func typeOf(t duckdb.LogicalType) (*encode.Type, error) {
	id := duckdb.GetTypeId(t)
	name, ok := typeNames[id]
	if !ok {
		return nil, fmt.Errorf("no format holds DuckDB's type %d", id)
	}
	typ := &encode.Type{ID: name}
	if alias := duckdb.LogicalTypeGetAlias(t); alias != "" && id == duckdb.TypeVarchar { // JSON
		typ.ID = alias
	}
	member := func(name string, of duckdb.LogicalType) error {
		defer duckdb.DestroyLogicalType(&of)
		child, err := typeOf(of)
		typ.Members = append(typ.Members, encode.Member{Name: name, Type: child})
		return err
	}
	var err error
	switch id {
	case duckdb.TypeDecimal:
		typ.Width, typ.Scale = int(duckdb.DecimalWidth(t)), int(duckdb.DecimalScale(t))
	case duckdb.TypeList:
		err = member("element", duckdb.ListTypeChildType(t))
	case duckdb.TypeArray:
		typ.Size = int(duckdb.ArrayTypeArraySize(t))
		err = member("element", duckdb.ArrayTypeChildType(t))
	case duckdb.TypeMap:
		if err = member("key", duckdb.MapTypeKeyType(t)); err == nil {
			err = member("value", duckdb.MapTypeValueType(t))
		}
	case duckdb.TypeStruct:
		for i := duckdb.IdxT(0); i < duckdb.StructTypeChildCount(t) && err == nil; i++ {
			err = member(duckdb.StructTypeChildName(t, i), duckdb.StructTypeChildType(t, i))
		}
	case duckdb.TypeUnion:
		for i := duckdb.IdxT(0); i < duckdb.UnionTypeMemberCount(t) && err == nil; i++ {
			err = member(duckdb.UnionTypeMemberName(t, i), duckdb.UnionTypeMemberType(t, i))
		}
	}
	return typ, err
}
