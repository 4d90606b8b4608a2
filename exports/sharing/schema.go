package sharing

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// field is a field of a table or of a struct in the JSON form of Spark's types. All fields are nullable, because those
// of the Parquet files are.
type field struct {
	Name     string            `json:"name"`
	Type     any               `json:"type"` // text of a primitive type, arrayType or structType
	Nullable bool              `json:"nullable"`
	Metadata map[string]string `json:"metadata"`
}

type structType struct {
	Type   string  `json:"type"` // struct
	Fields []field `json:"fields"`
}

type arrayType struct {
	Type         string `json:"type"` // array
	ElementType  any    `json:"elementType"`
	ContainsNull bool   `json:"containsNull"`
}

// SchemaString returns the schema of an export's table as JSON.
func SchemaString(export schema.Export) string {
	s := structType{Type: "struct"}
	for _, column := range export.Columns {
		s.Fields = append(s.Fields, field{Name: column.Name, Type: typeOf(column.Field, column.Type), Nullable: true,
			Metadata: map[string]string{"comment": column.Comment()}})
	}
	return string(encode(s))
}

// primitives are Delta's types of DuckDB's types. Delta has no type for JSON, which is text.
var primitives = map[string]string{
	"VARCHAR": "string", "JSON": "string", "BOOLEAN": "boolean", "INTEGER": "integer", "BIGINT": "long",
	"DOUBLE": "double", "DATE": "date", "TIMESTAMP WITH TIME ZONE": "timestamp",
}

// typeOf returns Delta's type of a field with the DuckDB type. It panics if the type has no counterpart, which a test
// of all exports finds.
func typeOf(f schema.Field, duckdb string) any {
	if element, ok := strings.CutSuffix(duckdb, "[]"); ok {
		return arrayType{Type: "array", ElementType: typeOf(f.Members[0], element), ContainsNull: true}
	}
	if members, ok := strings.CutPrefix(duckdb, "STRUCT("); ok {
		s := structType{Type: "struct"}
		for i, member := range strings.Split(strings.TrimSuffix(members, ")"), ", ") {
			_, typ, _ := strings.Cut(member, " ")
			s.Fields = append(s.Fields, field{Name: f.Members[i].Name, Type: typeOf(f.Members[i], typ), Nullable: true,
				Metadata: map[string]string{}})
		}
		return s
	}
	if strings.HasPrefix(duckdb, "DECIMAL(") {
		return strings.ToLower(duckdb)
	}
	if name, ok := primitives[duckdb]; ok {
		return name
	}
	panic(fmt.Sprintf("sharing: no type for %s %s", f.Name, duckdb))
}

// encode returns the value as JSON, without escapes for HTML: URLs stay readable.
func encode(value any) []byte {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // the types of this package always encode
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
