"""`iotops flow`: run a flow here and now, apply and list the deployments, work for them, recompute days."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from iotops.commands.console import errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.ray_cluster import prepare_environment
from iotops.settings import get_settings
from iotops.tenancy import SHARED_PREFIX, Tenant
from pipelines.backfill import FLOWS as RANGED
from pipelines.backfill import Range
from pipelines.deployments import apply, prefect_environment, states, work
from pipelines.stages import STAGES, Counts

DONE = re.compile(r"(\d+) of (\d+) (hours|days)")


@dataclass(frozen=True)
class FlowOutcome:
    """A finished run: its counts by name, and its page in Prefect."""

    flow: str
    tenant: str | None
    counts: Counts
    url: str

    def __str__(self) -> str:
        counted = (
            f"{value:,} {name.replace('_', ' ')}"
            if isinstance(value, int)
            else f"{name.replace('_', ' ')} {value}"
            for name, value in self.counts.items()
        )
        return ", ".join(counted)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    flows = typer.Typer(help="Run, schedule and repeat the data flows.", no_args_is_help=True)
    flows.command("run")(run)
    flows.command("list")(list_all)
    flows.command("backfill")(backfill)
    flows.command("deploy")(deploy)
    flows.command("worker")(worker)
    app.add_typer(flows, name="flow")


def run(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(STAGES)}.")],
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Tenant id, e.g. acme.")] = None,
    every_tenant: Annotated[
        bool, typer.Option("--every-tenant", help="All of them, a few at a time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a flow for a tenant and wait for it; exits 1 where it fails.

    Example: iotops flow run bronze-to-silver --tenant acme
    """
    if name not in STAGES:
        raise typer.BadParameter(f"flow {name!r} is unknown; flows are: {', '.join(STAGES)}")
    if (tenant is None) == (not every_tenant):
        raise typer.BadParameter("name a tenant: --tenant ID, or --every-tenant")
    with errors.status(name) as status:
        outcome = run_flow(name, tenant, lambda message: status.update(f"{name}: {message}"))
    if as_json:
        print_json({"flow": name, "tenant_id": tenant, **outcome.counts, "url": outcome.url})
    else:
        print(f"{name} for {tenant or 'every tenant'}: {outcome}\n{outcome.url}")


def list_all(as_json: Json = False) -> None:
    """List the flows: what starts each, how its last run went, and when its next one is due.

    Example: iotops flow list
    """
    found = states(get_settings())
    if as_json:
        print_json([{**asdict(each), "description": STAGES[each.flow].description} for each in found])
        return
    table = Table(
        Column("flow", no_wrap=True),
        Column("starts (UTC)", overflow="fold"),
        "last run (UTC)",
        "state",
        "next run (UTC)",
        box=None,
    )
    for each in found:
        starts = [each.schedule, *each.triggers]
        table.add_row(
            each.flow,
            "\n".join(filter(None, starts)) or "on demand",
            _minute(each.started),
            each.state,
            _minute(each.next_run),
        )
    results.print(table)


def _minute(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def deploy() -> None:
    """Apply `pipelines/prefect.yaml`: the schedules and triggers of the flows.

    Example: iotops flow deploy
    """
    with errors.status("deploying"):
        names = apply(get_settings())
    results.print("\n".join(names), highlight=False)


def worker() -> None:
    """Apply the deployments, then run what is scheduled and triggered, for ever; `iotops up` starts one.

    Example: iotops flow worker
    """
    settings = get_settings()
    apply(settings)
    work(settings)


def backfill(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(RANGED)}.")],
    tenant: TenantOption,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC), included.")],
    as_json: Json = False,
) -> None:
    """Recompute a range of days on the cluster; if interrupted, run it again to do the rest.

    Example: iotops flow backfill bronze-to-silver --from 2026-11-01 --to 2026-11-20 --tenant acme
    """
    from pipelines.jobs.client import job_client, submit
    from pipelines.jobs.protocol import attend

    if name not in RANGED:
        raise typer.BadParameter(f"flow {name!r} cannot be backfilled; these can: {', '.join(RANGED)}")
    Tenant(tenant)
    days = Range(first.date(), last.date())
    arguments = [name, "--from", str(days.first), "--to", str(days.last), "--tenant", tenant]
    client = job_client(get_settings())
    job_id = submit(client, "pipelines.jobs.backfill", arguments, metadata={"tenant": tenant})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(name, total=None)

        def show(message: str) -> None:
            if done := DONE.fullmatch(message):
                bar.update(task, completed=int(done[1]), total=int(done[2]))
            else:
                bar.update(task, description=f"{name}: {message}")

        report = attend(client, job_id, show)
    if as_json:
        print_json({"flow": name, "tenant_id": tenant, "job_id": job_id, **report})
    else:
        kind = "hours" if name == "bronze-to-silver" else "days"
        results.print(
            f"{report['total']:,} {kind}, {report['found_done']:,} of them done by a run that broke off"
        )


def run_flow(
    name: str, tenant: str | None, on_progress: Callable[[str], None] = lambda message: None
) -> FlowOutcome:
    """Run a flow in this process, its stage as a job on the cluster, its record in Prefect.

    `tenant` None is every tenant. Raises `IotOpsError` where the flow fails for good or the Prefect server
    does not answer.
    """
    settings = get_settings()
    if tenant is not None and not (tenant == SHARED_PREFIX and STAGES[name].for_shared):
        Tenant(tenant)
    os.environ |= prefect_environment(settings)
    prepare_environment(settings.ray)
    from prefect import State
    from prefect.exceptions import PrefectException

    from pipelines import flows
    from pipelines.notices import run_url

    flows.on_progress.set(on_progress)
    try:
        state: State = flows.FLOWS[name](tenant=tenant, return_state=True)
    except (PrefectException, OSError, RuntimeError) as error:
        raise IotOpsError(f"Prefect at {settings.prefect.api_url} cannot run {name}: {error}") from error
    url = run_url(settings.prefect, state.state_details.flow_run_id)
    if not state.is_completed():
        whose = tenant or "every tenant"
        raise IotOpsError(f"{name} for {whose} failed: {state.message}; its log is at {url}")
    return FlowOutcome(name, tenant, state.result(), url)
