"""What each contender gets: the objects of each hour, and a place for its Parquet files."""

from __future__ import annotations

import pyarrow as pa

from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.bronze_objects import GROUP, list_hours


def listed(settings: Settings, tenant: Tenant) -> list[pa.Table]:
    """The bronze objects (`GROUP`) of each arrival hour."""
    hours = list_hours(lake_filesystem(settings.lake), tenant)
    return [
        pa.table(
            [[info.path for info in hour.objects], [hour.arrival_hour] * len(hour.objects)], schema=GROUP
        )
        for hour in hours
    ]


def output(tenant: Tenant, contender: str, table: str) -> str:
    """Folder in the bucket for a contender's Parquet files of a table."""
    return f"{tenant.id}/benchmark/{contender}/{table}"


def gold_tenant(tenant: Tenant, contender: str) -> Tenant:
    """Whose rows in Postgres a contender writes: its own, so that none finds what another has written."""
    return tenant if contender == "ours" else Tenant(f"{tenant.id}_{contender}")
