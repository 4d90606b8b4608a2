-- Settings of the transaction. Values are printed in full, in UTF-8 and in one style, whatever the server's defaults
-- are. Rows hidden by row level security are an error, because they would look deleted.
SET LOCAL client_encoding = 'UTF8';
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SET LOCAL extra_float_digits = 1;
SET LOCAL row_security = off;
-- Sorting needs more than the default of 4 MB. Compiling the statements takes longer than it saves.
SET LOCAL work_mem = '64MB';
SET LOCAL jit = off;
