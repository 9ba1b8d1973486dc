"""What is in quarantine, for a person to see: reasons with their counts and one row of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.lake.known import arrived_in
from pipelines.lake.silver_tables import table_name

EXCERPT = 120
"""Characters of a bad record that are shown at most."""
COLUMNS = ("reason", "object", "kafka_offset", "raw")


def quarantined(settings: Settings, tenant: Tenant, hours: Sequence[datetime]) -> list[dict[str, Any]]:
    """By reason, the rows of arrival hours (UTC) that are in quarantine, most first; see `summary`."""
    catalog = iceberg_catalog(settings.lake, settings.database)
    table = catalog.load_table(table_name(tenant, "quarantine"))
    return summary(table.scan(row_filter=arrived_in(hours), selected_fields=COLUMNS).to_arrow())


def summary(rows: pa.Table) -> list[dict[str, Any]]:
    """By the reason's code: rows, and of one of them the whole reason, the object, offset and an excerpt."""
    code = pc.list_element(pc.split_pattern(rows["reason"], ":", max_splits=1), 0)
    first = [(column, "first") for column in COLUMNS]
    by_code = (
        rows.append_column("code", code)
        .group_by("code", use_threads=False)
        .aggregate([*first, ("reason", "count")])
        .sort_by([("reason_count", "descending"), ("code", "ascending")])
    )
    return [
        {
            "reason": row["code"],
            "rows": row["reason_count"],
            "example": row["reason_first"],
            "object": row["object_first"],
            "offset": row["kafka_offset_first"],
            "excerpt": (row["raw_first"] or "")[:EXCERPT],
        }
        for row in by_code.to_pylist()
    ]
