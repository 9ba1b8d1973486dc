"""`iotops flow`: run a flow here and now, on the cluster, recorded in Prefect."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table

from iotops.commands.console import errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.ray_cluster import prepare_environment
from iotops.settings import Settings, get_settings
from iotops.tenancy import SHARED_PREFIX, Tenant

FLOWS = {
    "bronze-to-silver": "New and changed bronze objects to the silver tables of the lake.",
    "silver-to-gold": "Silver to the health scores and summaries in Postgres.",
    "doc-ingestion": "A shelf's documents to its published index.",
}


@dataclass(frozen=True)
class FlowOutcome:
    """A finished run: its counts by name, and its page in Prefect."""

    flow: str
    tenant: str
    counts: dict[str, int | str]
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
    flows = typer.Typer(help="Run the data flows.", no_args_is_help=True)
    flows.command("run")(run)
    flows.command("list")(list_all)
    app.add_typer(flows, name="flow")


def run(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(FLOWS)}.")],
    tenant: TenantOption,
    as_json: Json = False,
) -> None:
    """Run a flow for a tenant and wait for it; exits 1 where it fails.

    Example: iotops flow run bronze-to-silver --tenant acme
    """
    if name not in FLOWS:
        raise typer.BadParameter(f"flow {name!r} is unknown; flows are: {', '.join(FLOWS)}")
    with errors.status(name) as status:
        outcome = run_flow(name, tenant, lambda message: status.update(f"{name}: {message}"))
    if as_json:
        print_json({"flow": name, "tenant_id": tenant, **outcome.counts, "url": outcome.url})
    else:
        results.print(f"{name} for {tenant}: {outcome}\n{outcome.url}", highlight=False)


def list_all(as_json: Json = False) -> None:
    """List the flows.

    Example: iotops flow list
    """
    if as_json:
        print_json([{"name": name, "description": description} for name, description in FLOWS.items()])
        return
    table = Table("flow", "from what to what")
    for name, description in FLOWS.items():
        table.add_row(name, description)
    results.print(table)


def run_flow(
    name: str, tenant: str, on_progress: Callable[[str], None] = lambda message: None
) -> FlowOutcome:
    """Run a flow of `FLOWS` in this process, its Ray Data on the cluster, its record in Prefect.

    Raises `IotOpsError` where the flow fails for good or the Prefect server does not answer.
    """
    settings = get_settings()
    if tenant != SHARED_PREFIX or name != "doc-ingestion":
        Tenant(tenant)
    prefect_environment(settings)
    prepare_environment(settings.ray)
    from prefect import State
    from prefect.exceptions import PrefectException

    from pipelines import flows

    flows.on_progress.set(on_progress)
    try:
        state: State = flows.FLOWS[name](tenant=tenant, return_state=True)
    except (PrefectException, OSError, RuntimeError) as error:
        raise IotOpsError(f"Prefect at {settings.prefect.api_url} cannot run {name}: {error}") from error
    url = f"{settings.prefect.api_url.removesuffix('/api')}/runs/flow-run/{state.state_details.flow_run_id}"
    if not state.is_completed():
        raise IotOpsError(f"{name} for {tenant} failed: {state.message}; its log is at {url}")
    return FlowOutcome(name, tenant, state.result(), url)


def prefect_environment(settings: Settings) -> None:
    """Set what Prefect reads from the environment as it is imported: so call it before the first import."""
    os.environ |= {
        "PREFECT_API_URL": settings.prefect.api_url,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the log goes to the server
        "DO_NOT_TRACK": "1",
    }
