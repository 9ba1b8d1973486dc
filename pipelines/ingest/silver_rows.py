"""What the silver sink stages: the columns of the hot tables, and records as rows of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import msgspec

from iotops.kafka import Batch
from iotops.records import NUL

DAY_MS = 86_400_000
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
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
    """A hot table: its staged columns with their types, and when two rows are one record sent twice.

    `same` says so in SQL, for a staged row `s` and a stored one `t` of one device and time; `key` says so
    within a batch.
    """

    name: str
    columns: dict[str, str]
    same: str
    decode: Callable[[bytes], Any]
    values: Callable[[Any], tuple[Any, ...]]
    key: Callable[[Any], tuple[Any, ...]]

    @property
    def types(self) -> list[str]:
        """Types of the staged columns, in order."""
        return list(self.columns.values())

    @property
    def create_staging(self) -> str:
        """The staging table, which ends with the transaction."""
        definition = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TEMP TABLE staging ({definition}) ON COMMIT DROP"

    @property
    def copy_staging(self) -> str:
        """Binary COPY into the staging table."""
        return f"COPY staging ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"

    @property
    def merge(self) -> str:
        """Insert what is new: not this position again, nor the same record as one that came within a day."""
        names = ", ".join(self.columns)
        values = ", ".join(READ.get(name, f"s.{name}") for name in self.columns)
        place = "s.device_id = t.device_id AND to_timestamp(s.ts / 1000.0) = t.ts"
        return f"""
            INSERT INTO silver.{self.name} (tenant_id, kafka_partition, {names})
            SELECT :tenant, :partition, {values} FROM staging s
            WHERE NOT EXISTS (
                SELECT FROM silver.{self.name} t WHERE t.tenant_id = :tenant AND {place} AND {self.same}
                AND t.arrival_day BETWEEN s.arrival_day - 1 AND s.arrival_day)
            ON CONFLICT DO NOTHING"""


# A column that is staged as the device's own text or number, and what the table holds.
READ = {"ts": "to_timestamp(s.ts / 1000.0)", "metrics": "s.metrics::jsonb"}
PLACE = {"kafka_offset": "bigint", "arrival_day": "date"}

TELEMETRY = HotTable(
    name="telemetry",
    columns={
        "device_id": "text", "ts": "bigint", "seq": "bigint", "metrics": "text", "model": "text",
        "firmware": "text", **PLACE,
    },
    same="t.seq IS NOT DISTINCT FROM s.seq AND (s.seq IS NOT NULL OR t.metrics = s.metrics::jsonb)",
    decode=msgspec.json.Decoder(StoredReading).decode,
    values=lambda r: (r.device_id, r.ts, r.seq, bytes(r.metrics).decode(), r.model, r.firmware),
    key=lambda r: (r.device_id, r.ts, r.seq if r.seq is not None else bytes(r.metrics)),
)  # fmt: skip
EVENTS = HotTable(
    name="events",
    columns={
        "device_id": "text", "ts": "bigint", "type": "text", "severity": "text", "error_code": "text",
        "message": "text", **PLACE,
    },
    same="t.type = s.type AND (t.error_code, t.message) IS NOT DISTINCT FROM (s.error_code, s.message)",
    decode=msgspec.json.Decoder(StoredEvent).decode,
    values=lambda e: (e.device_id, e.ts, e.type, e.severity, e.error_code, e.message),
    key=lambda e: (e.device_id, e.ts, e.type, e.error_code, e.message),
)  # fmt: skip


def rows(table: HotTable, batch: Batch) -> list[tuple[Any, ...]]:
    """The staged row of each record, once within the batch; none for one that no gateway wrote, which bronze
    and quarantine keep."""
    found: dict[Any, tuple[Any, ...]] = {}
    for offset, arrived, value in zip(batch.offsets, batch.timestamps, batch.values, strict=True):
        try:
            if NUL in value:
                raise ValueError("a NUL character, which Postgres cannot store")
            record = table.decode(value)
        except ValueError as error:  # msgspec's errors are ValueErrors too
            logger.warning("%s offset %d breaks the contract: %s", batch.partition, offset, error)
            continue
        key = table.key(record)
        if key not in found:
            found[key] = (*table.values(record), offset, _day(arrived // DAY_MS))
    return list(found.values())


@lru_cache(maxsize=64)
def _day(number: int) -> date:
    return date.fromordinal(EPOCH_ORDINAL + number)
