"""What silver has already: the keys of other arrival hours that a load must not write again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lake.parsing import KEYS

if TYPE_CHECKING:
    from pyiceberg.table import Table

DAY = timedelta(days=1)


def known_keys(tables: Mapping[str, Table], parsed: pa.Table, hours: list[datetime]) -> dict[str, pa.Table]:
    """By silver table (of `tables`), the `KEYS` of rows that other hours than `hours` brought.

    Only the days and the Kafka partitions of `parsed` (see `parsing.PARSED`) are read: a device keeps its
    partition, and a measurement sent twice has one event time.
    """
    known = {}
    for name, keys in KEYS.items():
        mine = parsed.filter(pc.equal(parsed["kind"], name))
        table = tables[name]
        if mine.num_rows and table.current_snapshot() is not None:
            days = " or ".join(event_times(first, end) for first, end in day_ranges(mine["ts"]))
            partitions = ", ".join(map(str, mine["kafka_partition"].unique().to_pylist()))
            elsewhere = f"({days}) and not ({arrived_in(hours)}) and kafka_partition in ({partitions})"
            known[name] = table.scan(row_filter=elsewhere, selected_fields=keys).to_arrow()
    return known


def event_times(first: datetime, end: datetime) -> str:
    """Iceberg filter for event times in the half-open range."""
    return f"(ts >= '{first.isoformat()}' and ts < '{end.isoformat()}')"


def arrived_in(hours: Sequence[datetime]) -> str:
    """Iceberg filter for rows that the arrival hours brought."""
    return "arrival_hour in ({})".format(", ".join(f"'{hour.isoformat()}'" for hour in hours))


def day_ranges(times: pa.ChunkedArray) -> Iterator[tuple[datetime, datetime]]:
    """The UTC days of the times as half-open ranges, neighbouring days in one: `(first, end)`."""
    days = sorted(
        day.replace(tzinfo=UTC) for day in pc.floor_temporal(times, unit="day").unique().to_pylist()
    )
    first = last = days[0]
    for day in days[1:]:
        if day - last > DAY:
            yield first, last + DAY
            first = day
        last = day
    yield first, last + DAY
