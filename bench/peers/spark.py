"""Opens the tables of all tenants and the published files with Spark, and runs ten queries of analysts on each, in turn.

Arguments: URL of the catalog, token, folder of the lake, folder of the Java packages, number of rounds, id of the server's
process. Prints a list of [query, seconds, processor time of Spark, processor time of the server], each of the times as
[tables, files], as JSON.
"""
import glob
import json
import os
import sys
import time

url, token, lake, java, rounds, server = sys.argv[1:]
os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] --driver-memory 2g pyspark-shell"

from pyspark.sql import SparkSession

catalog = "spark.sql.catalog.voicory"
spark = (
    SparkSession.builder.config("spark.jars", ",".join(glob.glob(java + "/iceberg-*.jar")))
    .config(catalog, "org.apache.iceberg.spark.SparkCatalog")
    .config(catalog + ".type", "rest")
    .config(catalog + ".uri", url + "/iceberg")
    .config(catalog + ".token", token)
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")

names = ("calls", "transcript_turns", "cost_daily")
TENANT = "regexp_extract(_metadata.file_path, 'tenant_id=([^/]+)', 1) AS tenant_id"


def open_tables():
    """Loads the newest snapshots of the tables."""
    for name in names:
        spark.sql(f"REFRESH TABLE voicory.all_tenants.{name}")
        spark.table(f"voicory.all_tenants.{name}").schema


def open_files():
    """Lists the files that are published now."""
    for name in names:
        files = spark.read.option("recursiveFileLookup", "true").parquet(f"{lake}/tenant_id=*/{name}")
        files.selectExpr(TENANT, "*").createOrReplaceTempView("files_" + name)


tenant = sorted(os.listdir(lake))[0].removeprefix("tenant_id=")
QUERIES = [
    "SELECT count(*), sum(cost) FROM {calls}",
    "SELECT tenant_id, count(*), sum(cost) FROM {calls} GROUP BY tenant_id ORDER BY tenant_id",
    "SELECT date_trunc('month', created_at) AS month, status, count(*) FROM {calls} GROUP BY ALL ORDER BY ALL",
    "SELECT hour(created_at) AS hour, avg(duration_seconds), max(duration_seconds) FROM {calls} GROUP BY ALL ORDER BY ALL",
    "SELECT direction, count(*), sum(cost) FROM {calls} WHERE created_at >= '2026-09-01' AND created_at < '2026-10-01' "
    "GROUP BY direction ORDER BY direction",
    "SELECT status, count(*), sum(cost) FROM {calls} WHERE tenant_id = '" + tenant + "' GROUP BY status ORDER BY status",
    "SELECT customer_number, count(*) AS n FROM {calls} GROUP BY ALL ORDER BY n DESC, customer_number LIMIT 100",
    "SELECT day, sum(cost), sum(cost_pending) FROM {cost_daily} GROUP BY day ORDER BY day",
    "SELECT speaker, count(*), sum(words), sum(chars) FROM {transcript_turns} GROUP BY ALL ORDER BY ALL",
    "SELECT count(DISTINCT call_id) FROM {transcript_turns} WHERE lower(text) LIKE '%invoice%'",
]
SOURCES = [
    {name: f"voicory.all_tenants.{name}" for name in names},
    {name: f"files_{name}" for name in names},
]


def used(process):
    """Returns the processor time of a process in seconds."""
    with open(f"/proc/{process}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


spark_process = spark._jvm.java.lang.ProcessHandle.current().pid()
found = []


def measured(text, tables, files, turn):
    """Runs two functions, whose results must be equal, and appends their times."""
    times, answers = [[0, 0], [0, 0], [0, 0]], [None, None]
    for i in (0, 1) if turn % 2 else (1, 0):
        before = [time.time(), used(spark_process), used(server)]
        answers[i] = (tables, files)[i]()
        for measure, (a, b) in enumerate(zip(before, [time.time(), used(spark_process), used(server)])):
            times[measure][i] = b - a
    if answers[0] != answers[1]:
        sys.exit(f"{text}: the tables and the files have different answers")
    if turn:  # the first turn warms both
        found.append([text, *times])


for turn in range(int(rounds) + 1):
    measured("open", open_tables, open_files, turn)
    for query in QUERIES:
        measured(query, *(lambda source=source: spark.sql(query.format(**source)).collect() for source in SOURCES), turn)
spark.stop()
print("RESULT " + json.dumps(found))
