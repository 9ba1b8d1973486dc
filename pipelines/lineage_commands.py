"""`iotops lineage`: where a table comes from, and what ran."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from iotops.commands.console import cell, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.settings import get_settings
from pipelines.lineage.datasets import Dataset
from pipelines.lineage.runs import Run
from pipelines.lineage.upstream import Source, last_runs, upstream

STATE_COLOUR = {"COMPLETE": "green", "FAIL": "red", "ABORT": "yellow", "RUNNING": "cyan"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    lineage = typer.Typer(help="See where tables come from, and what ran.", no_args_is_help=True)
    lineage.command("show")(show)
    lineage.command("runs")(runs)
    app.add_typer(lineage, name="lineage")


def show(
    table: Annotated[str, typer.Argument(help="As analysts write it: gold.device_health, acme.telemetry.")],
    tenant: TenantOption,
    as_json: Json = False,
) -> None:
    """Print the upstream tree of a table: the run that wrote it last, what that read, and so on.

    Example: iotops lineage show gold.device_health --tenant acme
    """
    from iotops.provisioning import known_tenant

    settings = get_settings()
    owner = known_tenant(settings, tenant)
    name = f"{tenant}.{table.removeprefix('silver.')}" if table.startswith("silver.") else table
    found = last_runs(settings.database, owner)
    written = sorted({dataset.name for run in found for dataset in run.outputs})
    if name not in written:
        raise IotOpsError(
            f"no run of tenant {tenant} wrote {table!r}; written were: {', '.join(written) or 'none yet'}"
        )
    tree = upstream(found, Dataset(name))
    if as_json:
        print_json(_plain(tree))
    else:
        results.print(_drawn(tree, Tree("")).children[0], highlight=False)


def runs(
    tenant: TenantOption,
    limit: Annotated[int, typer.Option(help="How many of the last runs.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List a tenant's last runs, the newest first.

    Example: iotops lineage runs --tenant acme
    """
    from iotops.provisioning import known_tenant

    settings = get_settings()
    found = last_runs(settings.database, known_tenant(settings, tenant), limit)
    if as_json:
        print_json([asdict(run) for run in found])
        return
    table = Table("started (UTC)", "job", "state", "wrote", "code", box=box.SIMPLE)
    for run in found:
        told = [f"{each.name}{_rows(each)}" for each in run.outputs] + [run.message]
        state = f"[{STATE_COLOUR[run.state]}]{run.state}[/]"
        table.add_row(
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
            run.job,
            state,
            cell("\n".join(filter(None, told))),
            run.code_version[:12],
        )
    results.print(table)


def _drawn(source: Source, above: Tree) -> Tree:
    branch = above.add(
        f"[bold]{escape(source.dataset.name)}[/]{_rows(source.dataset)}{_parts(source.dataset)}"
    )
    if source.run:
        made = branch.add(f"[dim]{_described(source.run)}[/]")
        for each in source.inputs:
            _drawn(each, made)
    return above


def _plain(source: Source) -> dict[str, Any]:
    run = source.run
    return {
        **source.dataset.to_json(),
        "run": {name: getattr(run, name) for name in ("run_id", "job", "state", "started_at", "code_version")}
        if run
        else None,
        "inputs": [_plain(each) for each in source.inputs],
    }


def _described(run: Run) -> str:
    return f"{run.job}, {run.started_at:%Y-%m-%d %H:%M:%S} UTC, code {run.code_version[:12]}"


def _rows(dataset: Dataset) -> str:
    return "" if dataset.rows is None else f"  {dataset.rows:,} rows"


def _parts(dataset: Dataset) -> str:
    if not dataset.parts:
        return ""
    first, last = dataset.parts[0], dataset.parts[-1]
    return f"  {first}" if first == last else f"  {first} to {last}"
