package arrowbatch

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// BenchmarkSource compares the conversion with that of DuckDB alone.
func BenchmarkSource(b *testing.B) {
	convert := map[string]func(duckdb.ArrowOptions, *arrow.Schema, duckdb.DataChunk) (arrow.RecordBatch, duckdb.ErrorData){
		"raw": duckdb.DataChunkToArrowArray,
		"canonical": func(
			options duckdb.ArrowOptions, schema *arrow.Schema, chunk duckdb.DataChunk,
		) (arrow.RecordBatch, duckdb.ErrorData) {
			return newSource(options, schema).Batch(chunk)
		},
	}
	for name, convert := range convert {
		b.Run(name, func(b *testing.B) {
			sql := `SELECT i::BIGINT a, CASE WHEN i%2=0 THEN i END b, CASE WHEN hash(i)%3=0 THEN i::INTEGER END c, CASE WHEN hash(i)%3=0 THEN i::DOUBLE END d, NULL::DECIMAL(9,4) e,
			CASE WHEN hash(i) %4 = 0 THEN 'text '||i END f, 'text '||i g, CASE WHEN i%3=0 THEN 'a summary '||i END h, make_timestamp(i) j, NULL::TIMESTAMP k,
			CASE WHEN i%2=0 THEN 'inbound'::ENUM('inbound','outbound') END l, md5(i::VARCHAR)::UUID m FROM range(2048) t(i)`
			chunks(b, sql, func(options duckdb.ArrowOptions, schema *arrow.Schema, chunk duckdb.DataChunk) {
				for b.Loop() {
					batch, fault := convert(options, schema, chunk)
					if duckdb.ErrorDataHasError(fault) {
						b.Fatal(duckdb.ErrorDataMessage(fault))
					}
					batch.Release()
				}
			})
		})
	}
}
