"""Scoring a fleet in parts, the devices of one hash each: here one after another, or in Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from pipelines import ray_data
from pipelines.lake.daily import merge, merge_events, split
from pipelines.lake.health import Scored, fleet, peers, score_devices
from pipelines.lake.silver_sums import Refs


def score_here(
    stats: pa.Table,
    events: pa.Table,
    services: pa.Table,
    alerts: pa.Table,
    days: Sequence[date],
    shift: timedelta,
    *,
    parts: int,
) -> Iterator[Scored]:
    """Each part's health, in this process; the tables are as `health.score_devices` takes them."""
    own = list(zip(*(split(table, parts) for table in (stats, events, services, alerts)), strict=True))
    models = fleet([peers(of_stats, days) for of_stats, *_ in own])
    for of_stats, of_events, of_services, of_alerts in own:
        yield score_devices(of_stats, of_events, of_services, of_alerts, models, days, shift)


def score_parts(
    stats: Sequence[Refs],
    events: Sequence[Refs],
    services: pa.Table,
    alerts: pa.Table,
    days: Sequence[date],
    shift: timedelta,
) -> Iterator[Scored]:
    """Each part's health, as `health.score` would find it for the whole fleet.

    `stats` and `events` refer, part by part, to `daily.STATS` and `daily.EVENT_COUNTS` not yet merged.
    """
    import ray

    def task(function: Callable[..., Any]) -> Any:
        return ray.remote(function).options(**ray_data.TASK)

    gather, contribute, finish = task(_gather), task(peers), task(score_devices)
    own = [
        (gather.remote(merge, *of_stats), gather.remote(merge_events, *of_events))
        for of_stats, of_events in zip(stats, events, strict=True)
    ]
    models = task(_fleet).remote(*(contribute.remote(sums, days) for sums, _ in own))
    shared = (split(table, len(own)) for table in (services, alerts))
    waiting = [
        finish.remote(*sums, *known, models, days, shift) for sums, *known in zip(own, *shared, strict=True)
    ]
    while waiting:
        yield ray.get(waiting.pop(0))


def _gather(merged: Callable[[pa.Table], pa.Table], *batches: pa.Table) -> pa.Table:
    return merged(pa.concat_tables(batches))


def _fleet(*contributions: pa.Table) -> pa.Table:
    return fleet(contributions)
