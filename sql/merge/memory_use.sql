-- Selects for each use of DuckDB's memory its bytes in memory and in temporary files.
SELECT lower(tag), memory_usage_bytes::DOUBLE, temporary_storage_bytes::DOUBLE FROM duckdb_memory() ORDER BY ALL;
