"""Reads the tables of tenants and those of all tenants with one engine, and prints what it found as JSON.

Arguments: name of the engine, and JSON with the catalogs, the folder of Java packages and the path of docs/tables.md.
"""

import datetime
import glob
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

engine, settings = sys.argv[1], json.loads(sys.argv[2])
exports = ["calls", "customers", "messages", "transcript_turns", "cost_daily"]
os.environ["POLARS_ICEBERG_PLANNER"] = "pyiceberg"


def example(title, language, catalog, name="voicory"):
    """Returns the example of the documentation for a catalog, under another name of it."""
    text = open(settings["document"], encoding="utf-8").read()
    section = text.split("\n## " + title + "\n")[1].split("\n## ")[0]
    block = re.search("```" + language + "\n(.*?)```", section, re.DOTALL).group(1)
    block = block.replace("http://localhost:8080", catalog["url"]).replace("sk_YOUR_KEY", catalog["token"])
    return block.replace("d3a0c0de-0000-4000-8000-000000000001", catalog["namespace"]).replace("voicory", name)


def duckdb_connection():
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for name in ("httpfs", "avro", "iceberg"):
        folder = os.path.dirname(importlib.import_module("duckdb_extension_" + name).__file__)
        con.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    return con


class SQL:
    """An engine with SQL. Subclasses have run and columns, and the differences of their dialects."""

    quote = '"'
    literal = "TIMESTAMP '{}+00:00'"
    milliseconds = "epoch_ms({})"
    date = "DATE '{}'"

    def time(self, text):
        return self.literal.format(text)

    def table(self, n, export):
        return f"{self.name(n)}.{self.quote}{settings['catalogs'][n]['namespace']}{self.quote}.{export}"

    def bounds(self, n, export, before):
        if export == "cost_daily":
            condition = f"day < {self.date.format(before[:10])}"
            columns = "count(*), sum(cost), min(day), max(day)"
        else:
            condition = f"created_at < {self.time(before)}"
            cost = "sum(cost)" if export == "calls" else "NULL"
            columns = f"count(*), {cost}, " + ", ".join(self.milliseconds.format(f"{f}(created_at)") for f in ("min", "max"))
        return self.run(f"SELECT {columns} FROM {self.table(n, export)} WHERE {condition}")[0]

    def month(self, n, begin, end):
        condition = f"created_at >= {self.time(begin)} AND created_at < {self.time(end)}"
        return self.run(f"SELECT count(*), sum(cost) FROM {self.table(n, 'calls')} WHERE {condition}")[0]

    def start(self):
        pass

    def stop(self):
        pass


class DuckDB(SQL):
    literal = "TIMESTAMPTZ '{}+00'"

    def start(self):
        self.con = duckdb_connection()
        for n, catalog in enumerate(settings["catalogs"]):
            for statement in re.sub("INSTALL iceberg;|LOAD iceberg;", "", example("DuckDB", "sql", catalog, self.name(n))).split(";"):
                if statement.strip().startswith("SELECT"):  # not yet, because it would leave files in a cache
                    self.query = statement
                elif statement.strip():
                    self.con.execute(statement)

    def name(self, n):
        return f"catalog{n}"

    def run(self, statement):
        return self.con.execute(statement).fetchall()

    def columns(self, n, export):
        return {row[0]: row[1] for row in self.run(f"DESCRIBE {self.table(n, export)}")}

    def total(self, n):
        return self.run(f"SELECT count(*), sum(cost) FROM {self.table(n, 'calls')}")[0]

    def long(self, n, published):
        self.run("BEGIN")
        first = self.total(n)
        published()
        second = self.total(n)
        self.run("COMMIT")
        return first, second


    def stop(self):
        self.run(self.query)


class Files(DuckDB):
    """DuckDB on the published files, which the results of engines are compared with."""

    def start(self):
        self.con = duckdb_connection()

    def table(self, n, export):
        catalog = settings["catalogs"][n]
        return f"read_parquet('{catalog['lake']}/{export}/**/*.parquet', hive_partitioning = false)"

    def columns(self, n, export):
        found = {row[0]: row[1] for row in self.run(f"DESCRIBE SELECT * FROM {self.table(n, export)}")}
        return ({"tenant_id": "VARCHAR"} if settings["catalogs"][n]["all"] else {}) | found

    def long(self, n, published):
        return self.total(n), None

    def stop(self):
        pass


class Arrow(Files):
    """An engine that returns Arrow tables, which DuckDB computes the figures of."""

    def start(self):
        from pyiceberg.catalog import load_catalog

        self.con = duckdb_connection()
        self.catalogs = []
        for catalog in settings["catalogs"]:
            scope = {"print": lambda *_: None}
            exec(example(self.title, "python", catalog), scope)
            self.catalogs.append(load_catalog("c", type="rest", uri=catalog["url"] + "/iceberg", token=catalog["token"]))

    def iceberg(self, n, export):
        return self.catalogs[n].load_table((settings["catalogs"][n]["namespace"], export))

    def table(self, n, export):
        self.con.register("rows", self.read(self.iceberg(n, export), None))
        return "rows"

    def month(self, n, begin, end):
        self.con.register("rows", self.read(self.iceberg(n, "calls"), (begin, end)))
        return self.run("SELECT count(*), sum(cost) FROM rows")[0]

    def long(self, n, published):
        scan = self.planned(self.iceberg(n, "calls"))
        published()
        self.con.register("first", self.collect(scan))
        return self.run("SELECT count(*), sum(cost) FROM first")[0], None


class PyIceberg(Arrow):
    title = "PyIceberg"

    def read(self, table, between):
        from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThan

        filter = AlwaysTrue()
        if between:
            begin, end = (text.replace(" ", "T") + "+00:00" for text in between)
            filter = And(GreaterThanOrEqual("created_at", begin), LessThan("created_at", end))
        return table.scan(row_filter=filter).to_arrow()

    def columns(self, n, export):
        return {f.name: str(f.field_type) for f in self.iceberg(n, export).schema().fields}

    def planned(self, table):
        return table.scan()

    def collect(self, scan):
        return scan.to_arrow()


class Polars(Arrow):
    title = "Polars"

    def planned(self, table):
        import polars

        snapshot = table.current_snapshot().snapshot_id
        return polars.scan_iceberg(table, snapshot_id=snapshot, reader_override="pyiceberg")  # for columns with JSON

    def read(self, table, between):
        import polars

        frame = self.planned(table)
        if between:
            begin, end = (datetime.datetime.fromisoformat(text + "+00:00") for text in between)
            frame = frame.filter((polars.col("created_at") >= begin) & (polars.col("created_at") < end))
        return frame.collect().to_arrow()

    def columns(self, n, export):
        return {name: str(typ) for name, typ in self.planned(self.iceberg(n, export)).collect_schema().items()}

    def collect(self, scan):
        return scan.collect().to_arrow()


class ClickHouse(SQL):
    quote = "`"
    literal = "toDateTime64('{}', 6, 'UTC')"
    milliseconds = "toUnixTimestamp64Milli({})"
    date = "toDate('{}')"

    def start(self):
        import chdb.session

        self.session = chdb.session.Session()
        for n, catalog in enumerate(settings["catalogs"]):
            text = example("ClickHouse", "sql", catalog)
            text = text.replace("DATABASE voicory", f"DATABASE {self.name(n)}").replace("FROM voicory.", f"FROM {self.name(n)}.")
            for statement in text.split(";"):
                if statement.strip():
                    self.session.query(statement)

    def name(self, n):
        return f"catalog{n}"

    def table(self, n, export):
        return f"{self.name(n)}.`{settings['catalogs'][n]['namespace']}.{export}`"

    def run(self, statement):
        out = str(self.session.query(statement, "JSONCompact"))
        return json.loads(out)["data"]

    def columns(self, n, export):
        return {row[0]: row[1] for row in self.run(f"DESCRIBE TABLE {self.table(n, export)}")}

    def long(self, n, published):
        # Each row is a block, and each block pauses.
        begun = time.time()
        rows = self.run(
            f"SELECT count(), sum(cost), max(sleepEachRow(0.004)) FROM {self.table(n, 'calls')} "
            "SETTINGS max_block_size = 100, max_threads = 1, function_sleep_max_microseconds_per_block = 0"
        )[0]
        return rows[:2], time.time() - begun


class Spark(SQL):
    quote = "`"
    literal = "TIMESTAMP '{} UTC'"
    milliseconds = "unix_millis({})"

    def start(self):
        os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] --driver-memory 2g pyspark-shell"
        jars = ",".join(glob.glob(settings["java"] + "/iceberg-*.jar"))
        for n, catalog in enumerate(settings["catalogs"]):
            text = example("Spark", "python", catalog, self.name(n))
            text = text.replace('"spark.jars.packages", "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0,"', f'"spark.jars", "{jars}"')
            text = re.sub(r'\n *"org.apache.iceberg:iceberg-aws-bundle:1.12.0"', "", text)
            text = text.replace(".show()", ".collect()").replace(".getOrCreate()", '.config("spark.ui.enabled", "false").getOrCreate()')
            scope = {}
            exec(text, scope)
            self.spark = scope["spark"]
        self.spark.sparkContext.setLogLevel("ERROR")

    def name(self, n):
        return f"catalog{n}"

    def run(self, statement):
        return [tuple(row) for row in self.spark.sql(statement).collect()]

    def columns(self, n, export):
        return dict(self.spark.table(self.table(n, export)).dtypes)

    def long(self, n, published):
        frame = self.spark.table(self.table(n, "calls")).select("cost")
        costs = frame.toLocalIterator(prefetchPartitions=False)  # reads one part after the other
        first = next(costs).cost
        published()
        rest = [row.cost for row in costs]
        return (len(rest) + 1, sum(c or 0 for c in rest) + (first or 0)), None

    def stop(self):
        self.spark.stop()


class Trino(SQL):
    literal = "TIMESTAMP '{} UTC'"
    milliseconds = "CAST(round(to_unixtime({}) * 1000) AS bigint)"

    def start(self):
        home = settings["java"] + "/trino-server-core-476"
        self.dir = tempfile.mkdtemp(prefix="voicory-trino-")
        os.makedirs(self.dir + "/catalog")
        port = settings["trino port"]
        self.url = f"http://localhost:{port}"
        config = (
            "coordinator=true\nnode-scheduler.include-coordinator=true\nquery.max-memory-per-node=512MB\n"
            f"http-server.http.port={port}\ndiscovery.uri={self.url}\n"
        )
        with open(self.dir + "/config.properties", "w", encoding="utf-8") as f:
            f.write(config)
        for n, catalog in enumerate(settings["catalogs"]):
            with open(f"{self.dir}/catalog/{self.name(n)}.properties", "w", encoding="utf-8") as f:
                f.write(example("Trino", "properties", catalog))
        java = sorted(glob.glob("/usr/lib/jvm/*25*/bin/java"))[-1]
        command = [java, "-Xmx2G", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true", "--add-modules=jdk.incubator.vector"]
        properties = {
            "config": self.dir + "/config.properties", "node.environment": "test", "node.id": "1", "node.data-dir": self.dir + "/data",
            "catalog.config-dir": self.dir + "/catalog", "plugin.dir": home + "/plugin",
        }
        command += [f"-D{name}={value}" for name, value in properties.items()]
        with open(self.dir + "/log", "w", encoding="utf-8") as log:
            command += ["-cp", home + "/lib/*", "io.trino.server.TrinoServer"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir)
        for _ in range(120):
            if "SERVER STARTED" in open(self.dir + "/log", encoding="utf-8").read():
                break
            time.sleep(1)

    def name(self, n):
        return f"catalog{n}"

    def run(self, statement):
        headers = {"X-Trino-User": "test", "X-Trino-Time-Zone": "UTC"}
        request = urllib.request.Request(self.url + "/v1/statement", data=statement.encode(), headers=headers)
        rows = []
        while True:
            with urllib.request.urlopen(request) as response:
                answer = json.load(response)
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            request = urllib.request.Request(answer["nextUri"], headers=headers)

    def columns(self, n, export):
        return {row[0]: row[1] for row in self.run(f"DESCRIBE {self.table(n, export)}")}

    def long(self, n, published):
        factor = 20_000
        while True:
            begun = time.time()
            count, cost = self.run(
                f"SELECT count(*), sum(cost) FROM {self.table(n, 'calls')} CROSS JOIN UNNEST(sequence(1, 10000)) "
                f"CROSS JOIN UNNEST(sequence(1, {factor // 10_000}))"
            )[0]
            if time.time() - begun > 10:
                return (count // factor, float(cost) / factor), time.time() - begun
            factor *= 4

    def stop(self):
        try:
            for n, catalog in enumerate(settings["catalogs"]):  # not earlier, because it leaves files in a cache
                self.run(example("Trino", "sql", catalog, self.name(n)).strip().rstrip(";"))
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            shutil.rmtree(self.dir)


def normal(typ):
    """Returns the name of a type in the notation of Iceberg. Lists are not distinguished by their elements."""
    typ = re.sub(r"^Nullable\((.*)\)$", r"\1", typ.strip())
    low = typ.lower().replace(" ", "")
    if typ.endswith("[]") or low.startswith(("list", "array")):
        return "list"
    if low.startswith("decimal"):
        return "decimal(" + ",".join(re.findall(r"\d+", low)[-2:]) + ")"
    if low.startswith(("timestamp", "datetime")):
        return "timestamptz"
    names = {
        "string": "string varchar json", "int": "int integer int32", "long": "bigint long int64", "double": "double float64",
        "boolean": "boolean bool", "date": "date date32",
    }
    return next((name for name, all in names.items() if low in all.split()), typ)


def plain(value):
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return float(value) if hasattr(value, "as_tuple") else value


def snapshot(catalog):
    request = urllib.request.Request(
        f"{catalog['url']}/iceberg/v1/namespaces/{catalog['namespace']}/tables/calls", headers={"Authorization": "Bearer " + catalog["token"]}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["metadata"]["current-snapshot-id"]


def wait(catalog):
    before = snapshot(catalog)
    while snapshot(catalog) == before:
        time.sleep(0.1)


driver = {"files": Files, "duckdb": DuckDB, "pyiceberg": PyIceberg, "polars": Polars, "clickhouse": ClickHouse, "spark": Spark, "trino": Trino}[engine]()
driver.start()
found = {"seconds": time.time(), "tables": []}
try:
    for n, catalog in enumerate(settings["catalogs"]):
        table = {"month from": time.time()}
        table["month"] = [float(v) for v in driver.month(n, "2026-03-01 00:00:00", "2026-04-01 00:00:00")]
        table["month to"] = time.time()
        if n in (0, len(settings["catalogs"]) - 1):
            first, second = driver.long(n, lambda catalog=catalog: wait(catalog))
            table["long"] = None if first is None else [float(v or 0) for v in first]
            table["again"] = [float(v or 0) for v in second] if isinstance(second, (tuple, list)) else None
            table["lasted"] = second if isinstance(second, float) else None
        table["exports"] = {}
        for export in exports:
            figures = [plain(v) for v in driver.bounds(n, export, settings["before"])]
            figures = [f if f is None or "-" in str(f) else round(float(f), 4) for f in figures]
            types = {name: normal(typ) for name, typ in driver.columns(n, export).items()}
            table["exports"][export] = {"figures": figures, "types": types}
        found["tables"].append(table)
finally:
    driver.stop()
found["seconds"] = round(time.time() - found["seconds"], 1)
print("RESULT " + json.dumps(found))
