"""Reads the result of one statement in six formats, with readers of other projects, and prints the values as JSON.

A date, time or timestamp of Arrow and Parquet is printed as its number: Python's own types do not hold all of them.
"""

import base64
import csv
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

folder = sys.argv[1]


def value_of(scalar):
    """Returns a value of Arrow or Parquet."""
    if scalar is None:  # of a union
        return None
    kind = scalar.type
    if isinstance(scalar, pa.ExtensionScalar):
        text = value_of(scalar.value)
        return None if text is None else {"$json": loads(text)}
    if pa.types.is_union(kind):
        return value_of(scalar.value)
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(kind):
        if not pa.types.is_signed_integer(kind.index_type):
            raise ValueError(f"indices of type {kind.index_type}")
        return value_of(scalar.value)
    if pa.types.is_map(kind):
        return [[value_of(entry["key"]), value_of(entry["value"])] for entry in scalar.values]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return [value_of(element) for element in scalar.values]
    if pa.types.is_struct(kind):
        return {name: value_of(scalar[name]) for name in scalar}
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return scalar.value
    value = scalar.as_py()
    if pa.types.is_decimal(kind):
        return format(value, "f")
    if pa.types.is_floating(kind):
        return repr(value)
    if pa.types.is_binary(kind):
        return base64.b64encode(value).decode()
    if pa.types.is_interval(kind):
        return list(value)
    return value


def columns_of(table):
    for column in table.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "86400000000 is not within" not in str(error):  # TIME '24:00:00', which SQL has and Arrow does not
                raise
    return [[value_of(scalar) for scalar in column] for column in table.columns]


def loads(text):
    return json.loads(text, parse_float=str)


def read(name, mode="r"):
    with open(f"{folder}/{name}", mode, newline="") as file:
        return file.read()


def transposed(rows):
    return [list(column) for column in zip(*rows)]


with open(f"{folder}/csv", newline="") as file:
    cells = list(csv.reader(file))
with pa.ipc.open_stream(f"{folder}/arrow") as stream:
    arrow = stream.read_all()
json.dump(
    {
        "json": transposed(loads(read("json"))["rows"]),
        "json_columns": loads(read("json_columns"))["values"],
        "ndjson": transposed([list(loads(line).values()) for line in read("ndjson").splitlines()]),
        "csv": transposed([[loads(cell) if cell[:1] in {"[", "{"} else cell for cell in row] for row in cells[1:]]),
        "arrow": columns_of(arrow),
        "parquet": columns_of(pq.read_table(f"{folder}/parquet")),
    },
    sys.stdout,
)
