"""Reads all tables of a tenant with the examples of the documentation, and prints the results as JSON.

Arguments: URL of the server, key, namespace, path of the document with the examples.
"""

import importlib
import json
import os
import re
import sys

import chdb.session
import duckdb
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

url, key, namespace, document = sys.argv[1:]
exports = ["calls", "customers", "messages", "transcript_turns", "cost_daily"]
found = {"duckdb": {}, "pyiceberg": {}, "clickhouse": {}}
os.environ["POLARS_ICEBERG_PLANNER"] = "pyiceberg"


def example(engine):
    text = open(document, encoding="utf-8").read()
    block = re.search("\n## " + engine + "\n.*?```[a-z]+\n(.*?)```", text, re.DOTALL).group(1)
    block = block.replace("http://localhost:8080", url).replace("sk_YOUR_KEY", key)
    return block.replace("d3a0c0de-0000-4000-8000-000000000001", namespace)


con = duckdb.connect()
for name in ("httpfs", "avro", "iceberg"):
    folder = os.path.dirname(importlib.import_module("duckdb_extension_" + name).__file__)
    con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
for statement in re.sub("INSTALL iceberg;|LOAD iceberg;", "", example("DuckDB")).split(";"):
    if statement.strip():
        con.execute(statement)
for export in exports:
    count = con.execute(f"SELECT count(*) FROM {export}").fetchone()[0]
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {export}").fetchall()}
    found["duckdb"][export] = {"rows": count, "types": types}

exec(example("PyIceberg"), {"print": lambda *_: None})
exec(example("Polars"), {"print": lambda table: found.update({"polars": sum(table["len"])})})
clickhouse = chdb.session.Session()
for statement in example("ClickHouse").split(";"):
    if statement.strip():
        clickhouse.query(statement)
for export in exports:
    count = clickhouse.query(f"SELECT count() FROM voicory.`{namespace}.{export}`", "CSV")
    found["clickhouse"][export] = int(str(count))
catalog = load_catalog("voicory", type="rest", uri=url + "/iceberg", credential="any:" + key)
for export in exports:
    table = catalog.load_table((namespace, export))
    rows = table.scan().to_arrow()
    comments = {field.name: field.doc for field in table.schema().fields}
    found["pyiceberg"][export] = {"rows": rows.num_rows, "comments": comments}

# Rows of June have the cost 0.5. They are published while this runs.
june = "created_at >= '2026-06-01' AND created_at < '2026-07-01'"
filter = And(GreaterThanOrEqual("created_at", "2026-06-01T00:00:00+00:00"), LessThan("created_at", "2026-07-01T00:00:00+00:00"))
rounds = found["june"] = []
for _ in range(5):
    count, usd = con.execute(f"SELECT count(*), sum(cost)::DOUBLE FROM calls WHERE {june}").fetchone()
    rounds.append(["duckdb", count, usd or 0])
    scan = catalog.load_table((namespace, "calls")).scan(row_filter=filter)
    found["june files"] = len(list(scan.plan_files()))
    costs = scan.to_arrow()["cost"].to_pylist()
    rounds.append(["pyiceberg", len(costs), float(sum(costs))])
print(json.dumps(found))
