"""Reads the calls of a server with what data scientists use, every way there is, and compares all rows with the pages of the API."""

import datetime
import decimal
import io
import json
import pathlib
import sys
import urllib.request

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
from duckdb_extensions import import_extension

base, key, lake = sys.argv[1:]
HEADERS = {"x-api-key": key}
FIELDS = ["id", "created_at", "direction", "status", "from_number", "to_number", "cost", "summary", "provider", "assistant_id", "recording_url"]


def opened(path, **headers):
    return urllib.request.urlopen(urllib.request.Request(base + path, headers=HEADERS | headers))


def listed(path):
    return json.load(opened(path))["data"]


def plain(value):
    """The value as the API shows it, whatever type a client has for it."""
    if value is None or value != value or value is pandas.NaT:
        return None
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.UTC)
        return value.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, (int, float, decimal.Decimal)):
        return decimal.Decimal(str(value)).quantize(decimal.Decimal("0.0001"))
    return str(value)


def by_id(rows):
    found = {}
    for row in rows:
        assert all(isinstance(row[field], str | None) or row[field] != row[field] for field in ("id", "assistant_id")), row
        row = tuple(plain(row[field]) for field in FIELDS)
        assert row[0] not in found, f"{row[0]} comes twice"
        found[row[0]] = row
    return found


def pages():
    cursor = ""
    while cursor is not None:
        page = json.load(opened(f"/api/v1/calls?limit=100&include_total=false&cursor={cursor}"))
        yield from page["data"]
        cursor = page["meta"].get("next_cursor")


expected = by_id(pages())
assert len(expected) > 1000, len(expected)


def compare(name, rows):
    rows = by_id(rows)
    different = [(rows.get(id), row) for id, row in expected.items() if rows.get(id) != row]
    assert rows.keys() == expected.keys() and not different, f"{name}: {len(rows)} rows, {len(different)} of them different: {different[:1]}"
    print(f"{name}: {len(rows)} rows")


files = listed("/api/v1/exports/calls/files?signed=true")
size = sum(file["bytes"] for file in files)
plainly = [f"{base}/api/v1/exports/calls/files/{file['name']}" for file in files]
signed = [base + file["url"] for file in files]


def duckdb_with(setup):
    con = duckdb.connect()
    import_extension("httpfs", con=con)
    con.execute("LOAD httpfs")
    con.execute("SET TimeZone = 'UTC'")
    con.execute(setup)
    return con


with_key = duckdb_with(f"CREATE SECRET (TYPE http, EXTRA_HTTP_HEADERS MAP {{'x-api-key': '{key}'}})")
without = duckdb_with("SELECT 1")
compare("DuckDB with a header", with_key.execute("FROM read_parquet(?)", [plainly]).to_arrow_table().to_pylist())
compare("DuckDB by signed URL", without.execute("FROM read_parquet(?)", [signed]).to_arrow_table().to_pylist())

# A reader that wants one column fetches the ranges that it needs.
fresh = duckdb_with("SELECT 1")
before = int(opened("/bytes").read())
(cost,) = fresh.execute("SELECT sum(cost) FROM read_parquet(?)", [signed]).fetchone()
fetched = int(opened("/bytes").read()) - before
assert cost == sum(row[FIELDS.index("cost")] or 0 for row in expected.values()), cost
assert 0 < fetched < size / 2, f"{fetched} of {size} bytes were fetched for one column"
print(f"DuckDB fetched {fetched} of {size} bytes for one column")

compare("pandas, files", pandas.concat(pandas.read_parquet(url, storage_options=HEADERS) for url in plainly).to_dict("records"))
compare("pandas, CSV", pandas.read_csv(opened("/api/v1/exports/calls?format=csv"), dtype=str, keep_default_na=False, na_values=[""]).assign(cost=lambda frame: frame.cost.astype(float)).to_dict("records"))
compare("polars, files", polars.concat(polars.read_parquet(io.BytesIO(urllib.request.urlopen(url).read())) for url in signed).to_dicts())
compare("polars, Parquet stream", polars.read_parquet(io.BytesIO(opened("/api/v1/exports/calls?format=parquet").read())).to_dicts())
compare("polars, Arrow stream", polars.read_ipc_stream(io.BytesIO(opened("/api/v1/exports/calls?format=arrow").read())).to_dicts())
compare("pyarrow, read_table", pyarrow.concat_tables(pyarrow.parquet.read_table(pyarrow.BufferReader(urllib.request.urlopen(url).read())) for url in signed).to_pylist())
compare("pyarrow, dataset on the folder", pyarrow.dataset.dataset(pathlib.Path(lake) / "calls", format="parquet", partitioning="hive").to_table().to_pylist())
with opened("/api/v1/exports/calls", Accept="application/vnd.apache.arrow.stream") as stream, pyarrow.ipc.open_stream(stream) as reader:
    compare("pyarrow, Arrow stream", (row for batch in reader for row in batch.to_pylist()))
compare("NDJSON", (json.loads(line) for line in opened("/api/v1/exports/calls?format=ndjson")))

# Every export is the same by file and by stream, and its descriptions came along.
for export in listed("/api/v1/exports"):
    name = export["name"]
    urls = [base + file["url"] for file in listed(f"/api/v1/exports/{name}/files?signed=true")]
    by_file = without.execute("FROM read_parquet(?)", [urls]).to_arrow_table()
    stream = pyarrow.ipc.open_stream(opened(f"/api/v1/exports/{name}?format=arrow")).read_all()
    parquet = pyarrow.parquet.read_table(pyarrow.BufferReader(opened(f"/api/v1/exports/{name}?format=parquet").read()))
    assert by_file.num_rows == stream.num_rows == parquet.num_rows == export["rows"] > 0, (name, by_file.num_rows, stream.num_rows, parquet.num_rows, export["rows"])
    assert stream.column_names == parquet.column_names == [column["name"] for column in export["columns"]], name
    described = {field.name: (field.metadata or {}).get(b"description", b"").decode() for field in stream.schema}
    assert all(column["description"] in described[column["name"]] for column in export["columns"]), described
    different = duckdb.sql(
        f"SELECT count(*) FROM (FROM by_file EXCEPT ALL FROM parquet)" if name != "calls" else "SELECT count(*) FROM (SELECT id, transcript FROM by_file EXCEPT ALL SELECT id, transcript FROM parquet)"
    ).fetchone()
    assert different == (0,), (name, different)
    print(f"{name}: {export['rows']} rows by file and by stream")
