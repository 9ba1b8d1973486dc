"""The same work in Polars. It is told the names of the metrics, which ours finds in the readings."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from benchmarks.lake.storage import output
from iotops.lake import lake_filesystem
from iotops.records import DEVICE_ID, MIN_TS_MS
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.simulate import METRICS
from pipelines.lake.bronze_objects import read_objects
from pipelines.lake.daily import LATE_HOURS, STATS, merge

NAME = "polars"
FILES_AT_ONCE = 8  # of an hour each: 20 million rows
POSITION = ["topic", "kafka_partition", "kafka_offset", "arrived_ms"]
ENVELOPE = {
    "topic": pl.String, "partition": pl.Int32, "offset": pl.Int64, "timestamp": pl.Int64, "value": pl.String,
}  # fmt: skip
# A metric is decoded as text where it is one, so that it can be told from one that is absent.
RECORD = pl.Struct(
    {
        "device_id": pl.String, "tenant_id": pl.String, "ts": pl.Int64, "seq": pl.Int64, "model": pl.String,
        "firmware": pl.String, "metrics": pl.Struct(dict.fromkeys(METRICS, pl.String)),
    }
)  # fmt: skip


def bronze_to_silver(settings: Settings, tenant: Tenant, objects: pa.Table) -> int:
    """Parse, validate, take once and write an hour's objects; the telemetry rows."""
    filesystem = lake_filesystem(settings.lake)
    parts = [_records(content, path, hour) for path, hour, content in read_objects(filesystem, objects)]
    lines = pl.concat(parts).unique(POSITION, keep="first", maintain_order=True)
    del parts
    latest = pl.col("arrived_ms") + settings.ingest.max_future_s * 1000
    sound = (
        pl.col("device_id").str.contains(f"^{DEVICE_ID}$")
        & pl.col("ts").is_between(MIN_TS_MS, latest)
        & (pl.col("tenant_id").is_null() | (pl.col("tenant_id") == tenant.id))
        & ~pl.col("text_metric")
        & pl.any_horizontal(pl.col(METRICS).is_not_null())
    ).fill_null(False)
    quarantine = lines.filter(~sound).select(*POSITION, "object", "arrival_hour", raw="value")
    silver = (
        lines.lazy()
        .filter(sound)
        .select(
            "device_id", "seq", "model", "firmware", *POSITION[:-1], "arrival_hour", *METRICS,
            ts=pl.from_epoch("ts", "ms").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        )
        .unpivot(
            on=METRICS,
            index=["device_id", "ts", "seq", "model", "firmware", *POSITION[:-1], "arrival_hour"],
            variable_name="metric",
        )
        .drop_nulls("value")
        .unique(["device_id", "ts", "metric"], keep="first", maintain_order=True)
        .sort("arrival_hour", "device_id", "metric", "ts")
        .collect()
    )  # fmt: skip
    del lines
    for name, table in (("telemetry", silver), ("quarantine", quarantine)):
        write(table.to_arrow(), filesystem, output(tenant, NAME, name))
    return len(silver)


def _records(content: bytes, path: str, hour: object) -> pl.DataFrame:
    lines = pl.read_ndjson(content, schema=ENVELOPE)
    try:
        record = lines["value"].str.json_decode(RECORD)
    except pl.exceptions.ComputeError:  # one bad line fails them all: without those that are no JSON
        good = pl.col("value").str.json_path_match("$.device_id").is_not_null()
        record = lines.select(pl.when(good).then("value").otherwise(pl.lit("{}")))["value"].str.json_decode(
            RECORD
        )
    frame = lines.with_columns(record.struct.unnest()).rename(
        {"partition": "kafka_partition", "offset": "kafka_offset", "timestamp": "arrived_ms"}
    )
    numbers = {name: pl.col("metrics").struct.field(name) for name in METRICS}
    return frame.with_columns(
        object=pl.lit(path),
        arrival_hour=pl.lit(hour),
        text_metric=pl.any_horizontal(
            text.is_not_null() & text.cast(pl.Float64, strict=False).is_null() for text in numbers.values()
        ),
        **{name: text.cast(pl.Float64, strict=False) for name, text in numbers.items()},
    ).drop("metrics")


def write(table: pa.Table, filesystem: object, folder: str) -> None:
    """Parquet files, a folder for each arrival hour."""
    ds.write_dataset(
        table.append_column("hour", table["arrival_hour"].cast(pa.string())),
        folder,
        filesystem=filesystem,
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("hour", pa.string())]), flavor="hive"),
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
        existing_data_behavior="delete_matching",
    )


def summaries(settings: Settings, tenant: Tenant) -> pa.Table:
    """`daily.STATS` of the silver that it wrote, some hours at a time, which our code merges."""
    filesystem = lake_filesystem(settings.lake)
    source = ds.dataset(output(tenant, NAME, "telemetry"), filesystem=filesystem, partitioning="hive")
    files = list(source.get_fragments())
    parts = [files[first : first + FILES_AT_ONCE] for first in range(0, len(files), FILES_AT_ONCE)]
    found = [_summed(ds.FileSystemDataset(part, source.schema, source.format, filesystem)) for part in parts]
    return merge(pa.concat_tables(found)) if len(found) > 1 else found[0]


def _summed(source: ds.Dataset) -> pa.Table:
    late = pl.col("ts").dt.hour() >= 24 - LATE_HOURS
    rows = pl.scan_pyarrow_dataset(source).with_columns(day=pl.col("ts").dt.date())
    value = pl.col("value")
    metrics = rows.group_by("device_id", "day", "metric").agg(
        model=pl.col("model").sort_by("ts").last(),
        n=pl.len().cast(pl.Int64),
        mean=value.mean(),
        m2=value.var(ddof=0) * pl.len(),
        late_n=late.sum().cast(pl.Int64),
        late_mean=value.filter(late).mean(),
        last_ts=pl.col("ts").max(),
    )
    devices = rows.group_by("device_id", "day").agg(
        model=pl.col("model").sort_by("ts").last(),
        n=pl.struct("kafka_partition", "kafka_offset").n_unique().cast(pl.Int64),
        last_ts=pl.col("ts").max(),
    )
    found = pl.concat(pl.collect_all([metrics, devices]), how="diagonal")
    return found.select(STATS.names).to_arrow().cast(STATS)
