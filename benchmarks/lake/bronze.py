"""Bronze of a made fleet: objects as the bronze sink writes them, in the lake of an embedded stack."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from iotops.kafka import Batch, Partition
from iotops.lake import lake_filesystem, put
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.ingest.bronze import HOUR_MS, encode, object_key
from pipelines.ingest.simulate import Fleet

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
    lake, roll = lake_filesystem(settings.lake), settings.ingest.bronze_roll_records
    fleet, chance = Fleet(DEVICES, "bench"), np.random.default_rng(7)
    waiting: list[tuple[list[int], list[bytes]]] = [([], []) for _ in range(PARTITIONS)]
    offsets = [0] * PARTITIONS
    written = 0

    def roll_out(number: int, records: int) -> int:
        stamps, values = waiting[number]
        batch = Batch(
            Partition(tenant.telemetry_topic, number),
            list(range(offsets[number], offsets[number] + records)),
            stamps[:records],
            [b""] * records,
            values[:records],
        )
        content = encode(batch)
        put(lake, object_key(batch), content)
        offsets[number] += records
        del stamps[:records], values[:records]
        return len(content)

    made = 0
    while made < readings:
        at_ms = FIRST_MS + made // DEVICES * EVERY_MS
        if at_ms % HOUR_MS == 0:  # an object never crosses an hour
            written += sum(roll_out(n, len(waiting[n][0])) for n in range(PARTITIONS) if waiting[n][0])
            on_progress(made)
        devices = np.arange(min(DEVICES, readings - made))
        luck = chance.random(len(devices))
        for device, (value, lot) in enumerate(zip(fleet.read(devices, at_ms), luck.tolist(), strict=True)):
            copies = [value]
            if lot < REPEATED:
                copies = [value, value]
            elif lot > 1 - BROKEN / 2:
                copies = [value[:-20]]
            elif lot > 1 - BROKEN:
                copies = [value.replace(b'"vibration":', b'"vibration":"high","was":')]
            stamps, values = waiting[device % PARTITIONS]
            stamps += [at_ms + DELAY_MS] * len(copies)
            values += copies
        for number in range(PARTITIONS):
            while len(waiting[number][0]) >= roll:
                written += roll_out(number, roll)
        made += len(devices)
    written += sum(roll_out(n, len(waiting[n][0])) for n in range(PARTITIONS) if waiting[n][0])
    return written
