-- Within the transaction only. Whatever the server's settings are, values print in full, in UTF-8 and in one style. Rows that row
-- level security hides are an error: they would look deleted.
SET LOCAL client_encoding = 'UTF8';
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
SET LOCAL extra_float_digits = 1;
SET LOCAL row_security = off;
-- Sorting tenant by tenant, or a table that no index sorts, wants more than the usual 4 MB. Compiling costs more than it gives here.
SET LOCAL work_mem = '64MB';
SET LOCAL jit = off;
