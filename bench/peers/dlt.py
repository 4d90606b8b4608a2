"""Loads the platform's three tables into a DuckDB file with dlt: python dlt.py SQLALCHEMY_URL FILE BACKEND, one of sql_database's."""
import os
import sys
import tempfile

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
from dlt.sources.sql_database import sql_database

url, file, backend = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    pipeline = dlt.pipeline("platform", pipelines_dir=folder, destination=dlt.destinations.duckdb(file), dataset_name="platform")
    tables = sql_database(url, table_names=["call_logs", "whatsapp_messages", "customers"], backend=backend, chunk_size=50_000)
    pipeline.run(tables, write_disposition="replace")
