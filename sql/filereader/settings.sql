-- Settings of a DuckDB instance that reads a single untrusted Parquet file: rows in file order, times in UTC, and no
-- other files.
SET TimeZone = 'UTC';
SET temp_directory = '';
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET enable_external_file_cache = false;
-- The size of the rows that DuckDB holds ahead of the reader, not counting their texts.
SET streaming_buffer_size = '64KB';
SET lock_configuration = true;
