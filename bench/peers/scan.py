"""Reads all columns of all rows with DuckDB: python scan.py files FOLDER, or python scan.py catalog URL KEY NAMESPACE.

Prints the seconds and the processor time of the scan as JSON.
"""
import importlib
import json
import os
import sys
import time

import duckdb

kind, *where = sys.argv[1:]
con = duckdb.connect()
con.execute("SET enable_progress_bar = false")  # it would be printed
if kind == "files":
    table = f"read_parquet('{where[0]}/**/*.parquet', hive_partitioning = false)"
else:
    url, key, namespace = where
    for name in ("httpfs", "avro", "iceberg"):
        folder = os.path.dirname(importlib.import_module("duckdb_extension_" + name).__file__)
        con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    con.execute(f"CREATE SECRET voicory (TYPE iceberg, TOKEN '{key}')")
    con.execute(f"ATTACH 'voicory' AS voicory (TYPE iceberg, ENDPOINT '{url}/iceberg', SECRET voicory)")
    table = f'voicory."{namespace}".calls'
begun, used = time.time(), time.process_time()
con.execute(f"EXPLAIN ANALYZE SELECT * FROM {table}").fetchall()  # reads and discards the rows
print(json.dumps({"seconds": time.time() - begun, "cpu": time.process_time() - used}))
