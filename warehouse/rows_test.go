package warehouse_test

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// writeParquet writes so many calls, the last of which has no id; where row groups are no multiples of 2,048 rows, batches end within records.
func writeParquet(t *testing.T, path string, rows, rowGroup int) {
	t.Helper()
	type row struct {
		ID        string    `parquet:"id"`
		CreatedAt time.Time `parquet:"created_at,timestamp(microsecond)"`
	}
	out, err := os.Create(path)
	noError(t, err)
	w := parquet.NewGenericWriter[row](out)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range rows {
		id := uuid.NewSHA1(uuid.Nil, []byte(strconv.Itoa(i))).String()
		if i == rows-1 {
			id = "none"
		}
		_, err := w.Write([]row{{id, begin.Add(time.Duration(i) * time.Second)}})
		noError(t, err)
		if i%rowGroup == rowGroup-1 {
			noError(t, w.Flush())
		}
	}
	noError(t, errors.Join(w.Close(), out.Close()))
}

// A Parquet file is read in batches of a row group of the tenant's file, which hold each of its rows once, whatever its own row groups are.
func TestParquetBatches(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	path := filepath.Join(t.TempDir(), "calls.parquet")
	for _, c := range []struct {
		rows, rowGroup, batches int
		pause                   bool // after each batch
	}{
		{1, 122_880, 1, false}, {0, 122_880, 0, false}, {61_440, 61_440, 1, true}, {30_720, 2_048, 1, false}, {122_880 + 5, 122_880, 3, true}, {140_000, 2_048, 3, false}, {140_000, 2_048, 3, true},
		{140_000, 65_000, 3, false}, {140_000, 65_000, 3, true}, {140_000, 1_000, 3, true}, {200_000, 200_000, 4, false}, {200_000, 200_000, 4, true},
	} {
		writeParquet(t, path, c.rows, c.rowGroup)
		file, err := w.OpenParquet(t.Context(), path, 1<<30)
		noError(t, err)
		batches := 0
		var total warehouse.Counts
		var refused []warehouse.Refusal
		for file.More() {
			counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: warehouse.Calls, Tenant: tenantA, Origin: "calls.parquet", Rows: file.Next()})
			noError(t, err)
			if counts.Read != warehouse.RowGroup && file.More() {
				t.Errorf("%+v: batch %d has %d", c, batches, counts.Read)
			}
			if c.pause {
				file.Pause()
			}
			batches++
			total.Add(counts)
			refused = append(refused, refusals...)
		}
		noError(t, file.Close())
		if batches != c.batches {
			t.Errorf("%+v: %d batches", c, batches)
		}
		if total.Read != int64(c.rows) || c.rows > 0 && (len(refused) != 1 || refused[0].Line != int64(c.rows)) {
			t.Errorf("%+v: read %d, refused %v", c, total.Read, refused)
		}
	}
	noError(t, w.Close())
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls"), "199999") // all are rows of the longest
}

// Columns of any type, and of any case, come in as they are, and the row that is refused is told as it was.
func TestParquetTypes(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "calls.parquet")
	_, err = db.ExecContext(t.Context(), `SET TimeZone = 'UTC'; COPY (SELECT CASE WHEN i = 5000 THEN 'none' ELSE md5(i::VARCHAR)::UUID::VARCHAR END AS "ID", TIMESTAMP '2026-01-01 00:00:00.123456' + to_seconds(i) AS "Created_At",
		CASE WHEN i = 1 THEN TIMESTAMP 'infinity' END AS ended_at, {'deep': {'list': [{'i': i}]}} AS metadata, 'rupees ₹' AS "É", {'i': i}::VARIANT AS anything, 1::HUGEINT AS huge, INTERVAL 3 DAY AS span, [true, NULL] AS several,
		MAP {'k': i} AS map, TIMETZ '11:00:00+02' AS clock, 'x'::BLOB AS bytes, 1.5::DECIMAL(38, 3) AS exact, UUID '00000000-0000-4000-8000-00000000000a' AS loose_row, '{"a":[1]}'::JSON AS line
		FROM range(5001) AS r(i) ORDER BY i) TO `+statements.Text(path)+` (FORMAT parquet)`)
	noError(t, err)
	file, err := w.OpenParquet(t.Context(), path, 1<<30)
	noError(t, err)
	counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: warehouse.Calls, Tenant: tenantA, Origin: "calls.parquet", Rows: file.Next()})
	noError(t, err)
	noError(t, file.Close())
	want(t, fmt.Sprint(counts.New, counts.Refused), "4999 2") // the infinite time is refused, too
	kept, err := w.Quarantine(t.Context(), 2)
	noError(t, err)
	want(t, kept[1].Row, `{"id":"none","created_at":"2026-01-01 01:23:20.123456","ended_at":null,"metadata":{"deep":{"list":[{"i":5000}]}},"É":"rupees ₹","anything":{"i":5000},`+
		`"huge":1.0,"span":"3 days","several":[true,null],"map":{"k":5000},"clock":"09:00:00+00","bytes":"x","exact":1.500,"loose_row":"00000000-0000-4000-8000-00000000000a","line":{"a":[1]}}`)
	noError(t, w.Close())
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls WHERE metadata->>'$.deep.list[0].i' = epoch(created_at)::BIGINT - 1767225600 AND ended_at IS NULL"), "4999")
}

// A footer may say anything: no list is made of more rows than are taken.
func TestParquetThatSaysTooMuch(t *testing.T) {
	w := openNew(t)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "calls.parquet")
	_, err = db.ExecContext(t.Context(), "COPY (SELECT i AS id FROM range(10) AS r(i)) TO "+statements.Text(path)+" (FORMAT parquet)")
	noError(t, err)
	whole, err := os.ReadFile(path)
	noError(t, err)
	file, err := parquet.OpenFile(bytes.NewReader(whole), int64(len(whole)))
	noError(t, err)
	const tail = 8 // the footer's length, and PAR1
	body := whole[:len(whole)-tail-int(binary.LittleEndian.Uint32(whole[len(whole)-tail:]))]
	for _, c := range []struct {
		rows, most int64
		kind       error
	}{{10, 10, nil}, {10, 9, warehouse.ErrTooLarge}, {1 << 62, 1 << 36, warehouse.ErrTooLarge}, {-1, 10, warehouse.ErrUnreadable}} {
		metadata := *file.Metadata()
		metadata.NumRows, metadata.RowGroups[0].NumRows = c.rows, c.rows
		footer, err := thrift.Marshal(new(thrift.CompactProtocol), &metadata)
		noError(t, err)
		forged := binary.LittleEndian.AppendUint32(append(bytes.Clone(body), footer...), uint32(len(footer)))
		noError(t, os.WriteFile(path, append(forged, "PAR1"...), 0o600))
		file, err := w.OpenParquet(t.Context(), path, c.most)
		if !errors.Is(err, c.kind) {
			t.Errorf("%d rows of at most %d: %v", c.rows, c.most, err)
		}
		if err == nil {
			noError(t, file.Close())
		}
	}
}
