-- A relation of a query over an export's files, which are named by descriptors that stay open: no path of the server is in it.
CREATE VIEW {{export}} AS SELECT {{columns}} FROM read_parquet({{files}}, hive_partitioning = false);
