"""The `iotops` command. Each room adds its own commands through the entry-point group `iotops.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import NoReturn

import typer
from rich.markup import escape

from iotops.commands.console import errors, quiet
from iotops.errors import IotOpsError
from iotops.outages import outage
from iotops.ray_cluster import prepare_environment
from iotops.settings import get_settings

COMMAND_GROUP = "iotops.commands"


def build() -> typer.Typer:
    """The command with every installed room's sub-commands."""
    app = typer.Typer(
        name="iotops",
        help="Telemetry in, health and incidents out, and answers with sources.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for entry in sorted(entry_points(group=COMMAND_GROUP), key=lambda entry: entry.name):
        entry.load()(app)
    return app


def main() -> None:
    """Run the command; a known failure prints one message and exits 1, wrong usage exits 2."""
    try:
        quiet()
        prepare_environment(get_settings().ray)
        build()()
    except IotOpsError as error:
        _fail(str(error))
    except Exception as error:
        told = outage(error, get_settings())
        if told is None:
            raise
        _fail(str(told))


def _fail(why: str) -> NoReturn:
    errors.print(f"[bold red]error:[/] {escape(why)}", highlight=False, soft_wrap=True)
    sys.exit(1)
