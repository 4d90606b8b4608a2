"""Attaches engines to the tables of a tenant, waits for a line on stdin, and prints what they still read as JSON.

Arguments: URL of the server, key, namespace, id of a call that is erased meanwhile.
"""

import importlib
import json
import os
import sys

import duckdb
from pyiceberg.catalog import load_catalog

url, key, namespace, call = sys.argv[1:]
con = duckdb.connect()
for name in ("httpfs", "avro", "iceberg"):
    folder = os.path.dirname(importlib.import_module("duckdb_extension_" + name).__file__)
    con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
con.execute(f"CREATE SECRET voicory (TYPE iceberg, TOKEN '{key}')")
con.execute(f"ATTACH 'voicory' AS voicory (TYPE iceberg, ENDPOINT '{url}/iceberg', SECRET voicory)")
statement = f"SELECT count(*), count(*) FILTER (id = '{call}') FROM voicory.\"{namespace}\".calls"
table = load_catalog("voicory", type="rest", uri=url + "/iceberg", token=key).load_table((namespace, "calls"))


def counts(scan):
    ids = scan.to_arrow()["id"].to_pylist()
    return [len(ids), ids.count(call)]


def attempt(read):
    try:
        return list(read())
    except Exception as failure:
        return str(failure)


before = {"duckdb": con.execute(statement).fetchone(), "pyiceberg": counts(table.scan())}
print(json.dumps(before), flush=True)
sys.stdin.readline()
after = {
    "duckdb": attempt(lambda: con.execute(statement).fetchone()),
    "pyiceberg with the table of before": attempt(lambda: counts(table.scan())),
    "pyiceberg": attempt(lambda: counts(table.refresh().scan())),
}
print(json.dumps(after), flush=True)
