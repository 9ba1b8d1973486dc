"""Loading a range again, in parts that each stay done: what is killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.provisioning import known_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import alone
from pipelines.jobs.protocol import JobRefused
from pipelines.lake.loads import OWED
from pipelines.stages import STAGES, Parameters, run_stage

FLOWS = tuple(name for name, stage in STAGES.items() if stage.takes)
CHUNK = {"bronze-to-silver": 24, "silver-to-gold": 7}
"""Hours, or days, done together: few, so that little is lost; several, since each job has its own start."""

UNFINISHED = text("""
    SELECT max(started_at) FROM ingest.backfills
    WHERE flow = :flow AND first = :first AND last = :last AND finished_at IS NULL""")
BEGIN = text("""
    INSERT INTO ingest.backfills (tenant_id, flow, first, last) VALUES (:tenant, :flow, :first, :last)
    RETURNING started_at""")
FINISH = text("""
    UPDATE ingest.backfills SET finished_at = clock_timestamp()
    WHERE flow = :flow AND first = :first AND last = :last AND finished_at IS NULL""")
DONE = {
    "bronze-to-silver": text(
        f"SELECT arrival_hour FROM ingest.lake_hours WHERE loaded_at >= :started AND listing <> '{OWED}'"
    ),
    "silver-to-gold": text("SELECT day FROM gold.customer_summary WHERE computed_at >= :started"),
}


@dataclass(frozen=True)
class Range:
    """The days (UTC) from `first` to `last`, both included; raises `JobRefused` where they are reversed."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise JobRefused(f"--from {self.first} is after --to {self.last}")

    @property
    def days(self) -> list[date]:
        """Each day."""
        return [self.first + timedelta(days=ahead) for ahead in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class BackfillReport:
    """Hours or days of the range, and how many of them this run found done already."""

    total: int
    found_done: int


def backfill(
    settings: Settings, tenant_id: str, flow: str, days: Range, on_progress: Callable[[str], None]
) -> BackfillReport:
    """Do the range anew, whether it changed or not; of one that was broken off, only what is left.

    Progress reads `12 of 480 hours`. Raises `JobRefused` for a flow without a range, `TenantError` where
    there is no such tenant, and `QuarantineError` once all is done but the hours that were refused: these are
    what is left.
    """
    from pipelines.lake.refusal import QuarantineError  # loads the lake's libraries

    check_flow(flow)
    tenant = known_tenant(settings, tenant_id)
    key = {"flow": flow, "first": midnight(days.first), "last": midnight(days.last)}
    with alone(settings, f"backfill {flow}", tenant_id, on_progress):
        with tenant_transaction(engine(settings.database), tenant) as connection:
            started = connection.execute(UNFINISHED, key).scalar_one()
            started = started or connection.execute(BEGIN, {**key, "tenant": tenant.id}).scalar_one()
            done = set(connection.execute(DONE[flow], {"started": started}).scalars())
        parts = _hours(settings, tenant, days) if flow == "bronze-to-silver" else days.days
        left = [part for part in parts if part not in done]
        kind = "hours" if flow == "bronze-to-silver" else "days"
        count = len(parts) - len(left)
        on_progress(f"{count} of {len(parts)} {kind}")
        refused: list[str] = []
        for chunk in chunks(left, CHUNK[flow]):
            try:
                run_stage(flow, settings, tenant_id, Parameters(**{kind: tuple(chunk)}), on_progress)
            except QuarantineError as error:
                refused.append(str(error))
            count += len(chunk)
            on_progress(f"{count} of {len(parts)} {kind}")
        if refused:
            raise QuarantineError("\n".join(refused))
        with tenant_transaction(engine(settings.database), tenant) as connection:
            connection.execute(FINISH, key)
    return BackfillReport(len(parts), len(parts) - len(left))


def check_flow(flow: str) -> None:
    """Raise `JobRefused` for a flow without a range."""
    if flow not in FLOWS:
        raise JobRefused(f"{flow!r} cannot be backfilled; these can: {', '.join(FLOWS)}")


def chunks(parts: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The parts in order, `size` at a time."""
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def midnight(day: date) -> datetime:
    """The day's first moment (UTC)."""
    return datetime.combine(day, time(), UTC)


def _hours(settings: Settings, tenant: Tenant, days: Range) -> list[datetime]:
    """The arrival hours of the range of which bronze has objects."""
    from pipelines.lake.bronze_objects import list_hours

    first, end = midnight(days.first), midnight(days.last) + timedelta(days=1)
    found = list_hours(lake_filesystem(settings.lake), tenant, first)
    return [hour.arrival_hour for hour in found if first <= hour.arrival_hour < end]
