package warehouse_test

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// A Parquet file is read in parts of a row group of the tenant's file, which hold each of its rows once, whatever its own row groups are.
func TestParquetParts(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "calls.parquet")
	for _, c := range []struct{ rows, rowGroup, parts int }{
		{1, 122_880, 1}, {0, 122_880, 0}, {61_440, 61_440, 1}, {30_720, 2_048, 1}, {122_880 + 5, 122_880, 3}, {140_000, 2_048, 3}, {140_000, 65_536, 3}, {200_000, 200_000, 4},
	} {
		_, err := db.ExecContext(t.Context(), fmt.Sprintf(`COPY (SELECT CASE WHEN i = %d THEN 'none' ELSE md5(i::VARCHAR)::UUID::VARCHAR END AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i) AS created_at
			FROM range(%d) AS r(i) ORDER BY i) TO %s (FORMAT parquet, ROW_GROUP_SIZE %d)`, c.rows-1, c.rows, statements.Text(path), c.rowGroup))
		noError(t, err)
		parts, _, err := w.ParquetParts(t.Context(), path, 1<<30)
		noError(t, err)
		if len(parts) != c.parts {
			t.Errorf("%d rows in groups of %d: %d parts, not %d", c.rows, c.rowGroup, len(parts), c.parts)
		}
		var total warehouse.Counts
		var refused []warehouse.Refusal
		for i, part := range parts {
			counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: warehouse.Calls, Tenant: tenantA, Origin: "calls.parquet", Rows: part})
			noError(t, err)
			if counts.Read != warehouse.RowGroup && i < len(parts)-1 {
				t.Errorf("%d rows in groups of %d: part %d has %d", c.rows, c.rowGroup, i, counts.Read)
			}
			total.Add(counts)
			refused = append(refused, refusals...)
		}
		if total.Read != int64(c.rows) || c.rows > 0 && (len(refused) != 1 || refused[0].Line != int64(c.rows)) {
			t.Errorf("%d rows in groups of %d: read %d, refused %v", c.rows, c.rowGroup, total.Read, refused)
		}
	}
	noError(t, w.Close())
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls"), "199999") // all are rows of the longest
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
		if parts, _, err := w.ParquetParts(t.Context(), path, c.most); !errors.Is(err, c.kind) || len(parts) > 1 {
			t.Errorf("%d rows of at most %d: %d parts, %v", c.rows, c.most, len(parts), err)
		}
	}
}
