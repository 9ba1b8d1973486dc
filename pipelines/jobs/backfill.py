"""A range of hours or days done anew, as a Ray job.

    ray job submit -- python -m pipelines.jobs.backfill bronze-to-silver \
        --from 2026-11-01 --to 2026-11-20 --tenant acme

Killed at any moment and started again, it does only what is left. It prints its progress, and at the end what
came of it as JSON.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from iotops.settings import get_settings
from pipelines.backfill import FLOWS, Range, backfill
from pipelines.jobs.protocol import progress, reported
from pipelines.jobs.stage import day


def main() -> int:
    """The job; its exit status."""
    given = parser().parse_args()

    def work() -> dict[str, int]:
        days = Range(day(given.first), day(given.last))
        return asdict(backfill(get_settings(), given.tenant, given.name, days, progress))

    return reported(work)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    parsed = argparse.ArgumentParser(
        prog="python -m pipelines.jobs.backfill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsed.add_argument("name", choices=FLOWS, metavar="NAME", help=f"One of: {', '.join(FLOWS)}.")
    parsed.add_argument("--tenant", required=True, help="Tenant id, e.g. acme.")
    parsed.add_argument("--from", dest="first", required=True, help="First day (UTC): 2026-11-01.")
    parsed.add_argument("--to", dest="last", required=True, help="Last day (UTC), included: 2026-11-20.")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
