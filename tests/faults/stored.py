"""What the sinks hold of a tenant, read from where users read it."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.kafka import read_topic
from iotops.lake import get, lake_filesystem, objects
from iotops.settings import Settings
from iotops.tenancy import Tenant
from tests.faults.load import CYCLE, Accepted

SILVER = text("SELECT device_id, seq FROM silver.telemetry")
EPISODES = text("""
    SELECT a.device_id, t.seq FROM silver.alerts a
    LEFT JOIN silver.telemetry t ON t.device_id = a.device_id AND t.ts = a.opened_at""")
ALERTS = text("SELECT alert_id::text, device_id, opened_at, resolved_at FROM silver.alerts")


@dataclass(frozen=True)
class Tally:
    """Of one sink: what it must hold, what it holds, what it holds twice and what it lacks."""

    sink: str
    accepted: int
    stored: int
    duplicated: int
    lost: int
    missing: tuple[object, ...] = ()

    @property
    def exact(self) -> bool:
        """Each thing once, and nothing else."""
        return self.accepted == self.stored and not self.duplicated and not self.lost


def bronze(settings: Settings, tenant: Tenant) -> list[tuple[int, int, str, int]]:
    """(partition, offset, device, seq) of every line of every bronze object."""
    lake, found = lake_filesystem(settings.lake), []
    for path in objects(lake, tenant.prefix("bronze")):
        for line in map(orjson.loads, gzip.decompress(get(lake, path)).splitlines()):
            value = orjson.loads(line["value"])
            found.append((line["partition"], line["offset"], value["device_id"], value["seq"]))
    return found


def bronze_tally(lines: list[tuple[int, int, str, int]], accepted: Accepted) -> Tally:
    """A record that its sender sent again has a position of its own: a position twice would be ours."""
    positions = Counter((partition, offset) for partition, offset, _, _ in lines)
    readings = {(device, seq) for _, _, device, seq in lines}
    twice = sum(count - 1 for count in positions.values())
    return Tally("bronze", len(accepted), len(readings & accepted), twice, *_missing(accepted - readings))


def silver_tally(settings: Settings, tenant: Tenant, accepted: Accepted) -> Tally:
    """Rows of Postgres."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        rows = Counter((row.device_id, row.seq) for row in connection.execute(SILVER))
    twice = sum(count - 1 for count in rows.values())
    return Tally("silver", len(accepted), len(rows), twice, *_missing(accepted - set(rows)))


def alert_tally(settings: Settings, tenant: Tenant, expected: Accepted) -> Tally:
    """Rows of Postgres: one per device and breach; an alert whose reading silver has not yet is of none."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        rows = Counter(
            (row.device_id, None if row.seq is None else row.seq // CYCLE)
            for row in connection.execute(EPISODES)
        )
    twice = sum(count - 1 for count in rows.values())
    return Tally("alerts", len(expected), len(rows), twice, *_missing(expected - set(rows)))


def message_tally(settings: Settings, tenant: Tenant) -> Tally:
    """Messages of the alerts topic, against Postgres: one that an alert opened, one that it resolved."""
    with tenant_transaction(engine(settings.database), tenant) as connection:
        rows = list(connection.execute(ALERTS))
    due = {(row.alert_id, "open") for row in rows} | {
        (row.alert_id, "resolved") for row in rows if row.resolved_at
    }
    sent = Counter(
        (message["alert_id"], message["status"])
        for batch in read_topic(settings.kafka, tenant.alerts_topic)
        for message in map(orjson.loads, batch.values)
    )
    twice = sum(count - 1 for count in sent.values())
    return Tally("alert messages", len(due), len(sent), twice, *_missing(due - set(sent)))


def _missing(things: Iterable[object]) -> tuple[int, tuple[object, ...]]:
    """How many, and the first few by name."""
    found = sorted(things, key=str)
    return len(found), tuple(found[:5])


def out_of_order(lines: list[tuple[int, int, str, int]]) -> int:
    """Readings that stand behind a later one of their device, by partition and offset; repeats aside."""
    latest: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    wrong = 0
    for _, _, device, seq in sorted(lines):
        if (device, seq) in seen:
            continue
        seen.add((device, seq))
        wrong += seq < latest.get(device, -1)
        latest[device] = max(seq, latest.get(device, -1))
    return wrong
