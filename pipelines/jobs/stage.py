"""A stage of the pipelines as a Ray job.

    ray job submit -- python -m pipelines.jobs.stage bronze-to-silver --tenant acme

Only what has changed is worked on, unless hours or days are given. It prints its progress, and at the end
what came of it as JSON.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime

from iotops.settings import get_settings
from pipelines.jobs.protocol import JobRefused, progress, reported
from pipelines.stages import STAGES, Parameters, run_stage


def main() -> int:
    """The job; its exit status."""
    given = parser().parse_args()
    return reported(
        lambda: asdict(run_stage(given.name, get_settings(), given.tenant, parameters(given), progress))
    )


def parser() -> argparse.ArgumentParser:
    """Its options."""
    parsed = argparse.ArgumentParser(
        prog="python -m pipelines.jobs.stage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = "; ".join(f"{name}: {stage.description}" for name, stage in STAGES.items())
    parsed.add_argument("name", choices=STAGES, metavar="NAME", help=stages)
    parsed.add_argument("--tenant", required=True, help="Tenant id, e.g. acme; `shared` for doc-ingestion.")
    parsed.add_argument(
        "--days", nargs="+", default=[], help="Event days (UTC) of silver-to-gold: 2026-11-02."
    )
    parsed.add_argument(
        "--hours", nargs="+", default=[], help="Arrival hours (UTC) of bronze-to-silver: 2026-11-02T15."
    )
    return parsed


def parameters(given: argparse.Namespace) -> Parameters:
    """The days and hours; raises `JobRefused` for one that is none."""
    return Parameters(
        hours=tuple(hour(value) for value in given.hours), days=tuple(day(value) for value in given.days)
    )


def day(value: str) -> date:
    """A day as a person writes it."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise JobRefused(f"{value!r} is not a day: write it as 2026-11-02") from None


def hour(value: str) -> datetime:
    """An hour (UTC) as a person writes it."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise JobRefused(f"{value!r} is not an hour: write it as 2026-11-02T15") from None
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    return found.replace(minute=0, second=0, microsecond=0)


if __name__ == "__main__":
    sys.exit(main())
