"""Prints the number of rows of each table in a bucket as JSON, read with the examples of the documentation.

Arguments: URL of the object store, bucket and prefix, tenant, path of the document with the examples.
"""

import importlib
import json
import os
import re
import sys

import duckdb

endpoint, prefix, tenant, document = sys.argv[1:]
found = {}


def example(engine, table):
    text = open(document, encoding="utf-8").read()
    block = re.search("\n### " + engine + "\n.*?```[a-z]+\n(.*?)```", text, re.DOTALL).group(1)
    for old, new in {
        "https://s3.eu-central-1.amazonaws.com": endpoint,
        "ENDPOINT 's3.eu-central-1.amazonaws.com'": f"USE_SSL false, ENDPOINT '{endpoint.split('/')[-1]}'",
        "BUCKET/PREFIX": prefix,
        "d3a0c0de-0000-4000-8000-000000000001/calls": tenant + "/" + table,
        "ACCESS_KEY": os.environ["AWS_ACCESS_KEY_ID"],
        "SECRET_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        ", sum(cost)": "",
        '"id", "cost"': '"*",',
        "INSTALL iceberg; LOAD iceberg;": "",
    }.items():
        block = block.replace(old, new)
    return block


for table in ["calls", "customers", "messages", "transcript_turns", "cost_daily"]:
    con = duckdb.connect()
    for name in ("httpfs", "avro", "iceberg"):
        folder = os.path.dirname(importlib.import_module("duckdb_extension_" + name).__file__)
        con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    *statements, query, _ = example("DuckDB", table).split(";")
    for statement in statements:
        con.execute(statement)
    arrow = []
    exec(example("PyIceberg", table), {"print": arrow.append})
    found[table] = {"DuckDB": con.execute(query).fetchone()[0], "PyIceberg": arrow[0].num_rows}
print(json.dumps(found))
