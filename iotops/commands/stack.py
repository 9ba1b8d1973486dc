"""`iotops up`, `down` and `status`."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from iotops.commands.console import errors, print_json, results
from iotops.commands.tenant import Json
from iotops.settings import get_settings

if TYPE_CHECKING:
    from iotops.stack.embedded import ServerStatus

STATE_COLOUR = {"up": "green", "failing": "red", "down": "dim"}
_AROUND_HOST = re.compile(r"^\w+://|/.*")
"""Of an address; the table has no room for it, `--json` has it whole."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(as_json: Json = False) -> None:
    """Start the embedded stack; what runs already is kept.

    Example: iotops up
    """
    from iotops.stack import embedded

    started = time.monotonic()
    with errors.status("starting") as shown:
        settings = embedded.up(get_settings(), on_progress=shown.update)
    if not as_json:
        print(f"up in {time.monotonic() - started:.1f} s; data, logs and secrets in {settings.home}")
    _print(embedded.status(settings), as_json)


def down() -> None:
    """Stop the embedded stack and everything that runs on it; data stays.

    Example: iotops down
    """
    from iotops.stack import embedded

    with errors.status("stopping") as shown:
        embedded.down(get_settings(), on_progress=shown.update)
    results.print("down; data stays in the home folder")


def status(as_json: Json = False) -> None:
    """Show each server; exits 1 unless all are up.

    Example: iotops status --json
    """
    from iotops.stack import embedded

    servers = embedded.status(get_settings())
    _print(servers, as_json)
    if any(server.state != "up" for server in servers):
        raise typer.Exit(1)


def _print(servers: list[ServerStatus], as_json: bool) -> None:
    if as_json:
        print_json([asdict(server) for server in servers])
        return
    names = ("server", "state", "pid", "memory", "up for", "data", "listens on")
    table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for server in servers:
        table.add_row(
            server.name,
            f"[{STATE_COLOUR[server.state]}]{server.state}[/]",
            str(server.pid or ""),
            f"{server.memory_bytes / 2**20:,.0f} MiB" if server.pid else "",
            str(timedelta(seconds=round(server.uptime_s))) if server.uptime_s is not None else "",
            f"{server.data_bytes / 2**20:,.1f} MiB",
            _AROUND_HOST.sub("", server.address),
        )
    results.print(table)
