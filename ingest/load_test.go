package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/ingest/filereader"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Helpers of package warehousetest.
var (
	noError = warehousetest.NoError
	openNew = warehousetest.OpenNew
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == filereader.Argument {
		os.Exit(filereader.Run())
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/klauspost/compress/zstd.(*blockDec).startDecoder"))
}

var tenant = demo.Tenant{ID: uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001"), Calls: 300, Customers: 40,
	Messages: 500}

// generated returns the bytes that write writes.
func generated(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var buf bytes.Buffer
	noError(t, write(&buf))
	return buf.Bytes()
}

func load(t *testing.T, w *warehouse.Warehouse, in ingest.Input) ingest.Summary {
	t.Helper()
	summary, err := ingest.Load(t.Context(), w, in)
	noError(t, err)
	return summary
}

func wantCounts(t *testing.T, got ingest.Summary, want schema.Counts) {
	t.Helper()
	if got.Counts != want {
		t.Fatalf("got counts %+v, want %+v; first refusal: %+v", got.Counts, want, got.Refusals[:min(1,
			len(got.Refusals))])
	}
}

// packed returns plain, compressed as the extension of name requires.
func packed(t *testing.T, name string, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	switch filepath.Ext(name) {
	case ".gz":
		writer := gzip.NewWriter(&buf)
		_, err := writer.Write(plain)
		noError(t, errors.Join(err, writer.Close()))
	case ".zst":
		writer, err := zstd.NewWriter(&buf)
		noError(t, err)
		_, err = writer.Write(plain)
		noError(t, errors.Join(err, writer.Close()))
	default:
		return plain
	}
	return buf.Bytes()
}

// asTable converts NDJSON to a file of another format with DuckDB, and returns its path.
func asTable(t *testing.T, ndjson []byte, format string) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.ndjson"), filepath.Join(dir, "out."+format)
	noError(t, os.WriteFile(in, ndjson, 0o600))
	connector, err := duckdb.NewConnector("", nil)
	noError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	_, err = db.ExecContext(t.Context(),
		fmt.Sprintf("COPY (SELECT COLUMNS(*) ->> '$' FROM read_json('%s', sample_size = -1, maximum_depth = 1)) TO '%s' "+
			"(FORMAT %s)", in, out, format))
	noError(t, err)
	return out
}

// asArray converts NDJSON to a JSON array with each row on several lines.
func asArray(t *testing.T, ndjson []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	noError(t, json.Indent(&out, append(append([]byte("["), bytes.ReplaceAll(bytes.TrimSpace(ndjson), []byte("\n"),
		[]byte(","))...), ']'), " ", "\t"))
	return out.Bytes()
}

// asArrow converts NDJSON to an Arrow IPC stream of several batches. columns are the select expressions, with the
// types that DuckDB detects.
func asArrow(t *testing.T, ndjson []byte, columns string) []byte {
	t.Helper()
	in := filepath.Join(t.TempDir(), "in.ndjson")
	noError(t, os.WriteFile(in, ndjson, 0o600))
	connector, err := duckdb.NewConnector("", nil)
	noError(t, err)
	defer func() { noError(t, connector.Close()) }()
	conn, err := connector.Connect(t.Context())
	noError(t, err)
	defer func() { noError(t, conn.Close()) }()
	interchange, err := duckdb.NewArrowFromConn(conn)
	noError(t, err)
	reader, err := interchange.QueryContext(t.Context(),
		fmt.Sprintf("SELECT %s FROM read_json('%s', sample_size = -1, maximum_depth = 1)", columns, in))
	noError(t, err)
	defer reader.Release()
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, ipc.WithSchema(reader.Schema()), ipc.WithLZ4())
	for reader.Next() {
		noError(t, writer.Write(reader.RecordBatch()))
	}
	noError(t, errors.Join(reader.Err(), writer.Close()))
	return out.Bytes()
}

// asArrowFile converts an Arrow IPC stream to an Arrow IPC file.
func asArrowFile(t *testing.T, stream []byte) []byte {
	t.Helper()
	reader, err := ipc.NewReader(bytes.NewReader(stream))
	noError(t, err)
	defer reader.Release()
	var out bytes.Buffer
	writer, err := ipc.NewFileWriter(&out, ipc.WithSchema(reader.Schema()))
	noError(t, err)
	for reader.Next() {
		noError(t, writer.Write(reader.RecordBatch()))
	}
	noError(t, errors.Join(reader.Err(), writer.Close()))
	return out.Bytes()
}

// Loading the same rows again in any other format changes nothing. The codecs are tried with calls only, because they
// do not depend on the dataset.
func TestLoad_EveryFormat(t *testing.T) {
	t.Parallel()
	for dataset, write := range map[string]func(io.Writer) error{"calls": tenant.WriteCalls,
		"customers": tenant.WriteCustomers, "messages": tenant.WriteMessages} {
		t.Run(dataset, func(t *testing.T) {
			w := openNew(t)
			ndjson := generated(t, write)
			rows := int64(bytes.Count(ndjson, []byte("\n")))
			wantCounts(t, load(t, w, ingest.Input{Name: dataset + ".ndjson", Body: bytes.NewReader(ndjson)}),
				schema.Counts{Read: rows, New: rows})
			unchanged := schema.Counts{Read: rows, Unchanged: rows}
			check := func(name string, plain []byte) {
				t.Helper()
				if strings.Count(name, ".") > 1 && dataset != "calls" {
					return
				}
				wantCounts(t, load(t, w, ingest.Input{Name: name, Dataset: dataset,
					Body: bytes.NewReader(packed(t, name, plain))}), unchanged)
			}
			for _, name := range []string{"x.ndjson.gz", "x.jsonl.zst", "x.ndjson", "-"} {
				check(name, ndjson)
			}
			texts, typed := asArrow(t, ndjson, "COLUMNS(*) ->> '$'"), asArrow(t, ndjson,
				"(id ->> '$')::UUID AS id, (created_at ->> '$')::TIMESTAMPTZ AS created_at, COLUMNS(c -> c NOT IN ('id', "+
					"'created_at')) ->> '$'")
			for name, plain := range map[string][]byte{"x.json": asArray(t, ndjson), "x.json.gz": asArray(t, ndjson),
				"x.arrows": texts, "x.arrow.zst": texts,
				"X.ARROW": asArrowFile(t, texts), "typed.arrows": typed} {
				check(name, plain)
			}
			for _, format := range []string{"csv", "parquet"} {
				path := asTable(t, ndjson, format)
				plain, err := os.ReadFile(path)
				noError(t, err)
				for _, codec := range []string{"", ".gz", ".zst"} {
					check("x."+format+codec, plain)
				}
				wantCounts(t, load(t, w, ingest.Input{Name: path, Dataset: dataset,
					Body: mustOpen(t, path)}), unchanged)
			}
		})
	}
}

// Deletions can be loaded in every format, with only the columns id and deleted_at.
func TestLoad_Deletions(t *testing.T) {
	t.Parallel()
	ndjson := generated(t, tenant.WriteCalls)
	var deletions bytes.Buffer
	for line := range bytes.Lines(ndjson) {
		var call struct {
			ID string `json:"id"`
		}
		noError(t, json.Unmarshal(line, &call))
		fmt.Fprintf(&deletions, `{"id":%q,"deleted_at":"2027-01-01T00:00:00Z"}`+"\n", call.ID)
	}
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		t.Run(format, func(t *testing.T) {
			w := openNew(t)
			load(t, w, ingest.Input{Name: "calls.ndjson", Body: bytes.NewReader(ndjson)})
			content := deletions.Bytes()
			if format != "ndjson" {
				var err error
				content, err = os.ReadFile(asTable(t, content, format))
				noError(t, err)
			}
			n := int64(tenant.Calls)
			in := func() ingest.Input {
				return ingest.Input{Name: "x." + format, Dataset: "calls", Tenant: tenant.ID, Body: bytes.NewReader(content)}
			}
			wantCounts(t, load(t, w, in()), schema.Counts{Read: n, Deleted: n})
			wantCounts(t, load(t, w, in()), schema.Counts{Read: n, Unchanged: n})
			page, err := w.List(t.Context(), tenant.ID, schema.Calls, warehouse.Listing{Limit: 1})
			noError(t, err)
			if page.Total != 0 {
				t.Errorf("got %d calls, want none", page.Total)
			}
		})
	}
}

// A Parquet file with a damaged second row group is refused there. The batches before it are merged.
func TestLoad_DamagedParquet(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "calls.parquet")
	_, err = db.ExecContext(t.Context(),
		`COPY (SELECT md5(i::VARCHAR)::UUID AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i) AS created_at FROM range(50000) AS r(i) ORDER BY i)
		TO '`+path+`' (FORMAT parquet, ROW_GROUP_SIZE 20480)`)
	noError(t, err)
	var page int64 // of the second row group
	noError(t, db.QueryRowContext(t.Context(),
		"SELECT data_page_offset FROM parquet_metadata($1) WHERE row_group_id = 1 AND path_in_schema = 'id'",
		path).Scan(&page))
	content, err := os.ReadFile(path)
	noError(t, err)
	copy(content[page:], bytes.Repeat([]byte{0xff}, 64))
	noError(t, os.WriteFile(path, content, 0o600))
	w := openNew(t)
	summary := load(t, w, ingest.Input{Name: "calls.parquet", Body: mustOpen(t, path), Tenant: tenant.ID})
	if summary.New < 16_384 || summary.New > 20_480 || summary.New != summary.Read {
		t.Errorf("got %+v, want the first row group, except rows that DuckDB has not returned yet", summary.Counts)
	}
	if summary.FilesRefused != 1 || !strings.Contains(summary.Refusals[0].Reason, "cannot be read") ||
		strings.Contains(summary.Refusals[0].Reason, w.TempDir()) {
		t.Errorf("got %+v, want one file that cannot be read, without its path", summary)
	}
}

func TestLoad_UnreadableFilesAreRefused(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	noError(t, os.MkdirAll(filepath.Join(w.Dir(), "quarantine"), 0o700)) // it is created with the first refusal
	ndjson := generated(t, tenant.WriteCalls)
	gz := packed(t, ".gz", ndjson)
	for name, test := range map[string]struct {
		in           ingest.Input
		filesRefused int
		counts       schema.Counts
		reason       string
	}{
		"unknown kind": {ingest.Input{Name: "calls.xlsx", Body: strings.NewReader("PK")}, 1, schema.Counts{},
			"unknown file extension"},
		"JSON of an unknown kind": {ingest.Input{Name: "calls.txt", Body: strings.NewReader(`{"id":1}`)}, 0,
			schema.Counts{Read: 1, Refused: 1}, "id is not a UUID"},
		"Avro": {ingest.Input{Name: "calls.avro", Body: strings.NewReader("Obj\x01x")}, 1, schema.Counts{},
			"it is an Avro file"},
		"SQLite": {ingest.Input{Name: "calls.db", Body: strings.NewReader("SQLite format 3\x00")}, 1, schema.Counts{},
			"it is an SQLite database"},
		"tar": {ingest.Input{Name: "calls.csv", Body: strings.NewReader("calls.csv" + strings.Repeat("\x00", 248) +
			"ustar\x0000")}, 1,
			schema.Counts{}, "it is a tar archive"},
		"HTML": {ingest.Input{Name: "calls.json", Body: strings.NewReader("\ufeff\n<!DOCTYPE html>")}, 1, schema.Counts{},
			"it is an HTML or XML document"},
		"cut off": {ingest.Input{Name: "calls.ndjson.gz", Body: bytes.NewReader(packed(t, ".gz", []byte("\n"))[:20])}, 1,
			schema.Counts{}, "the gzip data is cut off, or other bytes follow it"},
		"unknown dataset": {ingest.Input{Name: "rows.ndjson", Body: strings.NewReader("{}")}, 1, schema.Counts{},
			"set the dataset with --dataset"},
		"unreadable": {ingest.Input{Name: "calls.ndjson", Body: errReader{os.ErrPermission}}, 1,
			schema.Counts{}, "permission denied"},
		"no gzip": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader("\x1f\x8bnot gzip at all")},
			1, schema.Counts{}, "gzip"},
		"no Parquet": {ingest.Input{Name: "calls.parquet", Body: strings.NewReader("PAR0")}, 1,
			schema.Counts{}, "Parquet"},
		"compressed twice": {ingest.Input{Name: "calls.ndjson.gz", Body: bytes.NewReader(packed(t, ".zst", gz))}, 1,
			schema.Counts{}, "it is compressed twice; remove the inner gzip compression"},
		"Feather V1": {ingest.Input{Name: "calls.feather", Body: strings.NewReader("FEA1\x00\x00")}, 1, schema.Counts{},
			"it is a Feather V1 file"},
		"a workbook": {ingest.Input{Name: "calls.csv", Body: strings.NewReader("PK\x03\x04rest")}, 1, schema.Counts{},
			"it is a ZIP archive or an Excel workbook"},
		"xz": {ingest.Input{Name: "calls.csv.gz", Body: strings.NewReader("\xfd7zXZ\x00rest")}, 1, schema.Counts{},
			"it is compressed with xz"},
		"nothing as JSON": {ingest.Input{Name: "calls.json", Body: strings.NewReader(" ")}, 0, schema.Counts{}, ""},
		"strange array": {ingest.Input{Name: "calls.json", Body: strings.NewReader(`[1, "]", [{}], {"id":1} {}]`)},
			0, schema.Counts{Read: 4, Refused: 4}, "not a JSON object"},
		"no Arrow": {ingest.Input{Name: "calls.arrows", Body: strings.NewReader("ARROW1")}, 1,
			schema.Counts{}, "it does not end with ARROW1"},
		"nothing as Arrow": {ingest.Input{Name: "calls.arrows", Body: strings.NewReader("")}, 1, schema.Counts{},
			"it is empty"},
		"Arrow that lies": {ingest.Input{Name: "calls.arrows",
			Body: strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\x7f")}, 1, schema.Counts{},
			"more than 512 MiB of memory"},
		"empty array": {ingest.Input{Name: "calls.json", Body: strings.NewReader("\ufeff [ ] ")}, 0,
			schema.Counts{}, ""},
		"bytes unpacked": {ingest.Input{Name: "calls.ndjson.gz", Bounds: ingest.Bounds{Refused: 1},
			Body: bytes.NewReader(packed(t, ".gz", []byte("{}\n{}\n")))}, 1, schema.Counts{},
			"more than 1 rows were refused"},
		"empty": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader("")}, 0, schema.Counts{}, ""},
		"empty CSV": {ingest.Input{Name: "calls.csv", Body: strings.NewReader("user_id,id,created_at\n")}, 0,
			schema.Counts{}, ""},
		"CSV without a column": {ingest.Input{Name: "calls.csv",
			Body: strings.NewReader("user_id,id\n" + tenant.ID.String() + "," + tenant.ID.String() + "\n")}, 0,
			schema.Counts{Read: 1, Refused: 1}, "created_at is missing"},
		"CSV whose customers have no source": {ingest.Input{Name: "customers.csv",
			Body: strings.NewReader("USER_ID,id,created_at,source,interaction_count\n" +
				tenant.ID.String() + "," + tenant.ID.String() + ",2026-01-01,,many\n" + tenant.ID.String() +
				",,2026-01-01,,\n")}, 0,
			schema.Counts{Read: 2, Refused: 2}, "interaction_count is not an integer: many"},
		"CSV of many lengths": {ingest.Input{Name: "calls.csv",
			Body: strings.NewReader("user_id,id,created_at\n" + tenant.ID.String() + "," + tenant.ID.String() +
				",2026-01-01\na,b,c,d,e\n")}, 0,
			schema.Counts{Read: 2, New: 1, Refused: 1}, "line is not CSV: it has 5 fields, the header has 3"},
		"Parquet of something else": {ingest.Input{Name: "calls.parquet", Body: mustOpen(t, asTable(t,
			[]byte(`{"x":1}`), "parquet"))}, 0,
			schema.Counts{Read: 1, Refused: 1}, "id is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			skipMemoryLimit(t, test.reason)
			before, err := os.ReadDir(filepath.Join(w.Dir(), "quarantine"))
			noError(t, err)
			summary := load(t, w, test.in)
			wantCounts(t, summary, test.counts)
			if summary.FilesRefused != test.filesRefused {
				t.Errorf("got %d refused files, want %d: %+v", summary.FilesRefused, test.filesRefused, summary.Refusals)
			}
			if test.reason == "" {
				return
			}
			if n := len(summary.Refusals); n != 1 && n != int(test.counts.Refused) ||
				!strings.Contains(summary.Refusals[0].Reason,
					test.reason) {
				t.Errorf("got refusals %+v, want the reason %q", summary.Refusals, test.reason)
			}
			kept, err := os.ReadDir(filepath.Join(w.Dir(), "quarantine"))
			noError(t, err)
			if len(kept) != len(before)+1 {
				t.Errorf("got quarantine files %v, want one more than %v", kept, before)
			}
			left, err := os.ReadDir(w.TempDir())
			noError(t, err)
			if len(left) > 0 {
				t.Errorf("got temporary files %v, want none", left)
			}
		})
	}
}

// Bounds.Bytes limits the uncompressed size in every format.
func TestBounds_BytesLimitTheUncompressedSize(t *testing.T) {
	t.Parallel()
	ndjson := generated(t, tenant.WriteCalls)
	parquet, err := os.ReadFile(asTable(t, ndjson, "parquet"))
	noError(t, err)
	csv, err := os.ReadFile(asTable(t, ndjson, "csv"))
	noError(t, err)
	nothing := asArrow(t, []byte("{}"), "unnest([NULL FOR i IN range(1_000_000)]) AS id") // rows that take no bytes
	for format, content := range map[ingest.Format][]byte{ingest.NDJSON: ndjson, ingest.JSON: asArray(t, ndjson),
		ingest.CSV: csv, ingest.Parquet: parquet, ingest.Arrow: nothing} {
		w := openNew(t)
		in := ingest.Input{Name: "push", Format: format, Dataset: "calls", Tenant: tenant.ID,
			Bounds: ingest.Bounds{Bytes: 50_000}, Body: bytes.NewReader(packed(t, ".zst", content))}
		if _, err := ingest.Load(t.Context(), w, in); !errors.Is(err, warehouse.ErrTooLarge) {
			t.Errorf("%s: got %v, want %v", format, err, warehouse.ErrTooLarge)
		}
		left, err := os.ReadDir(w.TempDir())
		noError(t, err)
		if len(left) > 0 {
			t.Errorf("%s: got temporary files %v, want none", format, left)
		}
	}
}

// An Arrow stream with invalid offsets is refused.
func TestLoad_InvalidArrowOffsets(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	builder.Field(0).(*array.StringBuilder).AppendValues([]string{"one", "seven"}, nil)
	var whole bytes.Buffer
	writer := ipc.NewWriter(&whole, ipc.WithSchema(schema))
	noError(t, errors.Join(writer.Write(builder.NewRecordBatch()), writer.Close()))
	broken := bytes.Replace(whole.Bytes(), []byte{3, 0, 0, 0, 8, 0, 0, 0}, []byte{0, 0, 0, 0x40, 8, 0, 0, 0}, 1)
	summary := load(t, w, ingest.Input{Name: "calls.arrows", Body: bytes.NewReader(broken)})
	if summary.FilesRefused != 1 || !strings.Contains(summary.Refusals[len(summary.Refusals)-1].Reason,
		"contradicts itself") {
		t.Errorf("got %+v, want a refused file that contradicts itself", summary)
	}
}

// A truncated file gives the rows before its end, and is refused.
func TestLoad_TruncatedFile(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	gz := packed(t, ".gz", generated(t, tenant.WriteCalls))
	summary := load(t, w, ingest.Input{Name: "calls.ndjson.gz", Body: bytes.NewReader(gz[:len(gz)/2])})
	if summary.FilesRefused != 1 || summary.New == 0 || summary.New >= int64(tenant.Calls) || summary.Refused != 0 {
		t.Fatalf("got %+v, want one refused file and some new rows", summary)
	}
	want := fmt.Sprintf("cannot be read after line %d: the gzip data is cut off", summary.New)
	if reason := summary.Refusals[0].Reason; !strings.Contains(reason, want) {
		t.Errorf("got %s, want %s", reason, want)
	}
}

// bzip2Rows are the two rows of TestLoad_ReadsRowsAfterTheFirstEnd, in hexadecimal, each compressed by bzip2. Go has no
// compressor.
var bzip2Rows = []string{
	"425a6839314159265359c904991000001f5b804490100675500000ae20140a200041053c90c4c9e286f54283468d0640" +
		"69c18ae4a75714ead557ba919c43f2870fb93233229667e5d6c258020bf8bb9229c284864824c880",
	"425a6839314159265359125cdb8400001f5b804490100675500000ae20140a200050a0d1a341901a108f4a0647a9b286" +
		"f54d94d9d27372fd5ec31c8455888de8afa261aacd408f3f0cd4cb12847e2ee48a70a12024b9b708",
}

// A file whose rows are all refused for one reason is reported once, with the fields that were not read.
func TestLoad_AllRowsRefused(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for name, test := range map[string]struct{ file, content, want string }{
		"other names": {"calls.csv", "call,time,cost\n1,2,3\n3,4,5\n",
			"all 2 rows were refused for one reason: id is missing; created_at is missing; fields that are not read: call, time"},
		"other values": {"calls.csv", "id,created_at\n" + tenant.ID.String() + ",today\n" + tenant.ID.String() + ",now\n",
			"all 2 rows were refused for one reason: created_at is not a time: today"},
		"other format": {"calls.ndjson", "id,created_at\n1,2\n",
			"all 2 rows were refused for one reason: line is not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			summary := load(t, w, ingest.Input{Name: test.file, Tenant: tenant.ID, Body: strings.NewReader(test.content)})
			if len(summary.Refusals) != 1 || summary.Refusals[0].Reason != test.want || summary.Refused != 2 {
				t.Errorf("got %+v, want one refusal: %s", summary, test.want)
			}
		})
	}
	two := "id,created_at\nx,2026-01-01\n" + tenant.ID.String() + ",today\n"
	if summary := load(t, w, ingest.Input{Name: "calls.csv", Tenant: tenant.ID, Body: strings.NewReader(two)}); len(
		summary.Refusals) != 2 {
		t.Errorf("got %+v, want two refusals", summary)
	}
}

// The rows after the first end of an input are read, in every codec.
func TestLoad_ReadsRowsAfterTheFirstEnd(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	row := func(n int) []byte {
		return fmt.Appendf(nil, `{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-01-01"}`+"\n", n)
	}
	skippable := []byte("\x53\x2a\x4d\x18\x03\x00\x00\x00abc")
	bz := func(n int) []byte {
		content, err := hex.DecodeString(bzip2Rows[n-1])
		noError(t, err)
		return content
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	pack := func(codec string, n int) []byte { return packed(t, codec, row(n)) }
	unfinished := pack(".zst", 2)
	for name, test := range map[string]struct {
		content []byte
		rows    int
		reason  string // empty: the input is read to its end
	}{
		"gzip members": {join(pack(".gz", 1), packed(t, ".gz", nil), pack(".gz", 2)), 2, ""},
		"gzip and text": {join(pack(".gz", 1), row(2)), 1,
			"bytes that are not gzip follow the compressed data"},
		"gzip and zeros":             {join(pack(".gz", 1), make([]byte, 512)), 1, "bytes that are not gzip follow"},
		"zstd frames":                {join(pack(".zst", 1), pack(".zst", 2)), 2, ""},
		"zstd with skippable frames": {join(skippable, pack(".zst", 1), skippable, pack(".zst", 2), skippable), 2, ""},
		"zstd and text": {join(pack(".zst", 1), row(2)), 1,
			"bytes that are not zstd follow the compressed data"},
		"zstd and a byte":               {join(pack(".zst", 1), []byte{0x28}), 1, "unexpected EOF"},
		"zstd and half a frame":         {join(pack(".zst", 1), unfinished[:len(unfinished)/2]), 1, "unexpected EOF"},
		"zstd and half a skipped frame": {join(pack(".zst", 1), skippable[:9]), 1, "unexpected EOF"},
		"only a skippable frame":        {skippable, 0, ""},
		"bzip2 streams":                 {join(bz(1), bz(2)), 2, ""},
		"bzip2 and text":                {join(bz(1), row(2)), 1, "bytes that are not bzip2 follow the compressed data"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, bounds := range []ingest.Bounds{{}, {Bytes: 1 << 20, Refused: 10}} {
				summary := load(t, w, ingest.Input{Name: "calls", Format: ingest.NDJSON, Dataset: "calls", Tenant: tenant.ID,
					Bounds: bounds, Body: bytes.NewReader(test.content)})
				if summary.Read != int64(test.rows) || summary.Refused != 0 || (test.reason != "") != (summary.FilesRefused == 1) {
					t.Errorf("got %+v, want %d rows and the reason %q", summary, test.rows, test.reason)
				}
				if test.reason != "" && !strings.Contains(fmt.Sprint(summary.Refusals), test.reason) {
					t.Errorf("got %+v, want the reason %q", summary.Refusals, test.reason)
				}
			}
		})
	}
}

// A syntax error between the elements of an array ends the reading. The elements before it are loaded.
func TestLoad_BrokenArray(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	row := fmt.Sprintf(`{"id":%q,"created_at":"2026-01-01"}`, uuid.NewString())
	for end, reason := range map[string]string{
		`, {"id":`: "unexpected EOF", ",]": "unexpected ']' in the JSON array", "": "unexpected EOF",
		",,": "unexpected ',' in the JSON array",
	} {
		summary := load(t, w, ingest.Input{Name: "calls.json", Tenant: tenant.ID,
			Body: strings.NewReader("[" + row + end)})
		if summary.FilesRefused != 1 || !strings.Contains(summary.Refusals[0].Reason, reason) || summary.Read != 1 &&
			end != "" {
			t.Errorf("%s: got %+v, want the reason %q", end, summary, reason)
		}
	}
}

func TestLoad_Cancel(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	go func() {
		writer.Write([]byte("{}\n")) //nolint:errcheck // read before the cancel, or not at all
		cancel()
		writer.CloseWithError(io.ErrUnexpectedEOF)
	}()
	_, err := ingest.Load(ctx, w, ingest.Input{Name: "calls.ndjson", Body: reader})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	noError(t, reader.Close())
}

// Each row of the real dialogues is loaded once, and the lake has the values of the files.
func TestLoad_RealDialogues(t *testing.T) {
	t.Parallel()
	const folder = "../../shared/data/sgd"
	if _, err := os.Stat(folder); err != nil {
		t.Skip("missing folder " + folder)
	}
	w := openNew(t)
	files, _, err := ingest.Find([]string{folder})
	noError(t, err)
	rows := map[string]int64{"calls": 10_031, "customers": 6_679, "messages": 78_232}
	if len(files) != len(rows) {
		t.Fatalf("got files %v, want %d", files, len(rows))
	}
	for _, found := range files {
		file := found.Path
		n := rows[strings.TrimSuffix(filepath.Base(file), ".ndjson.gz")]
		wantCounts(t, load(t, w, ingest.Input{Name: file, Body: mustOpen(t, file)}), schema.Counts{Read: n, New: n})
		wantCounts(t, load(t, w, ingest.Input{Name: file, Body: mustOpen(t, file)}), schema.Counts{Read: n,
			Unchanged: n})
	}
	published, err := w.Publish(t.Context())
	noError(t, err)
	if published.Rows != 94_942 {
		t.Errorf("got %+v, want 94942 rows", published)
	}
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	var differing int64
	// Compare each row of the lake with the row that DuckDB reads from the file.
	noError(t, db.QueryRowContext(t.Context(), fmt.Sprintf(`
		WITH theirs AS (
		         SELECT id::UUID AS id, user_id::VARCHAR AS tenant, cost::DECIMAL(10, 4) AS cost, duration_seconds,
		             status, summary, created_at::TIMESTAMPTZ AS created_at,
		             CASE WHEN json_type(transcript) = 'ARRAY' THEN list_transform(
		                 from_json(transcript, '[{"speaker":"VARCHAR","text":"VARCHAR"}]'), lambda t: t.text)
		             ELSE list_transform(string_split(replace(replace(chr(10) || (transcript ->> '$'),
		                 chr(10) || 'Assistant: ', chr(1)), chr(10) || 'Caller: ', chr(1))[2:], chr(1)),
		                 lambda said: rtrim(said, chr(10))) END AS said
		         FROM read_json('%s/calls.ndjson.gz')),
		     ours AS (SELECT id, tenant_id::VARCHAR AS tenant, cost, duration_seconds, status, summary, created_at,
		                  list_transform(transcript, lambda t: t.text) AS said
		              FROM read_parquet('%s/lake/tenant_id=*/calls/*/*.parquet', hive_partitioning = true))
		SELECT count(*) FROM ((FROM theirs EXCEPT ALL FROM ours) UNION ALL (FROM ours EXCEPT ALL FROM theirs))`, folder,
		w.Dir())).Scan(&differing))
	if differing != 0 {
		t.Errorf("got %d rows that differ, want none", differing)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	noError(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}
