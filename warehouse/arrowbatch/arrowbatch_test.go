package arrowbatch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
)

// everyType is a query of n rows with a column of each type that Arrow has for DuckDB, NULL in some rows at each level.
// No byte of a value is zero where the type allows it.
const everyType = `WITH source AS (SELECT i, hash(i) h FROM range(%d) t(i)),
	scalars AS (SELECT i, h,
		CASE WHEN h %% 3 = 0 THEN (i %% 2 = 0) END AS bool,
		CASE WHEN h %% 5 < 2 THEN (i %% 100 + 1)::TINYINT END AS i1, CASE WHEN h %% 5 < 3 THEN (i %% 30000 + 257)::SMALLINT END AS i2,
		CASE WHEN h %% 5 < 4 THEN (i + 16843009)::INTEGER END AS i4, CASE WHEN h %% 7 < 2 THEN i + 72340172838076673 END AS i8,
		CASE WHEN h %% 7 < 3 THEN (i %% 100 + 1)::UTINYINT END AS u1, CASE WHEN h %% 7 < 4 THEN (i %% 60000 + 257)::USMALLINT END AS u2,
		CASE WHEN h %% 7 < 5 THEN (i + 16843009)::UINTEGER END AS u4, CASE WHEN h %% 7 < 6 THEN (i + 72340172838076673)::UBIGINT END AS u8,
		CASE WHEN h %% 11 < 3 THEN '170141183460469231731687303715884105727'::HUGEINT - i END AS i16,
		CASE WHEN h %% 11 < 4 THEN (i + 0.7)::FLOAT END AS f4, CASE WHEN h %% 11 < 5 THEN i + 0.7::DOUBLE END AS f8,
		CASE WHEN h %% 11 < 6 THEN (i %% 90 + 1.5)::DECIMAL(4, 1) END AS d2, CASE WHEN h %% 11 < 7 THEN (i %% 90000 + 1.5)::DECIMAL(9, 2) END AS d4,
		CASE WHEN h %% 11 < 8 THEN (i + 1.5)::DECIMAL(18, 3) END AS d8, CASE WHEN h %% 11 < 9 THEN (i + 1.5)::DECIMAL(38, 4) END AS d16,
		CASE WHEN h %% 13 < 1 THEN DATE '2026-01-01' + (i %% 9999)::INTEGER END AS day, CASE WHEN h %% 13 < 2 THEN TIME '11:11:11.111111' END AS clock,
		CASE WHEN h %% 13 < 3 THEN make_timestamp(i + 1700000000000000) END AS ts,
		CASE WHEN h %% 13 < 4 THEN make_timestamp(i + 1700000000000000)::TIMESTAMP_S END AS ts_s,
		CASE WHEN h %% 13 < 5 THEN make_timestamp(i + 1700000000000000)::TIMESTAMP_MS END AS ts_ms,
		CASE WHEN h %% 13 < 6 THEN make_timestamp(i + 1700000000000000)::TIMESTAMP_NS END AS ts_ns,
		CASE WHEN h %% 13 < 7 THEN make_timestamp(i + 1700000000000000)::TIMESTAMPTZ END AS ts_tz,
		CASE WHEN h %% 13 < 8 THEN to_months((i + 1)::INTEGER) + to_days((i + 1)::INTEGER) + to_microseconds(i + 1) END AS span,
		CASE WHEN h %% 13 < 9 THEN md5(i::VARCHAR)::UUID END AS id,
		CASE WHEN h %% 13 < 10 THEN 'secret ' || i || repeat('x', (h %% 50)::INTEGER) END AS text,
		CASE WHEN h %% 13 < 11 THEN ('secret ' || i)::BLOB END AS blob, CASE WHEN h %% 13 < 12 THEN json_object('k', 'secret ' || i) END AS doc,
		CASE WHEN h %% 17 < 4 THEN 'b'::ENUM('a', 'b') END AS e1, CASE WHEN h %% 17 < 6 THEN ('v' || (i %% 300))::ENUM(%s) END AS e2, NULL AS nothing FROM source)
SELECT * EXCLUDE (i, h), i %% 2 = 1 AS flag,
	CASE WHEN h %% 2 = 0 THEN [text, NULL, 'secret'] END AS texts, CASE WHEN h %% 3 > 0 THEN [[i4], NULL, [], [i4, NULL]] END AS lists,
	(CASE WHEN h %% 5 > 0 THEN [i8, i8 + 1, NULL] END)::BIGINT[3] AS three, (CASE WHEN h %% 5 > 1 THEN [text, 'secret'] END)::VARCHAR[2] AS pair,
	CASE WHEN h %% 5 > 2 THEN {'a': i2, 'b': text, 'c': [e1], 'd': {'deep': d16, 'flags': [bool]}} END AS record,
	CASE WHEN h %% 7 > 2 THEN MAP {'secret ' || i: i1, 'k': 7} END AS map, CASE WHEN h %% 7 > 3 THEN MAP {i: [text]} END AS int_map,
	CASE WHEN h %% 7 > 1 THEN CASE WHEN i %% 2 = 0 THEN union_value(num := i + 257)::UNION(num BIGINT, str VARCHAR, list VARCHAR[])
		WHEN i %% 3 = 0 THEN union_value(str := 'secret')::UNION(num BIGINT, str VARCHAR, list VARCHAR[])
		ELSE union_value(list := ['secret'])::UNION(num BIGINT, str VARCHAR, list VARCHAR[]) END END AS variant,
	CASE WHEN h %% 7 > 4 THEN [{'e': e1, 'm': MAP {'a'::ENUM('a', 'b'): e2}, 'a': [e1, NULL]::ENUM('a', 'b')[2]}] END AS enums,
	CASE WHEN h %% 7 > 2 THEN [{'u': CASE WHEN i %% 2 = 0 THEN union_value(num := i + 257)::UNION(num BIGINT, str VARCHAR)
		ELSE union_value(str := 'secret')::UNION(num BIGINT, str VARCHAR) END, 'f': [text]::VARCHAR[1]}] END AS mixed
FROM scalars ORDER BY i`

func everyTypeOf(rows int) string {
	values := make([]string, 300) // more than a byte indexes
	for i := range values {
		values[i] = fmt.Sprintf("'v%d'", i)
	}
	return fmt.Sprintf(everyType, rows, strings.Join(values, ","))
}

// chunks runs a query in a database of its own and calls each with what DuckDB converts its chunks from.
func chunks(t testing.TB, sql string, each func(duckdb.ArrowOptions, *arrow.Schema, duckdb.DataChunk)) {
	t.Helper()
	var db duckdb.Database
	var conn duckdb.Connection
	var result duckdb.Result
	if duckdb.Open("", &db) == duckdb.StateError || duckdb.Connect(db, &conn) == duckdb.StateError {
		t.Fatal("open DuckDB")
	}
	defer duckdb.Close(&db)
	defer duckdb.Disconnect(&conn)
	if duckdb.Query(conn, sql, &result) == duckdb.StateError {
		t.Fatal(duckdb.ResultError(&result))
	}
	defer duckdb.DestroyResult(&result)
	options := duckdb.ResultGetArrowOptions(&result)
	defer duckdb.DestroyArrowOptions(&options)
	var names []string
	var types []duckdb.LogicalType
	for i := range duckdb.ColumnCount(&result) {
		names, types = append(names, duckdb.ColumnName(&result, i)), append(types, duckdb.ColumnLogicalType(&result, i))
		defer duckdb.DestroyLogicalType(&types[i])
	}
	schema, fault := duckdb.NewArrowSchema(options, types, names)
	if duckdb.ErrorDataHasError(fault) {
		t.Fatal(duckdb.ErrorDataMessage(fault))
	}
	for {
		chunk := duckdb.FetchChunk(result)
		if chunk.Ptr == nil {
			return
		}
		each(options, schema, chunk)
		duckdb.DestroyDataChunk(&chunk)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// asJSON returns the values of a batch, without what is hidden.
func asJSON(t testing.TB, batch arrow.RecordBatch, rows int64) string {
	t.Helper()
	part := batch.NewSlice(0, rows)
	defer part.Release()
	var out bytes.Buffer
	noError(t, array.RecordToJSON(part, &out))
	return out.String()
}

func TestSource_IsCanonical(t *testing.T) {
	rows, dictionaries := int64(0), 0
	chunks(t, everyTypeOf(5003), func(options duckdb.ArrowOptions, schema *arrow.Schema, chunk duckdb.DataChunk) {
		batch, fault := newSource(options, schema).Batch(chunk)
		if duckdb.ErrorDataHasError(fault) {
			t.Fatal(duckdb.ErrorDataMessage(fault))
		}
		defer batch.Release()
		rows += batch.NumRows()
		noError(t, arrowtest.CheckBatch(batch))
		for i, column := range batch.Columns() {
			count, unsigned := dictionaryIndices(column.Data())
			if dictionaries += count; unsigned {
				t.Errorf("column %q of type %s has unsigned indices", batch.ColumnName(i), column.DataType())
			}
		}
		raw, fault := duckdb.DataChunkToArrowArray(options, schema, chunk)
		if duckdb.ErrorDataHasError(fault) {
			t.Fatal(duckdb.ErrorDataMessage(fault))
		}
		defer raw.Release()
		if got, want := asJSON(t, batch, batch.NumRows()), asJSON(t, raw, batch.NumRows()); got != want {
			t.Errorf("got\n%.4000s\nwant\n%.4000s", got, want)
		}
	})
	if rows != 5003 || dictionaries == 0 {
		t.Errorf("got %d rows and %d dictionaries", rows, dictionaries)
	}
}

// dictionaryIndices returns the number of dictionaries in an array, at any depth, and whether any of them has unsigned
// indices.
func dictionaryIndices(data arrow.ArrayData) (dictionaries int, unsigned bool) {
	if typ, ok := data.DataType().(*arrow.DictionaryType); ok {
		return 1, arrow.IsUnsignedInteger(typ.IndexType.ID())
	}
	for _, child := range data.Children() {
		count, of := dictionaryIndices(child)
		dictionaries, unsigned = dictionaries+count, unsigned || of
	}
	return dictionaries, unsigned
}

// Parents at every level become NULL and keep the values that they had, which may not be in the head of the batch.
func TestHead_HidesValuesUnderNulls(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 8 {
		chunks(t, everyTypeOf(1+rng.IntN(2500)), func(options duckdb.ArrowOptions, schema *arrow.Schema,
			chunk duckdb.DataChunk) {
			raw, fault := duckdb.DataChunkToArrowArray(options, schema, chunk)
			if duckdb.ErrorDataHasError(fault) {
				t.Fatal(duckdb.ErrorDataMessage(fault))
			}
			defer raw.Release()
			columns := make([]arrow.Array, raw.NumCols())
			for i, column := range raw.Columns() {
				data := withNulls(rng, column.Data(), false)
				columns[i] = array.MakeFromData(data)
				defer columns[i].Release()
				data.Release()
			}
			hidden := array.NewRecordBatch(schema, columns, raw.NumRows())
			defer hidden.Release()
			rows := rng.Int64N(raw.NumRows() + 1)
			if rng.IntN(2) == 0 {
				rows = raw.NumRows()
			}
			want := asJSON(t, hidden, rows)
			batch, err := Head(hidden, rows)
			noError(t, err)
			defer batch.Release()
			noError(t, arrowtest.CheckBatch(batch))
			if got := asJSON(t, batch, rows); got != want {
				t.Fatalf("%d of %d rows: got\n%.4000s\nwant\n%.4000s", rows, raw.NumRows(), got, want)
			}
			var stream bytes.Buffer
			w := ipc.NewWriter(&stream, ipc.WithSchema(schema))
			noError(t, w.Write(batch))
			noError(t, w.Close())
			if got, err := arrowtest.CheckStream(&stream); err != nil || got != rows {
				t.Fatalf("got %d rows of %d in the stream: %v", got, rows, err)
			}
		})
	}
}

// withNulls returns data with a bitmap in which some of the values that were valid are NULL, and the bits past the last
// are set. The values stay.
func withNulls(rng *rand.Rand, data arrow.ArrayData, whole bool) *array.Data {
	children := make([]arrow.ArrayData, len(data.Children()))
	for i, child := range data.Children() {
		of := withNulls(rng, child, data.DataType().ID() == arrow.MAP)
		defer of.Release()
		children[i] = of
	}
	buffers, nulls := append([]*memory.Buffer(nil), data.Buffers()...), data.NullN()
	if kind := data.DataType().ID(); kind != arrow.SPARSE_UNION && kind != arrow.NULL && !whole {
		bitmap := bytes.Repeat([]byte{0xff}, (data.Len()+7)/8)
		if old := buffers[0]; old != nil && old.Len() > 0 {
			copy(bitmap, old.Bytes())
		}
		most := rng.IntN(10) // of ten
		for i := range data.Len() {
			if rng.IntN(10) < most {
				bitmap[i/8] &^= 1 << (i % 8)
			}
		}
		if data.Len()%8 != 0 {
			bitmap[data.Len()/8] |= 0xff << (data.Len() % 8)
		}
		buffers[0], nulls = memory.NewBufferBytes(bitmap), array.UnknownNullCount
	}
	if whole { // an entry of a map, and its key, are never NULL
		children[0] = data.Children()[0]
	}
	var dictionary *array.Data
	if of, ok := data.Dictionary().(*array.Data); ok && of != nil {
		dictionary = of
	}
	made := array.NewDataWithDictionary(data.DataType(), data.Len(), buffers, nulls, 0, dictionary)
	if dictionary == nil {
		made.Release()
		made = array.NewData(data.DataType(), data.Len(), buffers, children, nulls, 0)
	}
	return made
}

func TestHead_RefusesSlices(t *testing.T) {
	chunks(t, "SELECT range AS n FROM range(10)", func(options duckdb.ArrowOptions, schema *arrow.Schema,
		chunk duckdb.DataChunk) {
		batch, _ := newSource(options, schema).Batch(chunk)
		defer batch.Release()
		slice := batch.NewSlice(1, 3)
		defer slice.Release()
		if _, err := Head(slice, 2); err == nil {
			t.Error("got a head of a slice")
		}
	})
}

const perturbed = "ARROWBATCH_TEST_STREAM"

// TestStream_DoesNotDependOnMemory compares streams of processes whose C library fills memory with different bytes when
// it hands it out and when it takes it back.
func TestStream_DoesNotDependOnMemory(t *testing.T) {
	if os.Getenv(perturbed) != "" {
		w := ipc.NewWriter(os.Stderr)
		chunks(t, everyTypeOf(5003), func(options duckdb.ArrowOptions, schema *arrow.Schema, chunk duckdb.DataChunk) {
			batch, _ := newSource(options, schema).Batch(chunk)
			defer batch.Release()
			noError(t, w.Write(batch))
		})
		noError(t, w.Close())
		return
	}
	stream := func(fill string) []byte {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStream_DoesNotDependOnMemory$")
		command.Env = append(os.Environ(), perturbed+"=1", "MALLOC_PERTURB_="+fill)
		var out bytes.Buffer
		command.Stderr = &out
		noError(t, command.Run())
		return out.Bytes()
	}
	one, other := stream("85"), stream("170")
	rows, err := arrowtest.CheckStream(bytes.NewReader(one))
	if err != nil || rows != 5003 {
		t.Fatalf("got %d rows: %v", rows, err)
	}
	if !bytes.Equal(one, other) {
		t.Error("streams of the same rows differ")
	}
}

// No other package may convert DuckDB's chunks to Arrow by itself, or have the driver do it.
func TestSource_IsTheOnlyConversion(t *testing.T) {
	allowed := map[string]string{
		"DataChunkToArrowArray": "warehouse/arrowbatch/arrowbatch.go",
		"NewArrowFromConn":      "", // nowhere
	}
	root := filepath.Join("..", "..")
	found := map[string]int{}
	noError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || strings.HasPrefix(name, "bench"+string(filepath.Separator)) {
			return err
		}
		text, err := os.ReadFile(path)
		named := false
		for name := range allowed {
			named = named || bytes.Contains(text, []byte(name))
		}
		if err != nil || !named { // parsing takes long
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if selector, ok := node.(*ast.SelectorExpr); ok {
				if only, ok := allowed[selector.Sel.Name]; ok {
					found[selector.Sel.Name]++
					if name != filepath.FromSlash(only) {
						t.Errorf("%s calls %s", name, selector.Sel.Name)
					}
				}
			}
			return true
		})
		return nil
	}))
	if found["DataChunkToArrowArray"] == 0 {
		t.Errorf("found %v, want the conversion", found)
	}
}
