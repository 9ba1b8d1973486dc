"""`python -m benchmarks.lake.contender NAME STAGE TENANT`: a stage of a contender, in a process."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from multiprocessing import get_context

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.lake import duckdb_peer, polars_peer
from benchmarks.lake.storage import gold_tenant, listed
from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from pipelines.lake import health
from pipelines.lake.bronze_lines import ENVELOPES
from pipelines.lake.bronze_objects import read_objects
from pipelines.lake.bronze_to_silver import load_silver
from pipelines.lake.daily import EVENT_COUNTS
from pipelines.lake.gold_tables import Staged
from pipelines.lake.reading_rules import StoredReading
from pipelines.lake.silver_to_gold import build_gold

GOLD = ("device_health", "device_health_components", "customer_summary")
Stage = Callable[[Settings, Tenant], int]


def _silver(settings: Settings, tenant: Tenant) -> int:
    return sum(load.telemetry_rows for load in load_silver(settings, tenant))


def _by_hour(load: Callable[[Settings, Tenant, pa.Table], int], settings: Settings, tenant: Tenant) -> int:
    """A peer's load, an arrival hour at a time as ours, so that its memory holds one hour."""
    return sum(load(settings, tenant, objects) for objects in listed(settings, tenant))


def _gold(settings: Settings, tenant: Tenant) -> int:
    return build_gold(settings, tenant).scores


def _scored(
    name: str, summaries: Callable[[Settings, Tenant], pa.Table], settings: Settings, tenant: Tenant
) -> int:
    """The peers' days are scored by our code in their process, and written to Postgres as ours are."""
    stats = summaries(settings, tenant)
    first, last = min(stats["day"].to_pylist()), max(stats["day"].to_pylist())
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    scored = health.score(stats, EVENT_COUNTS.empty_table(), days)
    owner = gold_tenant(tenant, name)
    with tenant_transaction(engine(settings.database), owner) as connection:
        for table in GOLD:
            rows = Staged(connection, table)
            rows.add(getattr(scored, table))
            rows.replace(owner, days)
    return int(scored.device_health.num_rows)


def _floor(settings: Settings, tenant: Tenant) -> int:
    """Read, decompress and parse, and nothing else: a process for each core."""
    objects = pa.concat_tables(listed(settings, tenant))
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:  # S3 clients do not survive a fork
        return sum(
            pool.map(
                partial(_parse, settings),
                [objects.take(np.arange(core, len(objects), cores)) for core in range(cores)],
            )
        )


def _parse(settings: Settings, objects: pa.Table) -> int:
    decoder, parsed = msgspec.json.Decoder(StoredReading), 0
    for _, _, content in read_objects(lake_filesystem(settings.lake), objects):
        for line in ENVELOPES.decode_lines(content):
            try:
                decoder.decode(line.value)
                parsed += 1
            except msgspec.DecodeError:
                continue
    return parsed


STAGES: dict[tuple[str, str], Stage] = {
    ("ours", "silver"): _silver,
    ("ours", "gold"): _gold,
    ("polars", "silver"): partial(_by_hour, polars_peer.bronze_to_silver),
    ("polars", "gold"): partial(_scored, "polars", polars_peer.summaries),
    ("duckdb", "silver"): partial(_by_hour, duckdb_peer.bronze_to_silver),
    ("duckdb", "gold"): partial(_scored, "duckdb", duckdb_peer.summaries),
    ("floor", "silver"): _floor,
}


def main() -> None:
    """Run, and print the rows and the time as JSON; imports are not timed, connecting is."""
    name, stage, tenant = sys.argv[1:]
    started = time.perf_counter()
    rows = STAGES[name, stage](get_settings(), Tenant(tenant))
    print(json.dumps({"rows": rows, "wall_s": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
