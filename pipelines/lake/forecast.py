"""The tenant's failure risks of a day: read what it knows, learn, predict. `risk` says how."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
from sqlalchemy import Connection

from iotops.tenancy import Tenant
from pipelines.lake import risk
from pipelines.lake.daily import UTC_US
from pipelines.lake.gold_tables import Staged, read

HISTORY = timedelta(days=365)
LEARNT_DEVICES = 500
"""Devices with failures, and as many without, that a model learns from at most; the others weigh in through
those that stand for them."""
RISKS = pa.schema(
    [
        ("device_id", pa.string()),
        ("day", pa.date32()),
        ("horizon_hours", pa.int32()),
        ("probability", pa.float64()),
        ("model_version", pa.string()),
    ]
)
FAILURES = """
    SELECT device_id, occurred_at FROM gold.service_events
    WHERE type = 'failure' AND occurred_at >= :first AND occurred_at < :end"""
DEVICES = """
    SELECT DISTINCT device_id FROM gold.device_health WHERE day >= :first_day AND day < :day"""
PAST = "(SELECT * FROM gold.device_health_components WHERE day >= :first_day AND day < :day"
TODAY = "(SELECT * FROM gold.device_health_components WHERE day = :day) today"
NAMES = pa.schema([("device_id", pa.string())])
TIMES = pa.schema([("device_id", pa.string()), ("occurred_at", UTC_US)])


def write_risks(connection: Connection, tenant: Tenant, day: date, shift: timedelta) -> int:
    """Forecast every device of `day`, which ended `shift` before midnight, from what was known by then.

    The number of forecasts: none while the tenant's history is too short to learn from.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    end = midnight - shift
    first = midnight - HISTORY
    failures = risk.failure_times(read(connection, FAILURES, TIMES, first=first, end=end))
    staged = Staged(connection, "failure_risk")
    staged.add(RISKS.empty_table())
    if sum(map(len, failures.values())) >= risk.LEAST_FAILURES:
        past = {"first_day": first.date(), "day": day}
        devices = read(connection, DEVICES, NAMES, **past)["device_id"].to_pylist()
        weights = _chosen(devices, set(failures))
        query = risk.values_query(f"{PAST} AND device_id = ANY(:devices)) past")
        known = read(connection, query, risk.VALUES, devices=list(weights), **past)
        today = read(connection, risk.values_query(TODAY), risk.VALUES, day=day)
        staged.add(_risks(risk.history(known, weights=weights), failures, today, end.timestamp() / 3600))
    staged.replace(tenant, [day])
    return staged.rows


def _risks(past: risk.History, failures: risk.Failures, today: pa.Table, until: float) -> pa.Table:
    """`RISKS` of the devices in `today` (`risk.VALUES`), for each horizon that can be learned."""
    features, name = risk.history(today).features, risk.version(past, failures)
    parts = []
    for horizon in risk.HORIZONS_H:
        model = risk.train(past, failures, horizon, until)
        if model is not None and len(features):
            columns = {
                "device_id": today["device_id"],
                "day": today["day"],
                "horizon_hours": pa.repeat(pa.scalar(horizon, pa.int32()), len(features)),
                "probability": model.probability(features),
                "model_version": pa.repeat(name, len(features)),
            }
            parts.append(pa.table(columns, schema=RISKS))
    return pa.concat_tables([RISKS.empty_table(), *parts])


def _chosen(devices: list[str], failed: set[str]) -> dict[str, float]:
    """The devices to learn from, each with the number of devices that it stands for."""
    weights: dict[str, float] = {}
    for group in (sorted(failed & set(devices)), sorted(set(devices) - failed)):
        chosen = sorted(group, key=lambda name: hashlib.md5(name.encode()).digest())[:LEARNT_DEVICES]
        weights |= {device: len(group) / len(chosen) for device in chosen}
    return weights
