"""Reads all tables of a tenant with the client of Delta Sharing, and prints the results as JSON.

Arguments: path of the profile, schema of the tables, path of the document with the example.
"""

import json
import re
import sys

import delta_sharing

profile, schema, document = sys.argv[1:]
exports = ["calls", "customers", "messages", "transcript_turns", "cost_daily"]
found = {}


def table(name):
    return f"{profile}#voicory.{schema}.{name}"


def sample(frame, column):
    """Returns the type of the first value of a column that is not null."""
    types = [type(value).__name__ for value in frame[column] if value is not None and not (isinstance(value, float) and value != value)]
    return next((name for name in types if name != "NaTType"), "")


text = open(document, encoding="utf-8").read()
example = re.search("\n## Delta Sharing in Python\n.*?```python\n(.*?)```", text, re.DOTALL).group(1)
example = example.replace("voicory.share", profile).replace("d3a0c0de-0000-4000-8000-000000000001", schema)
printed = []
exec(example, {"print": printed.append})
found["example"] = {str(name): float(usd) for name, usd in printed[-1].items()}

client = delta_sharing.SharingClient(profile)
found["tables"] = [[t.share, t.schema, t.name] for t in client.list_all_tables()]
found["listed"] = [[t.share, t.schema, t.name] for s in client.list_schemas(client.list_shares()[0]) for t in client.list_tables(s)]
found["rows"], found["types"], found["comments"] = {}, {}, {}
for name in exports:
    metadata = delta_sharing.get_table_metadata(table(name))
    fields = json.loads(metadata.schema_string)["fields"]
    version = delta_sharing.get_table_version(table(name))
    frame = delta_sharing.load_as_pandas(table(name), version=version)
    kernel = delta_sharing.load_as_pandas(table(name), version=version, use_delta_format=True)
    found["rows"][name] = [len(frame), len(kernel), len(delta_sharing.load_as_pandas(table(name), limit=1))]
    found["types"][name] = {field["name"]: [json.dumps(field["type"]), sample(frame, field["name"]), sample(kernel, field["name"])] for field in fields}
    found["comments"][name] = {field["name"]: field["metadata"]["comment"] for field in fields}
    if name == "calls":
        for form, rows in (("pandas", frame), ("kernel", kernel)):
            transcripts = {row.id: [turn["text"] for turn in row.transcript] for row in rows.itertuples() if row.transcript is not None}
            found[form] = {
                "cost": str(rows["cost"].sum()),
                "first": rows["created_at"].min().isoformat(),
                "last": rows["created_at"].max().isoformat(),
                "ids": sorted(rows["id"]),
                "transcripts": transcripts,
                "metadata": sorted(value for value in rows["metadata"] if value is not None),
            }

# Rows of June have the cost 0.5. They are published while this runs.
hint = {"op": "greaterThanOrEqual", "children": [
    {"op": "column", "name": "created_at", "valueType": "timestamp"},
    {"op": "literal", "value": "2026-06-01T00:00:00Z", "valueType": "timestamp"}]}
rounds = found["june"] = []
for n in range(6):
    calls = delta_sharing.load_as_pandas(table("calls"), jsonPredicateHints=json.dumps(hint), use_delta_format=n % 2 == 1)
    rounds.append([len(calls), float(calls["cost"].sum()), calls["created_at"].min().isoformat()])
print(json.dumps(found))
