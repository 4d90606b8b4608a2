package query

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
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

// runTask runs a task in this process, as a worker does.
func runTask(t testing.TB, task task) (string, Outcome, error) {
	t.Helper()
	e := sharedEngine(t)
	var out bytes.Buffer
	task.Started, task.ID = time.Now(), "an-id"
	outcome, err := run(e, &task, &out)
	return out.String(), outcome, err
}

var opened = sync.OnceValues(func() (*engine, error) { return openEngine(map[string]string{"threads": "2"}) })

// sharedEngine returns an engine that all tests share. A worker's engine runs one task only.
func sharedEngine(t testing.TB) *engine {
	t.Helper()
	e, err := opened()
	noError(t, err)
	return e
}

// readNumbers returns column n of a result, and the outcome that the result itself contains, with a reader that is not
// part of this package. Rows is -1 if the format contains no outcome.
func readNumbers(t testing.TB, db *sql.DB, format, text string) (numbers []int64, reported Outcome) {
	t.Helper()
	reported.Rows = -1
	add := func(value json.RawMessage) {
		var n int64
		noError(t, json.Unmarshal(value, &n))
		numbers = append(numbers, n)
	}
	switch format {
	case JSON, JSONColumns:
		var a jsonResult
		noError(t, json.Unmarshal([]byte(text), &a))
		for _, row := range a.Rows {
			add(row[0])
		}
		if format == JSONColumns {
			for _, value := range a.Values[0] {
				add(value)
			}
		}
		if reported.Rows = a.RowCount; a.Truncated != nil {
			reported.Truncated = *a.Truncated
		}
	case NDJSON:
		for line := range strings.Lines(text) {
			var row struct{ N json.RawMessage }
			noError(t, json.Unmarshal([]byte(line), &row))
			add(row.N)
		}
	case CSV:
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		noError(t, err)
		for _, row := range rows[1:] {
			add(json.RawMessage(row[0]))
		}
	case Arrow:
		rows, err := arrowtest.CheckStream(strings.NewReader(text))
		noError(t, err)
		if numbers = arrowNumbers(t, text); int64(len(numbers)) != rows {
			t.Fatalf("got %d numbers in %d rows", len(numbers), rows)
		}
	case Parquet:
		path := filepath.Join(t.TempDir(), "result.parquet")
		noError(t, os.WriteFile(path, []byte(text), 0o600))
		rows, err := db.QueryContext(t.Context(), "SELECT n FROM read_parquet('"+path+"')")
		noError(t, err)
		defer rows.Close()
		for rows.Next() {
			var n int64
			noError(t, rows.Scan(&n))
			numbers = append(numbers, n)
		}
		noError(t, rows.Err())
		var count string
		noError(t, db.QueryRowContext(t.Context(), "SELECT max(value::VARCHAR) FILTER (key::VARCHAR = 'voicory.rows'), "+
			"max(value::VARCHAR) FILTER (key::VARCHAR = 'voicory.truncated') FROM "+
			"parquet_kv_metadata('"+path+"')").Scan(&count, &reported.Truncated))
		_, err = fmt.Sscan(count, &reported.Rows)
		noError(t, err)
	}
	return numbers, reported
}

// A result is never longer than its limits, is complete in its format, contains the first rows, and reports which
// limit was reached.
func TestLimits_HoldExactly(t *testing.T) {
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, shape := range shapes {
		for _, format := range Formats {
			t.Run(name+" as "+format, func(t *testing.T) {
				const rows = 2500
				statement := fmt.Sprintf(shape, rows) + " ORDER BY n"
				whole, all, err := runTask(t, task{SQL: statement, Format: format, Limit: MaxRows, MaxBytes: MaxBytes})
				noError(t, err)
				if all.Truncated != "" {
					t.Fatalf("got %+v without limits", all)
				}
				fit := false
				for i := range 9 {
					most := 1 + rng.Int64N(int64(len(whole))*5/4)
					if i%2 == 0 {
						most = 1 + rng.Int64N(min(int64(len(whole)), 20_000))
					}
					limit := int64(MaxRows)
					if i%3 == 0 {
						limit = 1 + rng.Int64N(rows)
					}
					text, outcome, err := runTask(t, task{SQL: statement, Format: format, Limit: limit, MaxBytes: most})
					if errors.Is(err, ErrLimitTooSmall) {
						if text != "" || !strings.Contains(err.Error(), fmt.Sprintf("may have %d", most)) {
							t.Fatalf("got %q and %v within %d bytes", text, err, most)
						}
						continue
					}
					noError(t, err)
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
						want = truncatedRows
					default:
						want = truncatedBytes
					}
					if outcome.Rows != int64(len(numbers)) || outcome.Rows > limit || outcome.Truncated != want ||
						reported.Rows >= 0 && reported != outcome {
						t.Fatalf("got %+v and in the result %+v, want %d rows cut off by %q", outcome, reported, len(numbers), want)
					}
				}
				if !fit && format != Parquet {
					t.Error("no limit left room for a row")
				}
			})
		}
	}
}

// A limit of a result's own size keeps every row. One byte less leaves out the last row.
func TestLimits_LeaveOutNoRowThatFits(t *testing.T) {
	for _, format := range []string{NDJSON, CSV, Arrow} {
		task := task{SQL: "SELECT range AS n, 'some text' AS t FROM range(100) ORDER BY n", Format: format, Limit: MaxRows,
			MaxBytes: MaxBytes}
		whole, _, err := runTask(t, task)
		noError(t, err)
		for less, want := range map[int64]string{0: "{100 }", 1: "{99 bytes}"} {
			task.MaxBytes = int64(len(whole)) - less
			_, outcome, err := runTask(t, task)
			if got := fmt.Sprint(outcome); err != nil || got != want && (format != Arrow || less == 0) ||
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
		_, outcome, err := runTask(t, task{SQL: c.sql, Format: Parquet, Limit: MaxRows, MaxBytes: c.most})
		if err != nil || outcome.Rows < c.rows || outcome.Truncated != truncatedBytes {
			t.Errorf("%s: got %+v, want at least %d rows (%v)", name, outcome, c.rows, err)
		}
	}
}

// Long values are in a Parquet file once, not in its statistics and indexes too.
func TestParquet_StatisticsAreBounded(t *testing.T) {
	const long = 5_000_000
	text, outcome, err := runTask(t, task{Format: Parquet, Limit: MaxRows, MaxBytes: MaxBytes,
		SQL: fmt.Sprintf("SELECT range AS n, repeat(chr((200 + range)::INTEGER), %d) AS t, "+
			"repeat('z', 70) || range AS z, 'short' AS s FROM range(6) ORDER BY n", long/2)})
	noError(t, err)
	if outcome.Rows != 6 || len(text) > 20_000 { // it compresses well, unless a header has a value
		t.Errorf("got %+v and %d bytes", outcome, len(text))
	}
	file, err := parquet.OpenFile(strings.NewReader(text), int64(len(text)))
	noError(t, err)
	for _, group := range file.Metadata().RowGroups {
		for i, chunk := range group.Columns[1:] {
			least, greatest := chunk.MetaData.Statistics.MinValue, chunk.MetaData.Statistics.MaxValue
			if len(least) == 0 || len(least) > maxStatistic || len(greatest) > maxStatistic || !utf8.Valid(least) ||
				!utf8.Valid(greatest) {
				t.Errorf("column %d: got bounds of %d and %d bytes: %q, %q", i+1, len(least), len(greatest), least, greatest)
			}
		}
	}
	for _, index := range file.ColumnIndexes() {
		for _, value := range append(index.MinValues, index.MaxValues...) {
			if len(value) > maxStatistic {
				t.Errorf("got %d bytes in a column index", len(value))
			}
		}
	}
	path := filepath.Join(t.TempDir(), "result.parquet")
	noError(t, os.WriteFile(path, []byte(text), 0o600))
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	for where, want := range map[string]int{"z = repeat('z', 70) || '5'": 1, "z > repeat('z', 70)": 6,
		"t >= chr(205)": 1, "t < chr(201)": 1, "s = 'short'": 6} {
		var got int
		noError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM '"+path+"' WHERE "+where).Scan(&got))
		if got != want {
			t.Errorf("%s: got %d rows, want %d", where, got, want)
		}
	}
	_, _, err = runTask(t, task{SQL: "SELECT repeat('\\xFF', 100)::BLOB AS b", Format: Parquet, Limit: MaxRows,
		MaxBytes: MaxBytes})
	if !errors.Is(err, ErrSQL) || !strings.Contains(err.Error(), `column "b"`) {
		t.Errorf("got %v for a value without an upper bound", err)
	}
}

func TestStatistics_BoundsAreBelowAndAbove(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabets := []string{"az", "\x7f\x7e", "é\u07ff", "\ud7ff\uffff", "\U0010ffff\U0010fffe", "\xff\x00\xfe",
		"a\U0010ffff"}
	for range 20_000 {
		var value []byte
		alphabet := alphabets[rng.IntN(len(alphabets))]
		runes := []string{}
		if utf8.ValidString(alphabet) {
			runes = strings.Split(alphabet, "")
		} else {
			for i := range len(alphabet) {
				runes = append(runes, alphabet[i:i+1])
			}
		}
		for n := rng.IntN(150); len(value) < n; {
			value = append(value, runes[rng.IntN(len(runes))]...)
		}
		lower := lowerBound(value)
		upper, ok := upperBound(value)
		if len(lower) > maxStatistic || bytes.Compare(lower, value) > 0 || ok &&
			(len(upper) > maxStatistic || bytes.Compare(upper, value) < 0) {
			t.Fatalf("bounds of %q: got %q and %q", value, lower, upper)
		}
		if utf8.Valid(value) && (!utf8.Valid(lower) || !utf8.Valid(upper)) {
			t.Fatalf("bounds of the text %q: got %q and %q", value, lower, upper)
		}
	}
	for _, highest := range []string{strings.Repeat("\xff", 65), strings.Repeat("\U0010ffff", 17)} {
		if bound, ok := upperBound([]byte(highest)); ok {
			t.Errorf("got the upper bound %q of %q", bound, highest)
		}
	}
}

// A value of 50 MB fits in every format, in a worker with the default memory limit.
func TestLimits_OneHugeValue(t *testing.T) {
	r := newRunner(t, openLake(t))
	for _, format := range Formats {
		text, outcome, err := runQuery(t.Context(), r, Request{SQL: "SELECT 7 AS n, repeat('x', 50000000) AS t",
			Format: format})
		if err != nil || outcome != (Outcome{Rows: 1}) || format != Parquet && len(text) < 50_000_000 {
			t.Errorf("%s: got %+v, %d bytes and %v", format, outcome, len(text), err)
		}
		_, outcome, err = runQuery(t.Context(), r, Request{SQL: "SELECT 7 AS n, repeat('x', 50000000) AS t", Format: format,
			MaxBytes: 1_000_000})
		if err != nil || outcome != (Outcome{Truncated: truncatedBytes}) {
			t.Errorf("%s within 1 MB: got %+v and %v", format, outcome, err)
		}
	}
}

// WriteTo writes no more than the limit, even if the worker sends more.
func TestResult_PassesOnNoMoreThanTheLimit(t *testing.T) {
	const worker = `echo '{"confined":{"landlock":1,"seccomp":true,"privileges":true}}' >&3; read settings; read task
		echo '{"begins":true}' >&3; head -c 5000000 /dev/zero >&4; exec 4>&-; echo '{"done":{"rows":1,"truncated":""}}' >&3`
	for _, most := range []int64{10, maxHead, maxHead + 1, 3 * maxHead} {
		var log bytes.Buffer
		r := newRunner(t, openLake(t), func(o *Options) {
			o.MaxBytes, o.IdleWorkers, o.Command = most, 0, []string{"/bin/sh", "-c", worker}
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		result, err := r.Start(t.Context(), "id", Request{Tenant: tenantA, SQL: "SELECT 1", Format: NDJSON})
		var out bytes.Buffer
		if err == nil {
			_, err = result.WriteTo(&out)
			result.Close()
		}
		want := most
		if most <= maxHead { // the server reads so much before it begins its answer
			want = 0
		}
		if !errors.Is(err, ErrCrashed) || int64(out.Len()) != want ||
			!strings.Contains(log.String(), fmt.Sprintf("sent more than %d bytes", most)) {
			t.Errorf("within %d bytes: got %d and %v, want %d; the log is %s", most, out.Len(), err, want, &log)
		}
	}
}

// A stalled client blocks its first write until it is released.
type stalled struct {
	bytes.Buffer
	reached chan struct{} // closed when the first bytes come
	release chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	if s.Len() == 0 {
		close(s.reached)
		<-s.release
	}
	return s.Buffer.Write(p)
}

// WriteTo writes nothing after its context has ended, even if the worker has sent the whole result.
func TestResult_PassesOnNothingAfterItsTime(t *testing.T) {
	r := newRunner(t, openLake(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	result, err := r.Start(ctx, "id", Request{Tenant: tenantA, SQL: "SELECT repeat('x', 1000) FROM range(500)",
		Format: NDJSON})
	noError(t, err)
	defer result.Close()
	client := &stalled{reached: make(chan struct{}), release: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := result.WriteTo(client)
		done <- err
	}()
	<-client.reached
	late := errors.New("too late")
	cancel(late)
	close(client.release)
	if err := <-done; !errors.Is(err, late) || client.Len() != len(result.Head) {
		t.Errorf("got %v after %d bytes, want %d", err, client.Len(), len(result.Head))
	}
}
