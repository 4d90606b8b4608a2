-- Settings of the transaction. Values are printed in full and in one style, whatever the server's defaults are. Rows
-- hidden by row level security are an error, because they would look deleted.
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
