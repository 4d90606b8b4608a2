-- Reads the rows of an export's files.
SELECT {{columns}} FROM read_parquet({{files}}, hive_partitioning = false)
