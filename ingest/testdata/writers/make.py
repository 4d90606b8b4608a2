"""Writes the rows of rows.ndjson with the writers of Python libraries, each with its natural types.

Run in this folder: python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py
The files are stored, so that tests need neither Python nor a network.
"""

import datetime
import decimal
import json
import uuid

import duckdb
import fastparquet
import pandas
import polars
import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

NESTED = ["transcript", "metadata"]
TIMES = ["started_at", "created_at"]

with open("rows.ndjson", encoding="utf-8") as file:
    ROWS = [json.loads(line) for line in file]
NAMES = list(ROWS[0])


def typed(row):
    """Returns a row with times and decimals of Python."""
    row = dict(row)
    for name in TIMES:
        if row[name] is not None:
            row[name] = datetime.datetime.fromisoformat(row[name])
    if row["cost"] is not None:
        row["cost"] = decimal.Decimal(str(row["cost"]))
    return row


def flat(row):
    """Returns a row with nested values as texts of JSON."""
    return {name: json.dumps(value) if name in NESTED and value is not None else value for name, value in row.items()}


def floats(row):
    """Returns a row with floats for decimals."""
    return {name: float(value) if isinstance(value, decimal.Decimal) else value for name, value in row.items()}


def with_pandas():
    frame = pandas.DataFrame([typed(row) for row in ROWS])
    frame.to_parquet("pandas.parquet", index=False)
    frame.to_feather("pandas.feather")
    plain = pandas.DataFrame([floats(typed(row)) for row in ROWS])
    plain.to_json("pandas.json", orient="records", date_format="epoch")
    plain.to_json("pandas-iso.ndjson", orient="records", lines=True, date_format="iso")
    texts = pandas.DataFrame([flat(floats(typed(row))) for row in ROWS])
    texts.to_csv("pandas.csv", index=False)
    texts.to_csv("pandas-semicolon.csv.bz2", index=False, sep=";", decimal=",")
    texts.to_csv("pandas-utf16.csv", index=False, encoding="utf-16", lineterminator="\r\n")
    indexed = texts.set_index("id")
    indexed.to_csv("pandas-index.tsv", sep="\t", quoting=1)
    fastparquet.write("fastparquet.parquet", texts)
    nanoseconds = texts.astype({name: "datetime64[ns, UTC]" for name in TIMES})
    fastparquet.write("fastparquet-int96.parquet", nanoseconds, times="int96", compression="ZSTD")


def with_pyarrow():
    table = pyarrow.Table.from_pylist([typed(row) for row in ROWS])
    pyarrow.parquet.write_table(table, "pyarrow.parquet")
    pyarrow.parquet.write_table(table, "pyarrow-v1.parquet", version="1.0", compression="gzip", use_dictionary=False,
                                data_page_version="2.0", coerce_timestamps="ms", write_page_index=True)
    pyarrow.feather.write_feather(table, "pyarrow-zstd.feather", compression="zstd")
    with pyarrow.ipc.new_stream("pyarrow.arrows", table.schema) as writer:
        for batch in table.to_batches(max_chunksize=1):
            writer.write_batch(batch)
    texts = pyarrow.Table.from_pylist([flat(typed(row)) for row in ROWS])
    pyarrow.csv.write_csv(texts, "pyarrow.csv")

    def column(name, typ):
        values = texts[name] if name in texts.column_names else None
        return values.combine_chunks().cast(typ)

    ids = pyarrow.ExtensionArray.from_storage(
        pyarrow.uuid(), pyarrow.array([uuid.UUID(row["id"]).bytes for row in ROWS], pyarrow.binary(16)))
    status = column("status", pyarrow.string())
    runs = pyarrow.RunEndEncodedArray.from_arrays(
        pyarrow.array(range(1, len(ROWS) + 1), pyarrow.int32()), status)
    turn = pyarrow.struct([("speaker", pyarrow.string_view()), ("text", pyarrow.large_string())])
    turns = [None if row["transcript"] is None else row["transcript"] for row in ROWS]
    metadata = [None if row["metadata"] is None else list(row["metadata"].items()) for row in ROWS]
    arrays = {
        "id": ids,
        "status": runs,
        "direction": column("direction", pyarrow.string()).dictionary_encode(),
        "summary": column("summary", pyarrow.string_view()),
        "from_number": pyarrow.array([row["from_number"] and row["from_number"].encode() for row in ROWS],
                                     pyarrow.binary_view()),
        "to_number": column("to_number", pyarrow.large_string()),
        "duration": column("duration", pyarrow.string()),
        "duration_seconds": column("duration_seconds", pyarrow.uint16()),
        "cost": column("cost", pyarrow.decimal256(40, 10)),
        "stt_minutes": column("stt_minutes", pyarrow.float64()),
        "tts_characters": column("tts_characters", pyarrow.int32()),
        "started_at": column("started_at", pyarrow.timestamp("ns", "Asia/Kolkata")),
        "created_at": column("created_at", pyarrow.timestamp("ms", "UTC")),
        "transcript": pyarrow.array(turns, pyarrow.large_list(turn)),
        "metadata": pyarrow.array(metadata, pyarrow.map_(pyarrow.string(), pyarrow.string())),
    }
    assert sorted(arrays) == sorted(NAMES)
    for name, views in [("pyarrow-types", pyarrow.large_list(turn)), ("pyarrow-list-view", pyarrow.list_view(turn))]:
        arrays["transcript"] = pyarrow.array(turns, views)
        if name == "pyarrow-list-view":
            arrays["metadata"] = pyarrow.ExtensionArray.from_storage(
                pyarrow.json_(), column("metadata", pyarrow.string()))
        rare = pyarrow.table(arrays)
        with pyarrow.ipc.new_file(name + ".arrow", rare.schema) as writer:
            writer.write_table(rare)
        with pyarrow.ipc.new_stream(name + ".arrows", rare.schema) as writer:
            writer.write_table(rare)


def with_polars():
    frame = polars.DataFrame([typed(row) for row in ROWS])
    frame.write_parquet("polars.parquet")
    frame.write_ipc("polars.arrow")
    frame.write_ipc("polars-lz4.ipc", compression="lz4")
    frame.write_ipc_stream("polars.arrows", compression="zstd")
    frame.write_ndjson("polars.ndjson")
    frame.write_json("polars.json")
    categories = frame.with_columns(polars.col("status").cast(polars.Categorical))
    categories.write_ipc("polars-categorical.arrow")
    categories.write_parquet("polars-categorical.parquet")
    polars.DataFrame([flat(typed(row)) for row in ROWS]).write_csv("polars.csv")


def with_duckdb():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Asia/Kolkata'")
    table = pyarrow.Table.from_pylist([typed(row) for row in ROWS])
    connection.register("source", table)
    rows = "SELECT * REPLACE (id::UUID AS id) FROM source"
    connection.execute(f"COPY ({rows}) TO 'duckdb.parquet' (FORMAT parquet)")
    connection.execute(f"COPY ({rows}) TO 'duckdb-v2.parquet' (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd)")
    connection.execute(f"COPY ({rows}) TO 'duckdb.json' (FORMAT json)")
    connection.execute(f"COPY ({rows}) TO 'duckdb-array.json.gz' (FORMAT json, ARRAY true)")
    nested = ", ".join(f"to_json({name}) AS {name}" for name in NESTED)
    connection.execute(f"COPY (SELECT * REPLACE ({nested}) FROM source) TO 'duckdb.csv.zst' (FORMAT csv, COMPRESSION zstd)")
    connection.execute(f"COPY (SELECT * REPLACE ({nested}) FROM source) TO 'duckdb-pipe.csv' (FORMAT csv, DELIMITER '|')")


def with_durations():
    """Writes the lengths as durations, for which Parquet has no type."""
    units = {"duration_seconds": "seconds", "stt_minutes": "minutes"}
    rows = [typed(row) for row in ROWS]
    for row in rows:
        for name, unit in units.items():
            row[name] = None if row[name] is None else datetime.timedelta(**{unit: row[name]})
    frame = pandas.DataFrame(rows)
    assert all(frame[name].dtype.kind == "m" for name in units)
    frame.to_parquet("pandas-timedelta.parquet", index=False)
    frame.to_feather("pandas-timedelta.feather")
    texts = pandas.DataFrame([floats(flat(row)) for row in rows])
    for name in units:
        texts[name] = texts[name].astype("timedelta64[ns]")
    fastparquet.write("fastparquet-timedelta.parquet", texts)
    table = pyarrow.Table.from_pylist(rows)
    for unit in ["s", "ms", "ns"]:
        typed_table = table
        for i, name in enumerate(NAMES):
            if name in units:
                values = table[name].cast(pyarrow.duration(unit))
                typed_table = typed_table.set_column(i, name, values)
        pyarrow.parquet.write_table(typed_table, f"pyarrow-duration-{unit}.parquet")
    frame = polars.DataFrame(rows)
    frame.write_parquet("polars-duration.parquet")
    frame.write_ipc("polars-duration.arrow")
    connection = duckdb.connect()
    connection.register("source", pyarrow.Table.from_pylist(rows))
    connection.execute("COPY (FROM source) TO 'duckdb-interval.parquet' (FORMAT parquet)")


for write in [with_pandas, with_pyarrow, with_polars, with_duckdb, with_durations]:
    write()
