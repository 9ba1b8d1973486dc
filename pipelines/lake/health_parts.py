"""Scoring a fleet in parts, the devices of one hash each: Ray tasks that never hold the whole fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from pipelines import ray_data
from pipelines.lake.daily import EVENT_COUNTS, STATS, merge, merge_events
from pipelines.lake.health import Scored, fleet, peers, score_devices

Refs = Sequence[Any]


def score_parts(
    stats: Refs,
    events: Refs,
    services: pa.Table,
    alerts: pa.Table,
    days: Sequence[date],
    shift: timedelta,
    parts: int,
) -> Iterator[Scored]:
    """Each part's health, as `health.score` would find it for the whole fleet.

    `stats` and `events` refer to `daily.STATS` and `daily.EVENT_COUNTS` of batches, not yet merged.
    """
    import ray

    def task(function: Callable[..., Any]) -> Any:
        return ray.remote(function).options(**ray_data.TASK)

    gather, contribute, finish = task(_gather), task(peers), task(_score)
    own = [
        (gather.remote("stats", part, parts, *stats), gather.remote("events", part, parts, *events))
        for part in range(parts)
    ]
    models = task(_fleet).remote(*(contribute.remote(sums, days) for sums, _ in own))
    shared = [ray.put(table) for table in (services, alerts)]
    waiting = [
        finish.remote(*mine, *shared, models, days, shift, part, parts) for part, mine in enumerate(own)
    ]
    while waiting:
        yield ray.get(waiting.pop(0))


def devices_of(table: pa.Table, part: int, parts: int) -> pa.Table:
    """The rows of the devices of one part."""
    if parts == 1:
        return table
    with duckdb.connect(config={"threads": 1}) as database:
        database.register("rows", table)
        chosen = f"FROM rows WHERE md5_number_lower(device_id) % {parts} = {part}"
        return database.sql(chosen).to_arrow_table().cast(table.schema)


def _gather(kind: str, part: int, parts: int, *batches: pa.Table) -> pa.Table:
    schema, merged = (STATS, merge) if kind == "stats" else (EVENT_COUNTS, merge_events)
    mine = [devices_of(batch, part, parts) for batch in batches if batch.num_rows]
    return merged(pa.concat_tables([schema.empty_table(), *mine]))


def _fleet(*contributions: pa.Table) -> pa.Table:
    return fleet(contributions)


def _score(
    stats: pa.Table,
    events: pa.Table,
    services: pa.Table,
    alerts: pa.Table,
    models: pa.Table,
    days: Sequence[date],
    shift: timedelta,
    part: int,
    parts: int,
) -> Scored:
    serviced, alarmed = (devices_of(table, part, parts) for table in (services, alerts))
    return score_devices(stats, events, serviced, alarmed, models, days, shift)
