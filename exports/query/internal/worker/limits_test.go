package worker

import (
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/querytest"
	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
)

// Limits that no result of these tests reaches.
const (
	maxRows  = 10_000_000
	maxBytes = 2 << 30
)

// shapes are statements with rows of different shapes. They contain a %d for the number of rows. Column n numbers the
// rows from 0.
var shapes = map[string]string{
	"small rows": "SELECT range AS n FROM range(%d)",
	"long texts": "SELECT range AS n, repeat(chr((97 + range %% 26)::INTEGER), " +
		"(range * 7919 %% 5000)::INTEGER) AS t FROM range(%d)",
	"escaped text": "SELECT range AS n, repeat('\"' || chr(1) || ',' || chr(10), " +
		"(range %% 300)::INTEGER) AS t FROM range(%d)",
	"noise": "SELECT range AS n, (SELECT string_agg(md5((range * 100 + i)::VARCHAR), '') " +
		"FROM range(20) t(i)) AS t, hash(range) AS h, random() AS r FROM range(%d)",
	"nested": "SELECT range AS n, [range, NULL] AS l, {'a': 'x' || range, 'b': [range::VARCHAR]} AS s, " +
		"MAP {'k': range} AS m, union_value(num := range) AS u FROM range(%d)",
	"NULLs": "SELECT range AS n, CASE WHEN range %% 3 = 0 THEN range::VARCHAR END AS t, NULL AS x, " +
		"CASE WHEN range %% 2 = 0 THEN range::DECIMAL(9, 2) END AS d, " +
		"CASE WHEN range %% 5 = 0 THEN true END AS b FROM range(%d)",
	"enums": "SELECT range AS n, (['low', 'high', repeat('middle', 50)])[range %% 3 + 1]::ENUM('low', 'high', '" +
		strings.Repeat("middle", 50) + "') AS e FROM range(%d)",
	"wide":  "SELECT range AS n, " + wideColumns(500) + " FROM range(least(%d, 100))",
	"blobs": "SELECT range AS n, repeat('\\xFF\\x00', (range %% 90)::INTEGER)::BLOB AS b FROM range(%d)",
	"one huge row": "SELECT range AS n, CASE WHEN range = 5 THEN repeat('x', 3000000) " +
		"ELSE 'small' END AS t FROM range(least(%d, 100))",
}

func wideColumns(count int) string {
	columns := make([]string, count)
	for i := range columns {
		columns[i] = fmt.Sprintf("range + %d AS column_%d", i, i)
	}
	return strings.Join(columns, ", ")
}

// runInProcess runs a task in this process, as a worker does.
func runInProcess(t testing.TB, task protocol.Task) (string, protocol.Outcome, error) {
	t.Helper()
	e := sharedEngine(t)
	var out bytes.Buffer
	task.Started, task.ID = time.Now(), "an-id"
	outcome, err := runTask(e, &task, &out)
	return out.String(), outcome, err
}

var opened = sync.OnceValues(func() (*engine, error) {
	e, err := openEngine(map[string]string{"threads": "2"})
	if err != nil {
		return nil, err
	}
	return e, e.exec("SET TimeZone = 'UTC'")
})

// sharedEngine returns an engine that all tests share. A worker's engine runs one task only.
func sharedEngine(t testing.TB) *engine {
	t.Helper()
	e, err := opened()
	querytest.NoError(t, err)
	return e
}

// readNumbers returns column n of a result, and the outcome that the result itself contains, with a reader that is not
// part of this package. Rows is -1 if the format contains no outcome.
func readNumbers(t testing.TB, db *sql.DB, format, text string) (numbers []int64, reported protocol.Outcome) {
	t.Helper()
	reported.Rows = -1
	add := func(value json.RawMessage) {
		var n int64
		querytest.NoError(t, json.Unmarshal(value, &n))
		numbers = append(numbers, n)
	}
	switch format {
	case protocol.JSON, protocol.JSONColumns:
		var a struct {
			Rows      [][]json.RawMessage `json:"rows"`
			Values    [][]json.RawMessage `json:"values"`
			RowCount  int64               `json:"row_count"`
			Truncated *string             `json:"truncated"`
		}
		querytest.NoError(t, json.Unmarshal([]byte(text), &a))
		for _, row := range a.Rows {
			add(row[0])
		}
		if format == protocol.JSONColumns {
			for _, value := range a.Values[0] {
				add(value)
			}
		}
		if reported.Rows = a.RowCount; a.Truncated != nil {
			reported.Truncated = *a.Truncated
		}
	case protocol.NDJSON:
		for line := range strings.Lines(text) {
			var row struct{ N json.RawMessage }
			querytest.NoError(t, json.Unmarshal([]byte(line), &row))
			add(row.N)
		}
	case protocol.CSV:
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		querytest.NoError(t, err)
		for _, row := range rows[1:] {
			add(json.RawMessage(row[0]))
		}
	case protocol.Arrow:
		rows, err := arrowtest.CheckStream(strings.NewReader(text))
		querytest.NoError(t, err)
		if numbers = querytest.ArrowNumbers(t, text); int64(len(numbers)) != rows {
			t.Fatalf("got %d numbers in %d rows", len(numbers), rows)
		}
	case protocol.Parquet:
		path := filepath.Join(t.TempDir(), "result.parquet")
		querytest.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		rows, err := db.QueryContext(t.Context(), "SELECT n FROM read_parquet('"+path+"')")
		querytest.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var n int64
			querytest.NoError(t, rows.Scan(&n))
			numbers = append(numbers, n)
		}
		querytest.NoError(t, rows.Err())
		var count string
		querytest.NoError(t, db.QueryRowContext(t.Context(),
			"SELECT max(value::VARCHAR) FILTER (key::VARCHAR = 'voicory.rows'), "+
				"max(value::VARCHAR) FILTER (key::VARCHAR = 'voicory.truncated') FROM "+
				"parquet_kv_metadata('"+path+"')").Scan(&count, &reported.Truncated))
		_, err = fmt.Sscan(count, &reported.Rows)
		querytest.NoError(t, err)
	}
	return numbers, reported
}

// A result is never longer than its limits, is complete in its format, contains the first rows, and reports which
// limit was reached.
func TestLimits_HoldExactly(t *testing.T) {
	db, err := sql.Open("duckdb", "")
	querytest.NoError(t, err)
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, shape := range shapes {
		for _, format := range protocol.Formats {
			t.Run(name+" as "+format, func(t *testing.T) {
				const rows = 2500
				statement := fmt.Sprintf(shape, rows) + " ORDER BY n"
				whole, all, err := runInProcess(t, protocol.Task{SQL: statement, Format: format, Limit: maxRows,
					MaxBytes: maxBytes})
				querytest.NoError(t, err)
				if all.Truncated != "" {
					t.Fatalf("got %+v without limits", all)
				}
				fit := false
				for i := range 4 { // both sizes, each with and without a limit of rows
					most := 1 + rng.Int64N(int64(len(whole))*5/4)
					if i%2 == 0 {
						most = 1 + rng.Int64N(min(int64(len(whole)), 20_000))
					}
					limit := int64(maxRows)
					if i%3 == 0 { // 0 and 3
						limit = 1 + rng.Int64N(rows)
					}
					text, outcome, err := runInProcess(t, protocol.Task{SQL: statement, Format: format, Limit: limit, MaxBytes: most})
					if errors.Is(err, protocol.ErrLimitTooSmall) {
						if text != "" || !strings.Contains(err.Error(), fmt.Sprintf("may have %d", most)) {
							t.Fatalf("got %q and %v within %d bytes", text, err, most)
						}
						continue
					}
					querytest.NoError(t, err)
					fit = true
					if int64(len(text)) > most {
						t.Fatalf("got %d bytes, want at most %d", len(text), most)
					}
					numbers, reported := readNumbers(t, db, format, text)
					for i, n := range numbers {
						if n != int64(i) {
							t.Fatalf("row %d is %d", i, n)
						}
					}
					want := ""
					switch int64(len(numbers)) {
					case all.Rows:
					case limit:
						want = protocol.TruncatedRows
					default:
						want = protocol.TruncatedBytes
					}
					if outcome.Rows != int64(len(numbers)) || outcome.Rows > limit || outcome.Truncated != want ||
						reported.Rows >= 0 && reported != outcome {
						t.Fatalf("got %+v and in the result %+v, want %d rows cut off by %q", outcome, reported, len(numbers), want)
					}
				}
				if !fit && format != protocol.Parquet {
					t.Error("no limit left room for a row")
				}
			})
		}
	}
}

// A limit of a result's own size keeps every row. One byte less leaves out the last row.
func TestLimits_LeaveOutNoRowThatFits(t *testing.T) {
	for _, format := range []string{protocol.NDJSON, protocol.CSV, protocol.Arrow} {
		task := protocol.Task{SQL: "SELECT range AS n, 'some text' AS t FROM range(100) ORDER BY n", Format: format,
			Limit:    maxRows,
			MaxBytes: maxBytes}
		whole, _, err := runInProcess(t, task)
		querytest.NoError(t, err)
		for less, want := range map[int64]string{0: "{100 }", 1: "{99 bytes}"} {
			task.MaxBytes = int64(len(whole)) - less
			_, outcome, err := runInProcess(t, task)
			if got := fmt.Sprint(outcome); err != nil || got != want && (format != protocol.Arrow || less == 0) ||
				outcome.Rows == 100 != (less == 0) {
				t.Errorf("%s within %d of %d bytes: got %s, want %s (%v)", format, task.MaxBytes, len(whole), got, want, err)
			}
		}
	}
}

// Parquet counts rows uncompressed, so that a file can be much shorter than its limit. Rows that fit uncompressed are
// kept.
func TestLimits_OfParquetAreTight(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		most int64
		rows int64
	}{
		"texts":   {"SELECT repeat('x', 1000) AS t FROM range(5000)", 1_000_000, 950},
		"numbers": {"SELECT range AS n, range * 2 AS m FROM range(1000000)", 1_000_000, 40_000},
	} {
		_, outcome, err := runInProcess(t, protocol.Task{SQL: c.sql, Format: protocol.Parquet, Limit: maxRows,
			MaxBytes: c.most})
		if err != nil || outcome.Rows < c.rows || outcome.Truncated != protocol.TruncatedBytes {
			t.Errorf("%s: got %+v, want at least %d rows (%v)", name, outcome, c.rows, err)
		}
	}
}

// The statistics of decimals are those of signed numbers, so that readers skip no row group that has matching rows.
func TestParquet_StatisticsOfDecimalsAreSigned(t *testing.T) {
	text, _, err := runInProcess(t, protocol.Task{Format: protocol.Parquet, Limit: maxRows, MaxBytes: maxBytes,
		SQL: "SELECT (range - 50)::DECIMAL(38, 2) AS d, [range - 50]::HUGEINT[] AS l FROM range(101)"})
	querytest.NoError(t, err)
	path := filepath.Join(t.TempDir(), "result.parquet")
	querytest.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	db, err := sql.Open("duckdb", "")
	querytest.NoError(t, err)
	defer db.Close()
	for query, want := range map[string]string{
		"SELECT count(*) FROM '" + path + "' WHERE d < 0":                                     "50",
		"SELECT count(*) FROM '" + path + "' WHERE d >= 49.5":                                 "1",
		"SELECT min(stats_min_value::DECIMAL) FROM parquet_metadata('" + path + "')":          "-50.000",
		"SELECT max(stats_max_value::DECIMAL) FROM parquet_metadata('" + path + "')":          "50.000",
		"SELECT count(*) FROM parquet_metadata('" + path + "') WHERE stats_min_value IS NULL": "0",
		"SELECT sum(l[1]) || ' ' || min(l[1]) FROM '" + path + "' WHERE list_sum(l) < 0":      "-1275 -50",
	} {
		var got string
		querytest.NoError(t, db.QueryRowContext(t.Context(), "SELECT ("+query+")::VARCHAR").Scan(&got))
		if got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// Long values are in a Parquet file once, not in its statistics and indexes too.
func TestParquet_StatisticsAreBounded(t *testing.T) {
	const long = 5_000_000
	text, outcome, err := runInProcess(t, protocol.Task{Format: protocol.Parquet, Limit: maxRows, MaxBytes: maxBytes,
		SQL: fmt.Sprintf("SELECT range AS n, repeat(chr((200 + range)::INTEGER), %d) AS t, "+
			"repeat('z', 70) || range AS z, 'short' AS s FROM range(6) ORDER BY n", long/2)})
	querytest.NoError(t, err)
	if outcome.Rows != 6 || len(text) > 20_000 { // it compresses well, unless a header has a value
		t.Errorf("got %+v and %d bytes", outcome, len(text))
	}
	file, err := parquet.OpenFile(strings.NewReader(text), int64(len(text)))
	querytest.NoError(t, err)
	for _, group := range file.Metadata().RowGroups {
		for i, chunk := range group.Columns[1:] {
			least, greatest := chunk.MetaData.Statistics.MinValue, chunk.MetaData.Statistics.MaxValue
			if len(least) == 0 || len(least) > 64 || len(greatest) > 64 || !utf8.Valid(least) ||
				!utf8.Valid(greatest) {
				t.Errorf("column %d: got bounds of %d and %d bytes: %q, %q", i+1, len(least), len(greatest), least, greatest)
			}
		}
	}
	for _, index := range file.ColumnIndexes() {
		for _, value := range append(index.MinValues, index.MaxValues...) {
			if len(value) > 64 {
				t.Errorf("got %d bytes in a column index", len(value))
			}
		}
	}
	path := filepath.Join(t.TempDir(), "result.parquet")
	querytest.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	db, err := sql.Open("duckdb", "")
	querytest.NoError(t, err)
	defer db.Close()
	for where, want := range map[string]int{"z = repeat('z', 70) || '5'": 1, "z > repeat('z', 70)": 6,
		"t >= chr(205)": 1, "t < chr(201)": 1, "s = 'short'": 6} {
		var got int
		querytest.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM '"+path+"' WHERE "+where).Scan(&got))
		if got != want {
			t.Errorf("%s: got %d rows, want %d", where, got, want)
		}
	}
	_, _, err = runInProcess(t, protocol.Task{SQL: "SELECT repeat('\\xFF', 100)::BLOB AS b", Format: protocol.Parquet,
		Limit:    maxRows,
		MaxBytes: maxBytes})
	if !errors.Is(err, protocol.ErrSQL) || !strings.Contains(err.Error(), `column "b"`) {
		t.Errorf("got %v for a value without an upper bound", err)
	}
}
