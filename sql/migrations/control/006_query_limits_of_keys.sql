-- What SQL that a key asks may take, where that is less than what the server allows; NULL: the server's.
ALTER TABLE keys ADD COLUMN query_rows BIGINT;      -- of a result
ALTER TABLE keys ADD COLUMN query_bytes BIGINT;     -- of a result, in its format
ALTER TABLE keys ADD COLUMN query_time_ms BIGINT;   -- of all of it, the reading of its result too
