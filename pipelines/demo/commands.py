"""`iotops demo`."""

from __future__ import annotations

import time

import typer

from iotops.commands.console import results
from pipelines.demo.steps import Steps


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Bring the platform up with a fleet that the project ships, and ask it three questions.

    Example: iotops demo
    """
    started, steps = time.monotonic(), Steps(results)
    with steps.step("Loading the platform's code"):
        from pipelines.demo.run import run
    run(results, steps)
    results.print(f"[green]The demo is up[/] after {time.monotonic() - started:.0f} s; `make down` ends it.")
