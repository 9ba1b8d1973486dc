"""Bronze of a made fleet: objects as the bronze sink writes them, in the lake of an embedded stack."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context

import numpy as np

from iotops.kafka import Batch, Partition
from iotops.lake import lake_filesystem, put
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.bronze import encode, object_key
from pipelines.ingest.simulate import Fleet
from pipelines.ingest.times import HOUR_MS

FIRST_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
DEVICES = 10_000
PARTITIONS = 8
EVERY_MS = 60_000
DELAY_MS = 500  # from a reading to its arrival
REPEATED = 0.01  # of the readings come a second time, right behind
BROKEN = 0.001  # ... are no JSON, or have a metric that is no number


def generate(
    settings: Settings, tenant: Tenant, readings: int, on_progress: Callable[[int], None] = lambda done: None
) -> int:
    """Write `readings` of `DEVICES` devices, one a minute each; returns the compressed bytes."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:  # S3 clients do not survive a fork
        parts = [pool.submit(_partition, settings, tenant, readings, number) for number in range(PARTITIONS)]
        for done, _ in enumerate(as_completed(parts), 1):
            on_progress(readings * done // PARTITIONS)
        return sum(part.result() for part in parts)


def _partition(settings: Settings, tenant: Tenant, readings: int, number: int) -> int:
    """The objects of one partition, whose devices are every `PARTITIONS`th; their compressed bytes."""
    lake, roll = lake_filesystem(settings.lake), settings.ingest.bronze_roll_records
    fleet, chance = Fleet(DEVICES, "bench"), np.random.default_rng((7, number))
    stamps: list[int] = []
    values: list[bytes] = []
    offset = written = 0

    def roll_out(records: int) -> None:
        nonlocal offset, written
        batch = Batch(
            Partition(tenant.telemetry_topic, number),
            list(range(offset, offset + records)),
            stamps[:records],
            [b""] * records,
            values[:records],
        )
        content = encode(batch)
        put(lake, object_key(batch), content)
        offset, written = offset + records, written + len(content)
        del stamps[:records], values[:records]

    for made in range(0, readings, DEVICES):
        at_ms = FIRST_MS + made // DEVICES * EVERY_MS
        if at_ms % HOUR_MS == 0 and values:  # an object never crosses an hour
            roll_out(len(values))
        devices = np.arange(number, min(DEVICES, readings - made), PARTITIONS)
        luck = chance.random(len(devices)).tolist()
        for value, lot in zip(fleet.read(devices, at_ms), luck, strict=True):
            if lot < REPEATED:
                copies = [value, value]
            elif lot > 1 - BROKEN / 2:
                copies = [value[:-20]]
            elif lot > 1 - BROKEN:
                copies = [value.replace(b'"vibration":', b'"vibration":"high","was":')]
            else:
                copies = [value]
            stamps += [at_ms + DELAY_MS] * len(copies)
            values += copies
        while len(values) >= roll:
            roll_out(roll)
    if values:
        roll_out(len(values))
    return written
