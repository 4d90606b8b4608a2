package iceberg

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// field is a field of a table or of a struct, as table metadata describes it. All fields are optional, because those
// of the Parquet files are.
type field struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Required bool   `json:"required"`
	Type     any    `json:"type"` // text of a primitive type, listType or structType
	Doc      string `json:"doc,omitempty"`
}

type structType struct {
	Type   string  `json:"type"` // struct
	Fields []field `json:"fields"`
}

type listType struct {
	Type            string `json:"type"` // list
	ElementID       int    `json:"element-id"`
	Element         any    `json:"element"`
	ElementRequired bool   `json:"element-required"`
}

type tableSchema struct {
	structType
	ID int `json:"schema-id"`
}

// schemaOf returns the schema of an export's table. The numbers of fields are those of the Parquet files.
func schemaOf(export schema.Export) tableSchema {
	s := tableSchema{structType: structType{Type: "struct"}}
	for _, column := range export.Columns {
		s.Fields = append(s.Fields, field{
			ID: column.ID, Name: column.Name, Type: typeOf(column.Field, column.Type), Doc: column.Comment(),
		})
	}
	return s
}

// primitives are the Iceberg types of DuckDB's types. Iceberg has no type for JSON, which is text.
var primitives = map[string]string{
	"VARCHAR": "string", "JSON": "string", "BOOLEAN": "boolean", "INTEGER": "int", "BIGINT": "long", "DOUBLE": "double",
	"DATE": "date", "TIMESTAMP WITH TIME ZONE": "timestamptz",
}

// typeOf returns the Iceberg type of a field with the DuckDB type. It panics if the type has no counterpart, which a
// test of all exports finds.
func typeOf(f schema.Field, duckdb string) any {
	if element, ok := strings.CutSuffix(duckdb, "[]"); ok {
		return listType{Type: "list", ElementID: f.Members[0].ID, Element: typeOf(f.Members[0], element)}
	}
	if members, ok := strings.CutPrefix(duckdb, "STRUCT("); ok {
		s := structType{Type: "struct"}
		for i, member := range strings.Split(strings.TrimSuffix(members, ")"), ", ") {
			_, typ, _ := strings.Cut(member, " ")
			s.Fields = append(s.Fields, field{ID: f.Members[i].ID, Name: f.Members[i].Name, Type: typeOf(f.Members[i], typ)})
		}
		return s
	}
	if digits, ok := strings.CutPrefix(duckdb, "DECIMAL("); ok {
		return "decimal(" + strings.ReplaceAll(digits, ",", ", ")
	}
	if name, ok := primitives[duckdb]; ok {
		return name
	}
	panic(fmt.Sprintf("iceberg: no type for %s %s", f.Name, duckdb))
}

// largestID returns the largest number of a field.
func (s tableSchema) largestID() int { return largestID(s.structType) }

// largestID returns the largest number of a field in a type, or 0 for a primitive type.
func largestID(typ any) (largest int) {
	switch typ := typ.(type) {
	case structType:
		for _, f := range typ.Fields {
			largest = max(largest, f.ID, largestID(f.Type))
		}
	case listType:
		largest = max(typ.ElementID, largestID(typ.Element))
	}
	return largest
}

// partitionField is a partition field of a table: the month of a time or day, or the tenant.
type partitionField struct {
	SourceID  int    `json:"source-id"`
	ID        int    `json:"field-id"`
	Name      string `json:"name"`
	Transform string `json:"transform"`
}

// partitionID is the number of the first partition field. Numbers of partition fields begin with 1000.
const partitionID = 1000

// partitionOf returns the partition fields of an export's table: one, or none if the export has one file for all
// months. An export without created_at has the day of its rows.
func partitionOf(export schema.Export) []partitionField {
	if !export.Source.Monthly {
		return []partitionField{}
	}
	at := slices.IndexFunc(export.Columns, func(c schema.Column) bool { return c.Name == "created_at" || c.Name == "day" })
	column := export.Columns[at]
	return []partitionField{{SourceID: column.ID, ID: partitionID, Name: column.Name + "_month", Transform: "month"}}
}

// tenantField is the column of the table of all tenants that its files do not have: engines take its value from the
// partition of a file. Its number is larger than those of all columns of exports.
var tenantField = field{ID: 10_000, Name: "tenant_id", Type: "string", Doc: "Tenant of the row."}

// isTenant reports whether the partition field is the tenant.
func (p partitionField) isTenant() bool { return p.SourceID == tenantField.ID }

// encode returns the value as JSON.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // the types of this package always encode
	}
	return text
}
