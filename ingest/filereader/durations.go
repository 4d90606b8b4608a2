package filereader

import (
	"bytes"
	"encoding/base64"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/parquet-go/parquet-go/format"
)

// Parquet has no type of durations. The writers of Arrow store them as plain integers, and name the unit in a schema of
// Arrow in the metadata of the file. An integer without such metadata is a number of seconds.

// storedTypes returns the types of the columns of a Parquet file, by name, if they contain durations. It returns none
// if the schema of Arrow cannot be read, because the columns can be read without it.
func storedTypes(metadata *format.FileMetaData) (types map[string]arrow.DataType) {
	defer func() { // the Arrow library panics on an invalid schema
		if recover() != nil {
			types = nil
		}
	}()
	types = map[string]arrow.DataType{}
	for _, pair := range metadata.KeyValueMetadata {
		if pair.Key != "ARROW:schema" {
			continue
		}
		message, err := base64.StdEncoding.DecodeString(pair.Value)
		if err != nil {
			return nil
		}
		stream, err := ipc.NewReader(bytes.NewReader(message))
		if err != nil {
			return nil
		}
		for _, field := range stream.Schema().Fields() {
			if hasDurations(field.Type) {
				types[field.Name] = field.Type
			}
		}
		stream.Release()
	}
	return types
}

// hasDurations reports whether a type is a duration or contains one.
func hasDurations(typ arrow.DataType) bool {
	switch typ := typ.(type) {
	case *arrow.DurationType:
		return true
	case arrow.NestedType:
		for _, field := range typ.Fields() {
			if hasDurations(field.Type) {
				return true
			}
		}
	}
	return false
}

// asStored returns a column of integers, or of values that contain integers, with the durations of the type that its
// writer stored. The caller must release the result.
func asStored(column arrow.Array, stored arrow.DataType) arrow.Array {
	data := dataAsStored(column.Data(), stored)
	defer data.Release()
	return array.MakeFromData(data)
}

// dataAsStored returns data in which integers have the duration types that the type stored has at the same places.
// Nested parts whose structure differs from that of stored are not changed.
func dataAsStored(data arrow.ArrayData, stored arrow.DataType) arrow.ArrayData {
	var typ arrow.DataType
	var children []arrow.ArrayData
	switch from := data.DataType().(type) {
	case *arrow.Int64Type:
		if stored.ID() == arrow.DURATION {
			typ = stored
		}
	case arrow.NestedType:
		nested, ok := stored.(arrow.NestedType)
		fields := from.Fields()
		if !ok || !hasDurations(stored) || nested.NumFields() != len(fields) {
			break
		}
		for i, child := range data.Children() {
			changed := dataAsStored(child, nested.Fields()[i].Type)
			defer changed.Release()
			children = append(children, changed)
			fields[i].Type = changed.DataType()
		}
		switch from.(type) {
		case *arrow.StructType:
			typ = arrow.StructOf(fields...)
		case *arrow.ListType:
			typ = arrow.ListOfField(fields[0])
		case *arrow.MapType:
			pair := fields[0].Type.(*arrow.StructType)
			typ = arrow.MapOf(pair.Field(0).Type, pair.Field(1).Type)
		}
	}
	if typ == nil {
		data.Retain()
		return data
	}
	return array.NewData(typ, data.Len(), data.Buffers(), children, data.NullN(), data.Offset())
}
