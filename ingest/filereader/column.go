package filereader

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/values"
)

// A column is a column of the file that fills a field of the dataset.
type column struct {
	index int    // of the column in the batches, from 0
	name  string // of the field; needs no escapes in JSON
	typ   string // type of the field
	uuids bool   // values of 16 bytes are UUIDs
	texts bool   // values of the file are JSON, and the field does not hold JSON
	// stored is the type that the writer of a Parquet file gave to the column, if it contains durations; else nil.
	stored arrow.DataType
}

// writeBatch writes the rows of a batch. Null values are left out.
func (w *rowWriter) writeBatch(batch arrow.RecordBatch, columns []column) error {
	arrays := make([]arrow.Array, len(columns))
	for n, column := range columns {
		arrays[n] = batch.Column(column.index)
		if column.stored != nil {
			arrays[n] = asStored(arrays[n], column.stored)
			defer arrays[n].Release()
		}
	}
	for i := range int(batch.NumRows()) {
		w.row, w.defect = append(w.row[:0], '{'), ""
		for n, column := range columns {
			length := len(w.row)
			if length > 1 {
				w.row = append(w.row, ',')
			}
			w.row = append(append(append(w.row, '"'), column.name...), `":`...)
			encoder := valueEncoder{row: w.row, column: column}
			if encoder.top(arrays[n], i); encoder.null {
				w.row = w.row[:length]
				continue
			}
			w.row = encoder.row
			if w.defect == "" && encoder.notText {
				w.defect = column.name + " is not UTF-8 text"
			}
		}
		w.row = append(w.row, '}')
		if err := w.write(); err != nil {
			return err
		}
	}
	return nil
}

// A valueEncoder appends a value of an Arrow array to a row as JSON. The same value has the same JSON in every format.
type valueEncoder struct {
	row     []byte
	column  column
	null    bool // the value of the column is missing
	notText bool // bytes of the value are not text
}

// top appends the value of the column itself. A field that holds JSON accepts it as a text, too.
func (e *valueEncoder) top(from arrow.Array, i int) {
	from, i = resolve(from, i)
	if e.null = from.IsNull(i); e.null {
		return
	}
	text, isText := e.text(from, i)
	switch {
	case isText && e.column.typ == "JSON":
		e.null = !e.appendJSON(text)
	case isText && e.column.texts:
		e.appendUnquoted(text)
	case isText:
		e.row = appendText(e.row, text)
	case e.column.typ == "JSON":
		e.append(from, i)
	default:
		e.scalar(from, i)
	}
}

// scalar appends a value for a field that does not hold JSON. A number is a text with all of its digits.
func (e *valueEncoder) scalar(from arrow.Array, i int) {
	start := len(e.row)
	number, isNumber := e.number(from, i)
	switch {
	case isNumber && e.column.typ == "VARCHAR":
		e.null = endless(number)
		e.row = appendText(e.row, values.PlainNumber(number))
	case isNumber:
		e.row = appendText(e.row, number)
	default:
		e.append(from, i)
	}
	if written := e.row[start:]; written[0] == '[' || written[0] == '{' { // a list or a struct is a text of JSON
		e.row = appendText(e.row[:start], string(written))
	}
}

// appendJSON appends a text that holds JSON as this JSON, and another text as a string. It returns false for a blank
// text and for null.
func (e *valueEncoder) appendJSON(text string) bool {
	if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed == "null" {
		return false
	}
	if compact := bytes.NewBuffer(e.row); json.Compact(compact, []byte(text)) == nil {
		e.row = compact.Bytes()
	} else {
		e.row = appendText(e.row, text)
	}
	return true
}

// appendUnquoted appends the value of a text that holds JSON: the text of a JSON string, and another value as it is.
func (e *valueEncoder) appendUnquoted(text string) {
	var plain *string
	if json.Unmarshal([]byte(text), &plain) != nil {
		plain = &text
	}
	if e.null = plain == nil; !e.null {
		e.row = appendText(e.row, *plain)
	}
}

// resolve returns the array and the position of the value itself, if from is a dictionary, an extension, a union or
// run-end encoded.
func resolve(from arrow.Array, i int) (arrow.Array, int) {
	for {
		switch a := from.(type) {
		case *array.Dictionary:
			if a.IsNull(i) {
				return a, i
			}
			from, i = a.Dictionary(), a.GetValueIndex(i)
		case *array.RunEndEncoded:
			from, i = a.Values(), a.GetPhysicalIndex(i)
		case *array.SparseUnion:
			from = a.Field(a.ChildID(i))
		case *array.DenseUnion:
			from, i = a.Field(a.ChildID(i)), int(a.ValueOffset(i))
		case array.ExtensionArray:
			from = a.Storage()
		default:
			return from, i
		}
	}
}

// text returns the value of an array of texts or bytes. Bytes that are not UTF-8 set notText, except the 16 bytes of a
// UUID.
func (e *valueEncoder) text(from arrow.Array, i int) (text string, ok bool) {
	var content []byte
	switch a := from.(type) {
	case interface{ Value(int) string }:
		content = []byte(a.Value(i))
	case interface{ Value(int) []byte }:
		content = a.Value(i)
	default:
		return "", false
	}
	if id, err := uuid.FromBytes(content); err == nil && e.column.uuids {
		return id.String(), true
	}
	text, valid := values.Text(content)
	e.notText = e.notText || !valid
	return text, true
}

// number returns the decimal text of a number that is not an integer, and of a duration or interval in the unit of the
// field.
func (e *valueEncoder) number(from arrow.Array, i int) (text string, ok bool) {
	switch a := from.(type) {
	case *array.Float64:
		return strconv.FormatFloat(a.Value(i), 'g', -1, 64), true
	case *array.Float32:
		return strconv.FormatFloat(float64(a.Value(i)), 'g', -1, 32), true
	case *array.Float16:
		return strconv.FormatFloat(float64(a.Value(i).Float32()), 'g', -1, 32), true
	case *array.Decimal32, *array.Decimal64, *array.Decimal128, *array.Decimal256:
		return from.ValueStr(i), true
	case *array.Duration:
		unit := a.DataType().(*arrow.DurationType).Unit.Multiplier()
		perSecond := int64(time.Second / unit)
		count := int64(a.Value(i))
		return e.duration(count/perSecond, count%perSecond*int64(unit)), true
	case *array.DayTimeInterval:
		value := a.Value(i)
		return e.duration(int64(value.Days)*daySeconds+int64(value.Milliseconds)/1e3, int64(value.Milliseconds)%1e3*1e6), true
	case *array.MonthInterval:
		return e.duration(int64(a.Value(i))*monthDays*daySeconds, 0), true
	case *array.MonthDayNanoInterval:
		value := a.Value(i)
		days := int64(value.Months)*monthDays + int64(value.Days)
		return e.duration(days*daySeconds+value.Nanoseconds/1e9, value.Nanoseconds%1e9), true
	}
	return "", false
}

// Lengths of a month and a day in an interval, which has no date.
const (
	monthDays  = 30
	daySeconds = 24 * 60 * 60
)

// duration returns the text of a duration: the sum of seconds, and of nanoseconds of less than a second. The text is in
// seconds, or in minutes for the field stt_minutes.
func (e *valueEncoder) duration(seconds, nanoseconds int64) string {
	if e.column.name == "stt_minutes" {
		return strconv.FormatFloat((float64(seconds)+float64(nanoseconds)/1e9)/60, 'g', -1, 64)
	}
	sign := ""
	if seconds > 0 && nanoseconds < 0 {
		seconds, nanoseconds = seconds-1, nanoseconds+1e9
	} else if seconds < 0 && nanoseconds > 0 {
		seconds, nanoseconds = seconds+1, nanoseconds-1e9
	}
	if seconds < 0 || nanoseconds < 0 {
		sign = "-"
	}
	return values.PlainNumber(fmt.Sprintf("%s%d.%09d", sign, magnitude(seconds), magnitude(nanoseconds)))
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// endless reports whether the text of a float is NaN or infinite.
func endless(number string) bool { return strings.ContainsAny(number, "NI") }

// append appends a value, and the values nested in it, as JSON. JSON has neither NaN nor infinity: they are null.
func (e *valueEncoder) append(from arrow.Array, i int) {
	from, i = resolve(from, i)
	if from.IsNull(i) {
		e.row = append(e.row, "null"...)
		return
	}
	if text, ok := e.text(from, i); ok {
		e.row = appendText(e.row, text)
		return
	}
	if number, ok := e.number(from, i); ok {
		if endless(number) {
			number = "null"
		}
		e.row = append(e.row, number...)
		return
	}
	switch a := from.(type) {
	case *array.Struct:
		e.row = append(e.row, '{')
		for n, field := range a.DataType().(*arrow.StructType).Fields() {
			e.member(n, field.Name, a.Field(n), i)
		}
		e.row = append(e.row, '}')
	case *array.Map:
		e.row = append(e.row, '{')
		start, end := a.ValueOffsets(i)
		for n := start; n < end; n++ {
			keys, key := resolve(a.Keys(), int(n))
			name, ok := e.text(keys, key)
			if !ok {
				name = keys.ValueStr(key)
			}
			e.member(int(n-start), name, a.Items(), int(n))
		}
		e.row = append(e.row, '}')
	case array.ListLike:
		e.row = append(e.row, '[')
		start, end := a.ValueOffsets(i)
		for n := start; n < end; n++ {
			if n > start {
				e.row = append(e.row, ',')
			}
			e.append(a.ListValues(), int(n))
		}
		e.row = append(e.row, ']')
	case *array.Timestamp:
		e.time(a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit), "2006-01-02T15:04:05.999999999Z")
	case *array.Time32:
		e.timeOfDay(int64(a.Value(i)), a.DataType().(*arrow.Time32Type).Unit)
	case *array.Time64:
		e.timeOfDay(int64(a.Value(i)), a.DataType().(*arrow.Time64Type).Unit)
	case *array.Date32:
		e.time(a.Value(i).ToTime(), time.DateOnly)
	case *array.Date64:
		e.time(a.Value(i).ToTime(), time.DateOnly)
	default:
		e.other(from.GetOneForMarshal(i))
	}
}

// member appends a member of an object. n is the number of members before it.
func (e *valueEncoder) member(n int, name string, from arrow.Array, i int) {
	if n > 0 {
		e.row = append(e.row, ',')
	}
	e.row = append(appendText(e.row, name), ':')
	e.append(from, i)
}

// time appends a time in UTC. A year that a text of four digits cannot state is infinite.
func (e *valueEncoder) time(t time.Time, layout string) {
	text := "infinity"
	if t = t.UTC(); t.Year() >= 0 && t.Year() <= 9999 {
		text = t.Format(layout)
	}
	e.row = appendText(e.row, text)
}

// timeOfDay appends a time of day. It can be 24:00, and later if a program has stored a duration as a time of day.
func (e *valueEncoder) timeOfDay(count int64, unit arrow.TimeUnit) {
	perSecond := int64(time.Second / unit.Multiplier())
	seconds, rest := magnitude(count/perSecond), magnitude(count%perSecond*int64(unit.Multiplier()))
	text := fmt.Sprintf("%02d:%02d:%02d.%09d", seconds/3600, seconds/60%60, seconds%60, rest)
	if text = strings.TrimRight(strings.TrimRight(text, "0"), "."); rest == 0 {
		text = fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
	if count < 0 {
		text = "-" + text
	}
	e.row = appendText(e.row, text)
}

// other appends a value of another type, such as an integer or a boolean, as encoding/json encodes it.
func (e *valueEncoder) other(value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte("null") // cannot happen: the values are simple
	}
	e.row = append(e.row, text...)
}

// appendText appends text to row as a JSON string.
func appendText(row []byte, text string) []byte {
	row = append(row, '"')
	copied := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		row = append(row, text[copied:i]...)
		copied = i + 1
		switch c {
		case '"', '\\':
			row = append(row, '\\', c)
		default:
			row = fmt.Appendf(row, `\u%04x`, c)
		}
	}
	return append(append(row, text[copied:]...), '"')
}
