"""A run of a pipeline, and its row in `gold.pipeline_runs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from iotops.database import engine, tenant_transaction
from iotops.settings import DatabaseSettings
from iotops.tenancy import SHARED_PREFIX, Tenant
from pipelines.lineage.datasets import Dataset

State = Literal["RUNNING", "COMPLETE", "FAIL", "ABORT"]

COLUMNS = "run_id, job, state, started_at, ended_at, code_version, message, inputs, outputs"
KEEP = text(f"""
    INSERT INTO gold.pipeline_runs (tenant_id, {COLUMNS})
    VALUES (:owner, :run_id, :job, :state, :started_at, :ended_at, :code_version, :message,
        CAST(:inputs AS jsonb), CAST(:outputs AS jsonb))
    ON CONFLICT (tenant_id, run_id) DO UPDATE SET state = excluded.state, started_at = excluded.started_at,
        ended_at = excluded.ended_at, message = excluded.message, inputs = excluded.inputs,
        outputs = excluded.outputs, code_version = excluded.code_version""")
HOLD = text("SELECT pg_try_advisory_xact_lock(hashtext('lineage'), hashtext(:run_id))")
ABANDONED = text(f"""
    UPDATE gold.pipeline_runs
    SET state = 'ABORT', ended_at = clock_timestamp(), message = 'its process ended without a word'
    WHERE tenant_id = :owner AND job = :job AND state = 'RUNNING' AND run_id <> :run_id
        AND pg_try_advisory_xact_lock(hashtext('lineage'), hashtext(CAST(run_id AS text)))
    RETURNING {COLUMNS}""")


@dataclass
class Run:
    """One run of a job for an owner: a tenant, or `shared` for the shelf of all tenants."""

    owner: str
    job: str
    run_id: UUID
    started_at: datetime
    code_version: str
    state: State = "RUNNING"
    ended_at: datetime | None = None
    message: str | None = None
    inputs: list[Dataset] = field(default_factory=list)
    outputs: list[Dataset] = field(default_factory=list)


def keep(connection: Connection, run: Run) -> None:
    """Write the run's row, new or again."""
    connection.execute(
        KEEP,
        {
            **{name: getattr(run, name) for name in COLUMNS.split(", ")},
            "owner": run.owner,
            "inputs": json.dumps([dataset.to_json() for dataset in run.inputs]),
            "outputs": json.dumps([dataset.to_json() for dataset in run.outputs]),
        },
    )


def abort_abandoned(connection: Connection, run: Run) -> list[Run]:
    """Mark the job's earlier runs that were killed; a live one holds its lock and is left alone."""
    values = {"owner": run.owner, "job": run.job, "run_id": run.run_id}
    return [stored_run(run.owner, row) for row in connection.execute(ABANDONED, values)]


def stored_run(owner: str, row: Row[Any]) -> Run:
    """A run from the `COLUMNS` of its row."""
    values = dict(row._mapping)
    for name in ("inputs", "outputs"):
        values[name] = [Dataset.from_json(stored) for stored in values[name]]
    return Run(owner=owner, **values)


def owned_by(settings: DatabaseSettings, owner: str) -> AbstractContextManager[Connection]:
    """A transaction that sees an owner's runs; one bound to no tenant writes those of `shared`."""
    if owner == SHARED_PREFIX:
        return engine(settings).begin()
    return tenant_transaction(engine(settings), Tenant(owner))


@contextmanager
def held(settings: DatabaseSettings, run_id: UUID) -> Iterator[None]:
    """Hold the run's advisory lock while the body runs: the database lets go of it when the process dies."""
    connection = engine(settings).connect()
    try:
        connection.execute(HOLD, {"run_id": str(run_id)})
        yield
    finally:
        with suppress(SQLAlchemyError):  # a lost connection has let go already
            connection.close()
