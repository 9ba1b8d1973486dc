"""`iotops ingest` and `iotops replay`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from iotops.commands.console import cell, errors, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.errors import IotOpsError
from iotops.settings import get_settings
from iotops.tenancy import Tenant


def register(app: typer.Typer) -> None:
    """Add the commands."""
    ingest = typer.Typer(help="Run gateways and sinks as Ray actors.", no_args_is_help=True)
    ingest.command("start")(start)
    ingest.command("stop")(stop)
    ingest.command("status")(status)
    app.add_typer(ingest, name="ingest")
    replays = typer.Typer(help="Replay a recorded fleet through the gateway.", no_args_is_help=True)
    replays.command("pdm")(pdm)
    replays.callback()(lambda: None)  # keeps `pdm` a sub-command while it is the only layout
    app.add_typer(replays, name="replay")


def start(
    bronze: Annotated[int, typer.Option(help="Members of the bronze sink.", min=0)] = 1,
    silver: Annotated[int, typer.Option(help="Members of the silver sink.", min=0)] = 1,
    alerts: Annotated[int, typer.Option(help="Members of the alerting group.", min=0)] = 1,
    mqtt: Annotated[int, typer.Option(help="MQTT gateways.", min=0)] = 1,
) -> None:
    """Start gateways, consumer-group members and the document watcher; Ray restarts one that dies.

    Example: iotops ingest start --bronze 2 --silver 2
    """
    from iotops.ray_cluster import connect
    from iotops.serving import GATEWAY, deploy, wait_until_running
    from pipelines.ingest import members

    settings = get_settings()
    connect(settings.ray)
    with errors.status("HTTP gateway") as shown:
        wait_until_running(settings, deploy(settings, GATEWAY), shown.update)
    names = members.start(
        settings, {"bronze": bronze, "silver": silver, "alerts": alerts, "mqtt": mqtt, "documents": 1}
    )
    results.print(f"running: {', '.join(names)}")


def stop() -> None:
    """Let every member finish its batch, then stop it.

    Example: iotops ingest stop
    """
    from iotops.ray_cluster import connect
    from pipelines.ingest import members

    connect(get_settings().ray)
    results.print(f"stopped: {', '.join(members.stop()) or 'none was running'}")


def status(as_json: Json = False) -> None:
    """Show each member's progress, and the lag of each group and partition.

    Example: iotops ingest status --json
    """
    from iotops.ray_cluster import connect
    from pipelines.ingest import members

    connect(get_settings().ray)
    found = members.status()
    running = [
        {
            "name": name,
            "stored": each.stored,
            "commits": each.commits,
            "lag": each.lag,
            "waiting": each.waiting,
        }
        for name, each in found.items()
    ]
    partitions = [
        {
            "group": name.partition("-")[0],
            "topic": partition.topic,
            "partition": partition.number,
            "member": name,
            "lag": lag,
        }
        for name, each in found.items()
        for partition, lag in sorted(each.lags.items())
    ]
    if as_json:
        print_json({"members": running, "partitions": partitions})
        return
    results.print(_table("Members; waiting = read but not yet stored", running))
    results.print(_table("Lag: records not read yet", partitions))


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for column in rows[0] if rows else ():
        table.add_column(column, justify="right" if isinstance(rows[0][column], int) else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else cell(value) for value in row.values()))
    return table


def pdm(
    directory: Annotated[Path, typer.Argument(help="Folder with PdM_telemetry.csv and its companions.")],
    tenant: TenantOption,
    speed: Annotated[
        float | None,
        typer.Option(help="Simulated seconds per second; default: as fast as it goes.", min=0.001),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay the Azure predictive-maintenance layout: machines are devices, errors are events.

    Example: iotops replay pdm ./pdm --tenant acme --speed 3600
    """
    from pipelines.ingest.replay import replay

    columns = (
        TextColumn("replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors) as progress:
        task = progress.add_task("replay", total=None)
        report = asyncio.run(
            replay(
                get_settings(),
                Tenant(tenant),
                directory,
                speed=speed,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        )
    if as_json:
        print_json(asdict(report))
    else:
        results.print(f"accepted {report.readings:,} readings and {report.events:,} events", highlight=False)
    if report.rejected:
        raise IotOpsError(f"{report.rejected} records were rejected: {'; '.join(report.errors[:3])}")
