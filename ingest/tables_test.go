package ingest_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/filereader"
	"github.com/voicory/warehouse/warehouse"
)

// parquetOf returns a Parquet file with the rows of a query.
func parquetOf(t testing.TB, query, options string) []byte {
	t.Helper()
	return parquetWriter(t)(query, options)
}

// parquetWriter returns a function that returns a Parquet file with the rows of a query. All files are written by one
// DuckDB instance.
func parquetWriter(t testing.TB) func(query, options string) []byte {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	t.Cleanup(func() { noError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(context.Background(), "SET TimeZone = 'UTC'")
	noError(t, err)
	path := filepath.Join(t.TempDir(), "out.parquet")
	return func(query, options string) []byte {
		_, err = db.ExecContext(context.Background(), "COPY ("+query+") TO '"+path+"' (FORMAT parquet"+options+")")
		noError(t, err)
		content, err := os.ReadFile(path)
		noError(t, err)
		return content
	}
}

// keptCalls closes a warehouse and returns an expression, as text, for each call stored in it.
func keptCalls(t *testing.T, w *warehouse.Warehouse, expression string) (texts []string) {
	t.Helper()
	noError(t, w.Close())
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	path := filepath.Join(w.Dir(), "warehouse", tenant.ID.String()+".duckdb")
	for _, statement := range []string{"SET TimeZone = 'UTC'", "ATTACH " + "'" + path + "'" + " AS kept (READ_ONLY)"} {
		_, err = db.ExecContext(t.Context(), statement)
		noError(t, err)
	}
	rows, err := db.QueryContext(t.Context(), "SELECT "+expression+" FROM kept.calls ORDER BY id")
	noError(t, err)
	defer rows.Close()
	for rows.Next() {
		var text string
		noError(t, rows.Scan(&text))
		texts = append(texts, text)
	}
	noError(t, rows.Err())
	return texts
}

// A Parquet column of any type, and with a name in any case, is converted to the type of its field.
func TestParquet_EveryType(t *testing.T) {
	t.Parallel()
	cases := []struct{ column, want string }{
		{"'x' AS summary", `"summary":"x"`},
		{"'' AS summary", `"summary":""`},
		{"E'a\\nb\\t\"₹' AS summary", `"summary":"a\nb\t\"₹"`},
		{"'x'::BLOB AS summary", `"summary":"x"`},
		{"encode('é')::BLOB AS summary", `"summary":"é"`},
		{"'\\xED\\xA0\\xBD'::BLOB AS summary", `"summary":"` + "\uFFFD" + `"`},
		{"encode('{\"a\": \"é\"}') AS metadata", `"metadata":{"a":"é"}`},
		{"{'a': [encode('é')], 'm': MAP {'k': encode('x')}} AS metadata", `"metadata":{"a":["é"],"m":{"k":"x"}}`},
		{"'\\x00\\x00\\x00\\x00\\x00\\x00\\x40\\x00\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\xFF'::BLOB AS assistant_id",
			`"assistant_id":"00000000-0000-4000-8000-0000000000ff"`},
		{"1.5::DECIMAL(38, 3) AS summary", `"summary":"1.5"`},
		{"919812345678.0::DOUBLE AS from_number", `"from_number":"919812345678"`},
		{"919812345678.00::DECIMAL(20, 2) AS call_sid", `"call_sid":"919812345678"`},
		{"1e22::DOUBLE AS summary", `"summary":"10000000000000000000000"`},
		{"'NaN'::DOUBLE AS summary", `"summary":null`},
		{"12345678901234567890123456.0123456789::DECIMAL(38,10) AS summary",
			`"summary":"12345678901234567890123456.0123456789"`},
		{"18446744073709551615::UBIGINT AS summary", `"summary":"18446744073709551615"`},
		{"DATE '2026-02-03' AS summary", `"summary":"2026-02-03"`},
		{"TIME '11:00:00' AS summary", `"summary":"11:00:00"`},
		{"INTERVAL 3 DAY AS summary", `"summary":"3 days"`},
		{"[1, NULL] AS summary", `"summary":"[1, NULL]"`},
		{"'x'::ENUM('x', 'y') AS summary", `"summary":"x"`},
		{"true AS summary", `"summary":"true"`},
		{"'text'::VARIANT AS summary", `"summary":"text"`},
		{"TIMESTAMPTZ '2026-01-01 02:00:00+02' AS ended_at", `"ended_at":"2026-01-01 00:00:00+00"`},
		{"TIMESTAMP_NS '2026-01-01 00:00:00.123456789' AS ended_at", `"ended_at":"2026-01-01 00:00:00.123456+00"`},
		{"TIMESTAMP_S '2026-01-01 00:00:00' AS ended_at", `"ended_at":"2026-01-01 00:00:00+00"`},
		{"DATE '2026-02-03' AS ended_at", `"ended_at":"2026-02-03 00:00:00+00"`},
		{"'2026-02-03T04:05:06Z' AS ended_at", `"ended_at":"2026-02-03 04:05:06+00"`},
		{"' ' AS ended_at", `"ended_at":null`},
		{"0.1::FLOAT AS cost", `"cost":0.1,`},
		{"0.25::DOUBLE AS cost", `"cost":0.25,`},
		{"12345.6789::DECIMAL(38, 10) AS cost", `"cost":12345.6789`},
		{"1::HUGEINT AS cost", `"cost":1.0,`},
		{"7::UTINYINT AS duration_seconds", `"duration_seconds":7`},
		{"UUID '00000000-0000-4000-8000-00000000000a' AS assistant_id",
			`"assistant_id":"00000000-0000-4000-8000-00000000000a"`},
		{"0.1::FLOAT AS stt_minutes", `"stt_minutes":0.1`},
		{"1e300 AS stt_minutes", `"stt_minutes":null`},
		{"{'deep': {'list': [{'i': 1}, NULL]}, 'n': NULL} AS metadata",
			`"metadata":{"deep":{"list":[{"i":1},null]},"n":null}`},
		{"'{\"a\": [1]}'::JSON AS metadata", `"metadata":{"a":[1]}`},
		{"'{\"a\": [1]}' AS metadata", `"metadata":{"a":[1]}`},
		{"'not JSON' AS metadata", `"metadata":"not JSON"`},
		{"' ' AS metadata", `"metadata":null`},
		{"MAP {'k': 1} AS metadata", `"metadata":{"k":1}`},
		{"{'i': 1}::VARIANT AS metadata", `"metadata":{"i":1}`},
		{"{'x': 'NaN'::DOUBLE, 'y': 0.5} AS metadata", `"metadata":{"x":null,"y":0.5}`},
		{"{'at': TIMESTAMP '2026-01-01 00:00:00'} AS metadata", `"metadata":{"at":"2026-01-01T00:00:00Z"}`},
		{"'2m 18s' AS duration", `"duration":"2m 18s"`},
		{"138 AS duration", `"duration":138`},
		{"[{'speaker': 'AI', 'text': 'hi'}] AS transcript", `"transcript":[{"speaker":"AI","text":"hi"}]`},
		{"NULL::INTEGER AS metadata", `"metadata":null`},
		// Refused values, and values out of range.
		{"'\\xAA\\x00'::BLOB AS summary", `summary is not UTF-8 text`},
		{"{'a': ['\\xAA\\x00'::BLOB]} AS metadata", `metadata is not UTF-8 text`},
		{"'x'::BLOB AS ended_at", `ended_at is not a time: x`},
		{"TIMESTAMP 'infinity' AS ended_at", `"ended_at":null`},
		{"'NaN'::DOUBLE AS stt_minutes", `"stt_minutes":null`},
		{"'-Infinity'::FLOAT AS stt_minutes", `"stt_minutes":null`},
		{"1e20 AS tts_characters", `"tts_characters":null`},
		{"[true] AS assistant_id", `assistant_id is not a UUID: [true]`},
		{"99999999.0::DECIMAL(20,1) AS cost", `"cost":null`},
		{"1 AS \"FILE_ROW_NUMBER\", 'x' AS summary", `"summary":"x"`},
	}
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir()})
	noError(t, err)
	// A file has one case of each column, in rows of their own.
	var files [][]int // indexes of cases
	seen := map[string]int{}
	for i, c := range cases {
		column := c.column[strings.LastIndex(c.column, " AS ")+len(" AS "):]
		if n := seen[column]; n < len(files) {
			files[n] = append(files[n], i)
		} else {
			files = append(files, []int{i})
		}
		seen[column]++
	}
	got := make([]string, len(cases)) // reasons of refusals, or stored rows
	write := parquetWriter(t)
	for _, file := range files {
		rows := make([]string, len(file))
		for row, i := range file {
			rows[row] = fmt.Sprintf(`SELECT '00000000-0000-4000-8000-%012d' AS "ID", `+
				`TIMESTAMP '2026-01-01 00:00:00.123456' AS "Created_At", %s`, i, cases[i].column)
		}
		summary := load(t, w, ingest.Input{Name: "x.parquet", Dataset: "calls", Tenant: tenant.ID,
			Body: bytes.NewReader(write(strings.Join(rows, " UNION ALL BY NAME "), ""))})
		for _, refusal := range summary.Refusals {
			got[file[refusal.Line-1]] = refusal.Reason
		}
	}
	for _, text := range keptCalls(t, w, "to_json(calls)::VARCHAR") {
		var call struct{ ID uuid.UUID }
		noError(t, json.Unmarshal([]byte(text), &call))
		i, err := strconv.Atoi(call.ID.String()[24:])
		noError(t, err)
		if got[i] = text; !strings.Contains(text, `"created_at":"2026-01-01 00:00:00.123456+00"`) {
			t.Errorf("%s: got %s, want its created_at", cases[i].column, text)
		}
	}
	for i, c := range cases {
		if !strings.Contains(got[i], c.want) {
			t.Errorf("%s: got %s, want %s", c.column, got[i], c.want)
		}
	}
}

// Columns that the dataset does not have are named, however many there are, and refused rows keep their number and
// their known fields.
func TestParquet_UnknownColumns(t *testing.T) {
	t.Parallel()
	var columns strings.Builder
	for i := range 1900 {
		fmt.Fprintf(&columns, `, %d AS "Field %d"`, i, i)
	}
	content := parquetOf(t, "SELECT CASE WHEN i = 5000 THEN 'none' ELSE md5(i::VARCHAR)::UUID::VARCHAR END AS id, DATE "+
		"'2026-01-01' AS created_at, 'x' AS config_id"+
		columns.String()+" FROM range(5001) AS r(i) ORDER BY i", "")
	w := openNew(t)
	summary := load(t, w, ingest.Input{Name: "x.parquet", Dataset: "calls", Tenant: tenant.ID,
		Body: bytes.NewReader(content)})
	var refused []warehouse.Refusal
	for refusal, err := range w.Quarantine(t.Context()) {
		noError(t, err)
		refused = append(refused, refusal)
	}
	if len(summary.Unknown) != 50 || summary.Unknown[1] != "calls.Field 1" || summary.New != 5000 ||
		len(refused) != 1 || refused[0].Line != 5001 ||
		refused[0].Row != `{"id":"none","created_at":"2026-01-01"}` {
		t.Errorf("got %+v %+v", summary, refused)
	}
}

// Rows are read in the order of the file, for any size of its row groups.
func TestParquet_RowGroups(t *testing.T) {
	t.Parallel()
	write, w := parquetWriter(t), openNew(t)
	for i, size := range []int{2048, 65_000, 200_000} {
		content := write("SELECT CASE WHEN i % 35000 = 34999 THEN 'none' ELSE md5(i::VARCHAR)::UUID::VARCHAR END AS id, "+
			"TIMESTAMP '2026-01-01' + to_seconds(i) AS created_at FROM range(70000) AS r(i) ORDER BY i",
			fmt.Sprintf(", ROW_GROUP_SIZE %d", size))
		summary := load(t, w, ingest.Input{Name: "x.parquet", Dataset: "calls", Tenant: uuid.New(),
			Body: bytes.NewReader(content), Throttled: i == 1})
		if summary.Read != 70_000 || summary.New != 69_998 || len(summary.Refusals) != 2 ||
			summary.Refusals[0].Line != 35_000 || summary.Refusals[1].Line != 70_000 {
			t.Errorf("row groups of %d: got %+v", size, summary)
		}
	}
}

// forged returns a Parquet file with its footer changed.
func forged(t testing.TB, whole []byte, change func(*format.FileMetaData)) []byte {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(whole), int64(len(whole)))
	noError(t, err)
	metadata := *file.Metadata()
	change(&metadata)
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &metadata)
	noError(t, err)
	body := whole[:len(whole)-8-int(binary.LittleEndian.Uint32(whole[len(whole)-8:]))]
	content := append(bytes.Clone(body), footer...)
	return append(binary.LittleEndian.AppendUint32(content, uint32(len(footer))), "PAR1"...)
}

// nestedParquet returns a file with one column of lists nested to the given depth.
func nestedParquet(t testing.TB, depth int) []byte {
	t.Helper()
	return parquetOf(t, "SELECT "+strings.Repeat("[", depth)+"1"+strings.Repeat("]", depth)+" AS metadata", "")
}

// nestedArrow returns a stream with one column of lists nested to the given depth.
func nestedArrow(t testing.TB, depth int) []byte {
	t.Helper()
	typ := arrow.PrimitiveTypes.Int64
	for range depth {
		typ = arrow.ListOf(typ)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "metadata", Type: typ, Nullable: true}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	builder.Field(0).AppendNull()
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, ipc.WithSchema(schema))
	noError(t, writer.Write(builder.NewRecordBatch()))
	noError(t, writer.Close())
	return out.Bytes()
}

// arrowColumnsOf returns an empty stream with columns of these names.
func arrowColumnsOf(t testing.TB, names ...string) []byte {
	t.Helper()
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64}
	}
	var out bytes.Buffer
	noError(t, ipc.NewWriter(&out, ipc.WithSchema(arrow.NewSchema(fields, nil))).Close())
	return out.Bytes()
}

// A file that exceeds a limit is refused, and the reason names the limit.
func TestTables_Limits(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	plain := parquetOf(t, "SELECT uuid() AS id, DATE '2026-01-01' AS created_at FROM range(10)", "")
	many := make([]string, filereader.MaxColumns+1)
	for i := range many {
		many[i] = fmt.Sprint("column ", i)
	}
	manyInParquet := "SELECT 1 AS \"" + strings.Join(many, "\", 1 AS \"") + "\""
	for name, test := range map[string]struct {
		format  ingest.Format
		content []byte
		reason  string // empty: not refused
	}{
		"Parquet of 16 lists": {ingest.Parquet, nestedParquet(t, 16), ""},
		"Parquet of 17 lists": {ingest.Parquet, nestedParquet(t, 17), "a column is nested more than 16 deep"},
		"Parquet of 40 lists": {ingest.Parquet, nestedParquet(t, 40), "a column is nested more than 16 deep"},
		"Parquet columns":     {ingest.Parquet, parquetOf(t, manyInParquet, ""), "it has more than 10000 columns"},
		"Parquet column twice": {ingest.Parquet, forged(t, plain,
			func(m *format.FileMetaData) { m.Schema[2].Name = "ID" }), `column "id" occurs twice`},
		"Parquet with a plain footer": {ingest.Parquet, forged(t, plain, func(m *format.FileMetaData) {
			m.EncryptionAlgorithm.Value = &format.AesGcmV1{}
		}), "it is an encrypted Parquet file"},
		"Parquet without schema": {ingest.Parquet, forged(t, plain, func(m *format.FileMetaData) { m.Schema = nil }),
			"schema"},
		"Parquet schema": {ingest.Parquet, forged(t, plain,
			func(m *format.FileMetaData) { m.Schema[0].NumChildren.V = 1 }), "its schema contradicts itself"},
		"Parquet fewer rows": {ingest.Parquet, forged(t, plain, func(m *format.FileMetaData) {
			m.NumRows,
				m.RowGroups[0].NumRows = 1<<40, 1<<40
		}), "cannot be read after row"},
		"Parquet negative rows": {ingest.Parquet, forged(t, plain, func(m *format.FileMetaData) {
			m.NumRows,
				m.RowGroups[0].NumRows = -1, -1
		}), "cannot be read after row 0"},
		"Arrow of 16 lists":  {ingest.Arrow, nestedArrow(t, 16), ""},
		"Arrow of 17 lists":  {ingest.Arrow, nestedArrow(t, 17), "a column is nested more than 16 deep"},
		"Arrow of 60 lists":  {ingest.Arrow, nestedArrow(t, 60), "a column is nested more than 16 deep"},
		"Arrow columns":      {ingest.Arrow, arrowColumnsOf(t, many...), "it has more than 10000 columns"},
		"Arrow column twice": {ingest.Arrow, arrowColumnsOf(t, "id", "Id"), `column "id" occurs twice`},
	} {
		t.Run(name, func(t *testing.T) {
			summary := load(t, w, ingest.Input{Name: "push", Format: test.format, Dataset: "calls", Tenant: tenant.ID,
				Body: bytes.NewReader(test.content)})
			if got := fmt.Sprint(summary.Refusals); (test.reason != "") != (summary.FilesRefused == 1) ||
				!strings.Contains(got, test.reason) {
				t.Errorf("got %+v, want %q", summary, test.reason)
			}
		})
	}
}
