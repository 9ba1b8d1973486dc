"""What silver has already: the keys of other arrival hours that a load must not write again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, In, LessThan, Not, Or

from pipelines.lake.decoding import Decoded
from pipelines.lake.deduplication import KEYS

if TYPE_CHECKING:
    from pyiceberg.table import Table

HOUR = timedelta(hours=1)
MAX_RANGES = 50


def known_keys(tables: Mapping[str, Table], decoded: Decoded, hours: list[datetime]) -> dict[str, pa.Table]:
    """By silver table (of `tables`), the `KEYS` of rows that other arrival hours than `hours` brought.

    Only the hours of event time and the Kafka partitions of the decoded records are read: a device keeps its
    partition, and a measurement sent twice has one event time.
    """
    known = {}
    for name, mine in (("telemetry", decoded.readings), ("events", decoded.events)):
        table = tables[name]
        if mine.num_rows and table.current_snapshot() is not None:
            times = [event_times(first, end) for first, end in hour_ranges(mine["ts"])]
            partitions = decoded.lines["kafka_partition"].take(mine["record"]).unique().to_pylist()
            here = In("kafka_partition", partitions)  # type: ignore[call-arg]
            elsewhere = And(any_of(times), Not(arrived_in(hours)), here)
            known[name] = table.scan(row_filter=elsewhere, selected_fields=KEYS[name]).to_arrow()
    return known


# Filters are built, not written as text: pyiceberg's parser remembers the stack that it was called from, and
# with it the tables of every caller. Ignored: pydantic's plugin for mypy invents constructors.
def event_times(first: datetime, end: datetime) -> BooleanExpression:
    """Iceberg filter for event times in the half-open range."""
    since = GreaterThanOrEqual("ts", first.isoformat())  # type: ignore[call-arg]
    return And(since, LessThan("ts", end.isoformat()))  # type: ignore[call-arg]


def arrived_in(hours: Iterable[datetime]) -> BooleanExpression:
    """Iceberg filter for rows that the arrival hours brought."""
    return In("arrival_hour", [hour.isoformat() for hour in hours])  # type: ignore[call-arg]


def any_of(filters: Sequence[BooleanExpression]) -> BooleanExpression:
    """Iceberg filter for rows that pass one of several."""
    return Or(*filters) if len(filters) > 1 else filters[0]


def hour_ranges(times: pa.ChunkedArray) -> list[tuple[datetime, datetime]]:
    """The UTC hours of the times as half-open ranges `(first, end)`, neighbouring hours in one.

    Of many ranges, as late data brings them, the nearest become one: a scan has a filter of bounded size.
    """
    found = sorted(
        hour.replace(tzinfo=UTC) for hour in pc.floor_temporal(times, unit="hour").unique().to_pylist()
    )
    gaps = sorted((later - hour for hour, later in pairwise(found)), reverse=True)
    joined = max(HOUR, gaps[MAX_RANGES - 1] if len(gaps) >= MAX_RANGES else HOUR)
    ranges = [(found[0], found[0] + HOUR)]
    for hour in found[1:]:
        if hour - (ranges[-1][1] - HOUR) > joined:
            ranges.append((hour, hour + HOUR))
        else:
            ranges[-1] = (ranges[-1][0], hour + HOUR)
    return ranges
