-- Selects DuckDB's memory limit in bytes.
SELECT parse_formatted_bytes(current_setting('memory_limit'))::DOUBLE;
