-- The rows of a Parquet file, and the bytes of its columns before their compression, as its footer has them.
SELECT (SELECT coalesce(sum(num_rows), 0)::BIGINT FROM parquet_file_metadata($path)),
       (SELECT coalesce(sum(total_uncompressed_size), 0)::BIGINT FROM parquet_metadata($path));
