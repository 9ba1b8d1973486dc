"""The same work in DuckDB, on as many threads as there are cores; it spills where memory does not suffice."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem, copy_files

from benchmarks.lake.storage import output
from iotops.lake import lake_filesystem
from iotops.records import DEVICE_ID, MIN_TS_MS
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_objects import read_objects
from pipelines.lake.daily import STATS, SUMMARISE

NAME = "duckdb"
ENVELOPE = (
    """{topic: 'VARCHAR', partition: 'INTEGER', "offset": 'BIGINT', timestamp: 'BIGINT', value: 'VARCHAR'}"""
)
RECORD = """{"device_id": "VARCHAR", "tenant_id": "VARCHAR", "ts": "BIGINT", "seq": "BIGINT",
    "model": "VARCHAR", "firmware": "VARCHAR", "metrics": "MAP(VARCHAR, DOUBLE)"}"""
LINES = f"""
    CREATE TABLE lines AS
    SELECT DISTINCT ON (topic, partition, "offset", timestamp) topic, partition AS kafka_partition,
        "offset" AS kafka_offset, timestamp AS arrived_ms, value, filename,
        CASE WHEN json_valid(value) THEN from_json(value, '{RECORD}') END AS record
    FROM read_json($files, format = 'newline_delimited', columns = {ENVELOPE}, filename = true)"""
# `value IS NULL` in a map is a metric that is no number.
SOUND = f"""record IS NOT NULL AND regexp_full_match(record.device_id, '{DEVICE_ID}')
    AND record.ts BETWEEN {MIN_TS_MS} AND arrived_ms + $max_future_ms
    AND coalesce(record.tenant_id, $tenant) = $tenant AND cardinality(record.metrics) > 0
    AND NOT list_contains(list_transform(map_values(record.metrics), lambda x: x IS NULL), true)"""
SILVER = f"""
    WITH measured AS (
        SELECT record.device_id, make_timestamptz(record.ts * 1000) AS ts, record.seq, record.model,
            record.firmware, topic, kafka_partition, kafka_offset, arrival_hour,
            unnest(map_entries(record.metrics)) AS entry
        FROM lines JOIN objects USING (filename) WHERE {SOUND})
    SELECT DISTINCT ON (device_id, ts, metric) device_id, ts, entry.key AS metric, entry.value AS value,
        seq, model, firmware, topic, kafka_partition, kafka_offset, arrival_hour
    FROM measured ORDER BY arrival_hour, device_id, metric, ts, kafka_offset"""
QUARANTINE = f"""
    SELECT value AS raw, object, arrival_hour, topic, kafka_partition, kafka_offset
    FROM lines JOIN objects USING (filename) WHERE NOT coalesce(({SOUND}), false)"""


def bronze_to_silver(settings: Settings, tenant: Tenant, objects: pa.Table) -> int:
    """Parse, validate, take once and write an hour's objects; the telemetry rows."""
    filesystem = lake_filesystem(settings.lake)
    names = {}
    with tempfile.TemporaryDirectory() as folder, _database(folder) as database:
        # Its own reader of S3 is an extension that has to be downloaded.
        for number, (path, hour, content) in enumerate(read_objects(filesystem, objects)):
            file = Path(folder) / f"{number:06d}.jsonl"
            file.write_bytes(content)
            names[str(file)] = (path, hour)
        arrived = pa.table(
            {
                "filename": list(names),
                "object": [path for path, _ in names.values()],
                "arrival_hour": pa.array([hour for _, hour in names.values()], pa.timestamp("us", tz="UTC")),
            }
        )
        database.register("objects", arrived)
        database.execute(LINES, {"files": list(names)})
        params = {"tenant": tenant.id, "max_future_ms": settings.ingest.max_future_s * 1000}
        for table, query in (("quarantine", QUARANTINE), ("telemetry", SILVER)):
            written = f"{folder}/{table}"
            by_hour = f"SELECT *, CAST(arrival_hour AS VARCHAR) AS hour FROM ({query})"
            database.sql(by_hour, params=params).write_parquet(
                written, compression="zstd", partition_by=["hour"]
            )
            copy_files(
                written, output(tenant, NAME, table),
                source_filesystem=LocalFileSystem(), destination_filesystem=filesystem,
            )  # fmt: skip
        (rows,) = database.execute(f"SELECT count(*) FROM '{folder}/telemetry/*/*.parquet'").fetchone() or (
            0,
        )
    return int(rows)


def summaries(settings: Settings, tenant: Tenant) -> pa.Table:
    """`daily.STATS` of the silver that it wrote."""
    source = ds.dataset(
        output(tenant, NAME, "telemetry"), filesystem=lake_filesystem(settings.lake), partitioning="hive"
    )
    with tempfile.TemporaryDirectory() as folder, _database(folder) as database:
        database.register("rows", source)
        found = database.sql(SUMMARISE, params={"shift_us": 0}).to_arrow_table()
    return found.select(STATS.names).cast(STATS)


def _database(folder: str) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(str(Path(folder) / "lake.duckdb"), config={"preserve_insertion_order": "false"})
    database.execute("SET TimeZone = 'UTC'")
    return database
