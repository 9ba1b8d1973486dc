"""Recording a run from its start to its end, whatever that is."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from openlineage.client.uuid import generate_new_uuid
from sqlalchemy.exc import SQLAlchemyError

import iotops
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX, Tenant
from pipelines.lineage.datasets import Dataset
from pipelines.lineage.events import run_event
from pipelines.lineage.runs import Run, State, abort_abandoned, held, keep, owned_by
from pipelines.lineage.schemas import columns
from pipelines.lineage.sending import send

logger = logging.getLogger(__name__)

MESSAGE_CHARACTERS = 2000


@contextmanager
def recorded(
    settings: Settings, tenant: Tenant | None, *, job: str, run_id: UUID | None = None
) -> Iterator[Run]:
    """Record what the body does as a run of `job`; the body appends to the run's `inputs` and `outputs`.

    `tenant` None is the shelf that all tenants share. A run of the same id is recorded anew. Earlier runs of
    the job whose process was killed become ABORT. What the body raises is recorded and raised.
    """
    run = Run(
        owner=tenant.id if tenant else SHARED_PREFIX,
        job=job,
        run_id=run_id or generate_new_uuid(),
        started_at=datetime.now(UTC),
        code_version=code_version(),
    )
    with held(settings.database, run.run_id):
        with owned_by(settings.database, run.owner) as connection:
            abandoned = abort_abandoned(connection, run)
            keep(connection, run)
        for event in (*abandoned, run):
            send(settings, run.owner, run_event(event, settings))
        try:
            yield run
        except BaseException as error:
            run.message = f"{type(error).__name__}: {error}"[:MESSAGE_CHARACTERS]
            try:
                _end(settings, run, "FAIL" if isinstance(error, Exception) else "ABORT")
            except SQLAlchemyError as unkept:  # it must not hide why the run failed
                logger.warning("the end of run %s of %s is not kept: %s", run.run_id, job, unkept)
            raise
        run.inputs[:] = _described(settings, run.inputs)
        run.outputs[:] = _described(settings, run.outputs)
        _end(settings, run, "COMPLETE")


def _end(settings: Settings, run: Run, state: State) -> None:
    run.state, run.ended_at = state, datetime.now(UTC)
    with owned_by(settings.database, run.owner) as connection:
        keep(connection, run)
    send(settings, run.owner, run_event(run, settings))


def _described(settings: Settings, datasets: Sequence[Dataset]) -> list[Dataset]:
    """The datasets with the columns that their tables have now."""
    wanted = [dataset.name for dataset in datasets if not dataset.fields and dataset.store != "lake"]
    found = columns(settings, wanted)
    return [replace(dataset, fields=dataset.fields or found.get(dataset.name, ())) for dataset in datasets]


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit of the checkout that runs (`-dirty` where it was changed), else the package's version."""
    root = Path(iotops.__file__).parents[1]
    if (root / ".git").exists():
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            found = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True)
            return found.stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("the commit of %s is not known: %s", root, error)
    return iotops.__version__
