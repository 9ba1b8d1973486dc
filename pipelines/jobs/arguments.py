"""What the jobs' command lines have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from iotops.commands.console import quiet
from iotops.errors import IotOpsError
from iotops.ray_cluster import prepare_environment
from iotops.settings import get_settings

Input = Annotated[
    str,
    typer.Option(
        "--input", help="lake://TENANT/AREA/NAME, or an absolute path of the node that runs the job."
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        help="Folder: lake://TENANT/reports/NAME, lake://TENANT/exports/NAME, or an absolute path of the "
        "node that runs the job.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Only validate the arguments and say what would be done.")
]


def main(job: Callable[..., None]) -> None:
    """Run a job's function on the command line; a known failure prints one message and exits 1."""
    try:
        quiet()
        prepare_environment(get_settings().ray)
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(job)
        app()
    except IotOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def say(message: str) -> None:
    """A line of the job's log."""
    print(f"{datetime.now(UTC):%H:%M:%S} {message}", flush=True)
