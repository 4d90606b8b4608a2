-- Selects the bytes of memory of rows and updates that are not checkpointed, and of tables in memory.
SELECT coalesce(sum(memory_usage_bytes), 0)::DOUBLE FROM duckdb_memory() WHERE tag IN ('IN_MEMORY_TABLE', 'TRANSACTION');
