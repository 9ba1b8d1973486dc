"""`iotops demo`."""

from __future__ import annotations

import typer

from iotops.commands.console import results


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Bring the platform up with a fleet that the project ships, and ask it three questions.

    Example: iotops demo
    """
    from pipelines.demo.run import run

    run(results)
