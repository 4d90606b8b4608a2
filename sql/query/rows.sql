-- The rows that files of an export hold.
SELECT {{columns}} FROM read_parquet({{files}}, hive_partitioning = false)
