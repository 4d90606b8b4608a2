-- What a relation of a query reads: its export's files.
SELECT {{columns}} FROM read_parquet({{files}}, hive_partitioning = false)
