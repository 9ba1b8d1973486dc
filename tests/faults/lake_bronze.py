"""Bronze of a small fleet, as the sink writes it, with what a load has to sort out: broken and sent twice."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
from pyarrow.fs import FileSystem

from iotops.lake import lake_filesystem, put
from iotops.settings import Settings
from iotops.tenancy import Tenant

HOURS = [datetime(2026, 11, 2, hour, tzinfo=UTC) for hour in (10, 11, 12)]
PARTITIONS, DEVICES, DAYS = 4, 40, 10
FIRST_DAY = datetime(2026, 10, 20, tzinfo=UTC)
BROKEN, SENT_TWICE = 500, 50
"""Every nth line is no JSON; every nth reading comes again an hour later."""
FAILED = 4
"""Every nth day a device errs, fails and is serviced."""


def fill(settings: Settings, tenant: Tenant, readings: int) -> None:
    """Write the objects of three arrival hours."""
    chance, lake = random.Random(7), lake_filesystem(settings.lake)
    again: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
    each = readings // len(HOURS) // PARTITIONS
    for hour, arrived in enumerate(HOURS):
        for partition, earlier in again.items():
            new = list(_readings(chance, hour * each, each, readings // DEVICES, partition))
            again[partition] = new[::SENT_TWICE]
            values = [b'{"broken"' if n % BROKEN == 0 else value for n, value in enumerate(new)] + earlier
            _put(lake, tenant.telemetry_topic, partition, hour * 10**6, arrived, values)
        events = list(_events(hour))
        _put(lake, tenant.events_topic, 0, hour * 10**6, arrived, [*events, b"no JSON"])


def _readings(
    chance: random.Random, first: int, count: int, per_device: int, partition: int
) -> Iterator[bytes]:
    """The partition's devices in turn, their times spread over the days."""
    devices = DEVICES // PARTITIONS
    apart_ms = int(timedelta(days=DAYS).total_seconds() * 1000) // per_device
    for n in range(first, first + count):
        yield orjson.dumps(
            {
                "device_id": f"pump-{partition * devices + n % devices:03d}",
                "ts": _ms(FIRST_DAY) + n // devices * apart_ms,
                "seq": n // devices,
                "model": f"HX-{n % 3}",
                "metrics": {"vibration": chance.gauss(40, 5), "volt": chance.gauss(170, 15)},
            }
        )


def _events(hour: int) -> Iterator[bytes]:
    for device in range(hour, DEVICES, len(HOURS)):
        for day in range(device % FAILED, DAYS, FAILED):
            at = {"device_id": f"pump-{device:03d}", "ts": _ms(FIRST_DAY + timedelta(days=day, hours=9))}
            yield orjson.dumps(at | {"type": "error", "severity": "error", "error_code": f"E{device % 5}"})
            yield orjson.dumps(at | {"type": "failure", "severity": "critical", "message": "bearing"})
            yield orjson.dumps(at | {"type": "maintenance", "severity": "info", "message": "bearing"})


def _put(
    lake: FileSystem, topic: str, partition: int, start: int, hour: datetime, values: list[bytes]
) -> None:
    lines = [
        orjson.dumps(
            {"topic": topic, "partition": partition, "offset": start + n, "timestamp": _ms(hour) + n,
             "value": value.decode()}
        )
        for n, value in enumerate(values)
    ]  # fmt: skip
    folder = f"{topic.partition('_')[2]}/bronze/raw/{hour:%Y-%m-%d/%H}"
    content = gzip.compress(b"\n".join(lines) + b"\n", compresslevel=3)
    put(lake, f"{folder}/{topic}-{partition}-{start:020d}.jsonl.gz", content)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
