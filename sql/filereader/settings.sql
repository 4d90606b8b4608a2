-- The settings of a DuckDB that reads one Parquet file of unknown origin: in the order of its rows, in UTC, and with nothing but that file.
SET TimeZone = 'UTC';
SET temp_directory = '';
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET enable_external_file_cache = false;
-- Counts rows of a result without their texts.
SET streaming_buffer_size = '64KB';
SET lock_configuration = true;
