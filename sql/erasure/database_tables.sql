-- Selects the tables of a database, with the greatest number of rows that each may have.
SELECT table_name FROM duckdb_tables() WHERE database_name = {{catalog}} AND NOT internal ORDER BY table_oid;
