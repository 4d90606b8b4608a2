package iceberg

import (
	"bytes"
	"encoding/binary"
)

// avroWriter encodes values in Avro's binary encoding (Avro 1.12, "Binary encoding").
type avroWriter struct{ bytes.Buffer }

// long writes an int or a long.
func (w *avroWriter) long(n int64) { w.Write(binary.AppendVarint(nil, n)) }

// text writes a string or bytes.
func (w *avroWriter) text(s []byte) {
	w.long(int64(len(s)))
	w.Write(s)
}

func (w *avroWriter) boolean(b bool) {
	if b {
		w.WriteByte(1)
	} else {
		w.WriteByte(0)
	}
}

// The branches of a union of null and another type.
const (
	isNull  = 0
	isValue = 1
)

// list writes an array of n elements, or null if it is empty.
func (w *avroWriter) list(n int, element func(i int)) {
	if n == 0 {
		w.long(isNull)
		return
	}
	w.long(isValue)
	w.long(int64(n))
	for i := range n {
		element(i)
	}
	w.long(0) // no further block
}

// syncMarker separates the blocks of an Avro file. It is constant, so that the same content gives the same bytes.
const syncMarker = "voicory  iceberg"

// avroFile returns an Avro object container file without compression. properties are pairs of names and values of the
// file's metadata. records holds count encoded records.
func avroFile(schema string, properties []string, count int, records []byte) []byte {
	var w avroWriter
	w.WriteString("Obj\x01")
	properties = append([]string{"avro.schema", schema, "avro.codec", "null"}, properties...)
	w.long(int64(len(properties) / 2))
	for _, text := range properties {
		w.text([]byte(text))
	}
	w.long(0)
	w.WriteString(syncMarker)
	if count > 0 {
		w.long(int64(count))
		w.text(records)
		w.WriteString(syncMarker)
	}
	return w.Bytes()
}
