-- The rows of each row group of a Parquet file, and the bytes of its columns before their compression, as its footer has them.
SELECT any_value(row_group_num_rows), sum(total_uncompressed_size)::BIGINT FROM parquet_metadata($path) GROUP BY row_group_id ORDER BY row_group_id;
