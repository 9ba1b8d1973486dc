"""What each contender gets: the objects' decompressed lines, and a place for its Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from isal import igzip
from pyarrow.fs import FileSystem

from iotops.lake import get, lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_objects import list_hours

TRANSFERS = 8
Listed = tuple[str, datetime]
"""Path and arrival hour of a bronze object."""


def listed(settings: Settings, tenant: Tenant) -> list[list[Listed]]:
    """The bronze objects of each arrival hour."""
    hours = list_hours(lake_filesystem(settings.lake), tenant)
    return [[(info.path, hour.arrival_hour) for info in hour.objects] for hour in hours]


def contents(
    filesystem: FileSystem, objects: list[Listed], ahead: int = TRANSFERS
) -> Iterator[tuple[str, datetime, bytes]]:
    """The objects decompressed, in order; at most `ahead` are read before they are asked for."""

    def read(path: str) -> bytes:
        return bytes(igzip.decompress(get(filesystem, path)))

    with ThreadPoolExecutor(TRANSFERS) as pool:
        waiting = iter(objects)
        reading = [(path, hour, pool.submit(read, path)) for path, hour in islice(waiting, ahead)]
        while reading:
            path, hour, future = reading.pop(0)
            reading += [(path, hour, pool.submit(read, path)) for path, hour in islice(waiting, 1)]
            yield path, hour, future.result()


def output(tenant: Tenant, contender: str, table: str) -> str:
    """Folder in the bucket for a contender's Parquet files of a table."""
    return f"{tenant.id}/benchmark/{contender}/{table}"


def gold_tenant(tenant: Tenant, contender: str) -> Tenant:
    """Whose rows in Postgres a contender writes: its own, so that none finds what another has written."""
    return tenant if contender == "ours" else Tenant(f"{tenant.id}_{contender}")
