"""A range of hours or days done anew, as a Ray job.

    ray job submit -- python -m pipelines.jobs.backfill bronze-to-silver \
        --from 2026-11-01 --to 2026-11-20 --tenant acme

Killed at any moment and started again, it does only what is left. It prints its progress, and at the end what
came of it as JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from iotops.commands.tenant import TenantOption
from iotops.provisioning import known_tenant
from iotops.settings import get_settings
from pipelines.backfill import FLOWS, Range, check_flow
from pipelines.backfill import backfill as do_anew
from pipelines.jobs.arguments import Check, main, say
from pipelines.jobs.protocol import progress, reported
from pipelines.jobs.stage import day


def backfill(
    flow: Annotated[str, typer.Argument(help=f"One of: {', '.join(FLOWS)}.")],
    tenant: TenantOption,
    first: Annotated[str, typer.Option("--from", help="First day (UTC), e.g. 2026-11-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day (UTC), included.")],
    check: Check = False,
) -> None:
    """Recompute a range of days, whether it changed or not.

    If interrupted, run it again to do the rest. `iotops flow backfill` is the same with a progress bar.

    Example: iotops job submit backfill bronze-to-silver --tenant acme --from 2026-11-01 --to 2026-11-20
    """
    if check:
        check_flow(flow)
        known_tenant(get_settings(), tenant)
        days = Range(day(first), day(last))
        say(f"{flow} of {tenant} anew, {days.first} to {days.last}")
        return

    def work() -> dict[str, int]:
        days = Range(day(first), day(last))
        return asdict(do_anew(get_settings(), tenant, flow, days, progress))

    raise typer.Exit(reported(work))


if __name__ == "__main__":
    main(backfill)
