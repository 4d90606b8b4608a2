-- Settings of the transaction. Values are printed in full, in UTF-8 and in one style, whatever the server's defaults
-- are. A database without an encoding (SQL_ASCII) may contain bytes that are not UTF-8. They are read as they are, so
-- that they make one row invalid and not the statement. Rows hidden by row level security are an error, because they
-- would look deleted.
SELECT set_config('client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true);
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SET LOCAL extra_float_digits = 1;
SET LOCAL row_security = off;
-- No wait is endless. Timeouts of the DSN, the user or the server have precedence.
SELECT set_config('lock_timeout', '30s', true) WHERE current_setting('lock_timeout') = '0';
SELECT set_config('statement_timeout', '15min', true) WHERE current_setting('statement_timeout') = '0';
-- Sorting needs more than the default of 4 MB. Compiling the statements takes longer than it saves.
SET LOCAL work_mem = '64MB';
SET LOCAL jit = off;
