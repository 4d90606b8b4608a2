package filereader

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go/format"
)

// withIntegers returns a type with integers for durations, as Parquet stores it.
func withIntegers(typ arrow.DataType) arrow.DataType {
	field := func(from arrow.Field) arrow.Field {
		from.Type = withIntegers(from.Type)
		return from
	}
	switch typ := typ.(type) {
	case *arrow.DurationType:
		return arrow.PrimitiveTypes.Int64
	case *arrow.StructType:
		fields := typ.Fields()
		for i := range fields {
			fields[i] = field(fields[i])
		}
		return arrow.StructOf(fields...)
	case *arrow.MapType:
		return arrow.MapOf(typ.KeyType(), withIntegers(typ.ItemType()))
	case arrow.ListLikeType:
		return arrow.ListOf(withIntegers(typ.Elem()))
	}
	return typ
}

func TestAsStored_DurationsAtAnyDepth(t *testing.T) {
	metadata, seconds := column{name: "metadata", typ: "JSON"}, column{name: "duration_seconds", typ: "INTEGER"}
	ms, ns := arrow.FixedWidthTypes.Duration_ms, arrow.FixedWidthTypes.Duration_ns
	fields := arrow.StructOf(arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: "length", Type: ms, Nullable: true})
	for name, test := range map[string]struct {
		stored arrow.DataType
		values string // JSON of the integers
		field  column
		want   string
	}{
		"seconds":      {arrow.FixedWidthTypes.Duration_s, `[67, null]`, seconds, `{"duration_seconds":"67"}` + "\n{}"},
		"milliseconds": {ms, `[67500]`, seconds, `{"duration_seconds":"67.5"}`},
		"microseconds": {arrow.FixedWidthTypes.Duration_us, `[-1]`, seconds, `{"duration_seconds":"-0.000001"}`},
		"nanoseconds":  {ns, `[67000000001]`, seconds, `{"duration_seconds":"67.000000001"}`},
		"minutes":      {ns, `[90000000000]`, column{name: "stt_minutes", typ: "DOUBLE"}, `{"stt_minutes":"1.5"}`},
		"list":         {arrow.ListOf(ms), `[[1500], null]`, metadata, `{"metadata":[1.5]}` + "\n{}"},
		"large list":   {arrow.LargeListOf(ns), `[[1500000000, null]]`, metadata, `{"metadata":[1.5,null]}`},
		"struct":       {fields, `[{"n": 7, "length": 1500}]`, metadata, `{"metadata":{"n":7,"length":1.5}}`},
		"list of structs": {arrow.ListOf(fields), `[[{"n": 7, "length": 1}]]`, metadata,
			`{"metadata":[{"n":7,"length":0.001}]}`},
		"map": {arrow.MapOf(arrow.BinaryTypes.String, ms), `[[{"key": "a", "value": 1500}]]`, metadata,
			`{"metadata":{"a":1.5}}`},
		"another shape": {arrow.ListOf(arrow.ListOf(ms)), `[[1500]]`, metadata, `{"metadata":[1500]}`},
	} {
		t.Run(name, func(t *testing.T) {
			typ := withIntegers(test.stored)
			if name == "another shape" {
				typ = arrow.ListOf(arrow.PrimitiveTypes.Int64)
			}
			values, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(test.values))
			noError(t, err)
			defer values.Release()
			test.field.stored = test.stored
			if got := rowsOf(t, values, test.field); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestStoredTypes_ReturnsColumnsWithDurations(t *testing.T) {
	var message bytes.Buffer
	noError(t, ipc.NewWriter(&message, ipc.WithSchema(arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "duration", Type: arrow.ListOf(arrow.FixedWidthTypes.Duration_ns)},
	}, nil))).Close())
	valid := base64.StdEncoding.EncodeToString(message.Bytes())
	for name, test := range map[string]struct {
		key, value string
		want       int
	}{
		"schema":           {"ARROW:schema", valid, 1},
		"another key":      {"pandas", valid, 0},
		"not Base64":       {"ARROW:schema", "?", 0},
		"not a schema":     {"ARROW:schema", base64.StdEncoding.EncodeToString([]byte("schema")), 0},
		"part of a schema": {"ARROW:schema", valid[:len(valid)/2], 0},
	} {
		metadata := &format.FileMetaData{}
		metadata.KeyValueMetadata = append(metadata.KeyValueMetadata, format.KeyValue{Key: test.key, Value: test.value})
		if types := storedTypes(metadata); len(types) != test.want {
			t.Errorf("%s: got %v, want %d types", name, types, test.want)
		}
	}
}
