"""The runs that led to a table, from the newest that wrote it back to what no run wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from pipelines.lineage.datasets import Dataset
from pipelines.lineage.runs import COLUMNS, Run, owned_by, stored_run

LAST = text(f"""
    SELECT {COLUMNS} FROM gold.pipeline_runs WHERE tenant_id = :owner
    ORDER BY started_at DESC LIMIT :limit""")
KEPT = 10_000


@dataclass(frozen=True)
class Source:
    """A dataset, the run that wrote it last, and what that run read; no run where it came from outside."""

    dataset: Dataset
    run: Run | None = None
    inputs: list[Source] = field(default_factory=list)


def last_runs(settings: DatabaseSettings, owner: Tenant, limit: int = KEPT) -> list[Run]:
    """The owner's runs, the newest first."""
    with owned_by(settings, owner.id) as connection:
        return [
            stored_run(owner.id, row) for row in connection.execute(LAST, {"owner": owner.id, "limit": limit})
        ]


def upstream(runs: Sequence[Run], dataset: Dataset) -> Source:
    """The tree above a dataset, by complete `runs` (newest first); each step looks at earlier runs only."""
    for place, run in enumerate(runs):
        written = next((each for each in run.outputs if each.name == dataset.name), None)
        if run.state == "COMPLETE" and written:
            return Source(written, run, [upstream(runs[place + 1 :], each) for each in run.inputs])
    return Source(dataset)
