"""What the silver sink stages: the columns of the hot tables, and records as Arrow batches of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from iotops.kafka import Batch
from iotops.records import NUL, UNREADABLE
from pipelines.ingest.times import DAY_MS

KEPT_DAYS = (-399, 1)
"""Arrival days that a hot table may have, from today: `silver.add_day` refuses those beyond."""
logger = logging.getLogger(__name__)


class StoredReading(msgspec.Struct):
    """A reading as the gateways write it: checked, `ts` in epoch milliseconds; `metrics` stays JSON text."""

    device_id: str
    ts: int
    metrics: msgspec.Raw
    seq: int | None = None
    model: str | None = None
    firmware: str | None = None


class StoredEvent(msgspec.Struct):
    """An event as the gateways write it: checked, `ts` in epoch milliseconds."""

    device_id: str
    ts: int
    type: str
    severity: str = "info"
    error_code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class HotTable:
    """A hot table: its staged columns, and when two rows are one record sent twice.

    `same` says so in SQL, for a staged row `s` and a stored one `t` of one device and time; `key` says so
    within a batch. Columns that the record has are staged under its own names.
    """

    name: str
    schema: pa.Schema
    same: str
    decode: Callable[[bytes], Any]
    key: Callable[[Any], tuple[Any, ...]]

    @property
    def open_staging(self) -> str:
        """The connection's staging table; its rows go with the transaction.

        A merge looks up each staged row by index. Left to itself the planner, which knows nothing of a
        partition that has just begun, reads the tenant's whole day with every batch.
        """
        definition = ", ".join(f"{field.name} {POSTGRES[field.type]}" for field in self.schema)
        only_by_index = "".join(f"SET LOCAL enable_{other} = off; " for other in OTHER_PLANS)
        return f"""
            {only_by_index}
            CREATE TEMP TABLE IF NOT EXISTS {self.staging} ({definition}) ON COMMIT DELETE ROWS"""

    @property
    def staging(self) -> str:
        """Name of the staging table."""
        return f"staging_{self.name}"

    @property
    def copy_staging(self) -> str:
        """Binary COPY into the staging table."""
        return f"COPY {self.staging} ({', '.join(self.schema.names)}) FROM STDIN (FORMAT BINARY)"

    @property
    def merge(self) -> str:
        """Insert what is new: not this position again, nor the same record as one that came within a day."""
        names = ", ".join(self.schema.names)
        values = ", ".join(READ.get(name, f"s.{name}") for name in self.schema.names)
        return f"""
            INSERT INTO silver.{self.name} (tenant_id, kafka_partition, {names})
            SELECT :tenant, :partition, {values} FROM {self.staging} s
            WHERE NOT EXISTS (
                SELECT FROM silver.{self.name} t WHERE t.tenant_id = :tenant AND {SAME_PLACE} AND {self.same}
                AND t.arrival_day BETWEEN s.arrival_day - 1 AND s.arrival_day)
            ON CONFLICT DO NOTHING"""


OTHER_PLANS = ("hashjoin", "mergejoin", "material", "seqscan", "bitmapscan")
# A column that is staged as the device's own text, and what the table holds.
READ = {"metrics": "s.metrics::jsonb"}
# Plain equality, which row security lets the index serve: the call of a function it would not.
SAME_PLACE = "t.device_id = s.device_id AND t.ts = s.ts"
INSTANT = pa.timestamp("ms", tz="UTC")
POSTGRES = {pa.string(): "text", INSTANT: "timestamptz", pa.int64(): "bigint", pa.date32(): "date"}


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema({**fields, "kafka_offset": pa.int64(), "arrival_day": pa.date32()})


TELEMETRY = HotTable(
    name="telemetry",
    schema=_schema(
        device_id=pa.string(), ts=INSTANT, seq=pa.int64(), metrics=pa.string(), model=pa.string(),
        firmware=pa.string(),
    ),
    same="t.seq IS NOT DISTINCT FROM s.seq AND (s.seq IS NOT NULL OR t.metrics = s.metrics::jsonb)",
    decode=msgspec.json.Decoder(StoredReading).decode,
    key=lambda r: (r.device_id, r.ts, r.seq if r.seq is not None else bytes(r.metrics)),
)  # fmt: skip
EVENTS = HotTable(
    name="events",
    schema=_schema(
        device_id=pa.string(), ts=INSTANT, type=pa.string(), severity=pa.string(), error_code=pa.string(),
        message=pa.string(),
    ),
    same="t.type = s.type AND (t.error_code, t.message) IS NOT DISTINCT FROM (s.error_code, s.message)",
    decode=msgspec.json.Decoder(StoredEvent).decode,
    key=lambda e: (e.device_id, e.ts, e.type, e.error_code, e.message),
)  # fmt: skip


def staged(table: HotTable, batch: Batch, now_ms: int) -> pa.RecordBatch:
    """The staged row of each record, once within the batch; none for one that no gateway wrote, which bronze
    and quarantine keep.

    A record whose producer's clock was wrong counts as arrived on the nearest day that may be (`KEPT_DAYS`).
    """
    found: dict[Any, tuple[Any, int]] = {}
    for index, value in enumerate(batch.values):
        try:
            if NUL in value:
                raise msgspec.DecodeError("a NUL character, which Postgres cannot store")
            record = table.decode(value)
        except UNREADABLE as error:
            place = (batch.partition, batch.offsets[index])
            logger.warning("%s offset %d breaks the contract: %s", *place, error)
            continue
        found.setdefault(table.key(record), (record, index))
    records = [record for record, _ in found.values()]
    kept = [index for _, index in found.values()]
    first, last = (now_ms // DAY_MS + ahead for ahead in KEPT_DAYS)
    days = pa.array([min(max(batch.timestamps[index] // DAY_MS, first), last) for index in kept], pa.int32())
    columns = {name: [getattr(record, name) for record in records] for name in table.schema.names[:-2]}
    if "metrics" in columns:
        columns["metrics"] = [bytes(text).decode() for text in columns["metrics"]]
    return pa.record_batch(
        {**columns, "kafka_offset": [batch.offsets[index] for index in kept], "arrival_day": days},
        schema=table.schema,
    )


def packed(rows: pa.RecordBatch) -> bytes:
    """Rows in the format of binary COPY."""
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    return b"".join((encoder.write_header(), encoder.write_batch(rows), encoder.finish()))
