"""The demo's own platform: the fleet that the project ships, served by vLLM."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iotops.settings import Settings


@pytest.fixture(scope="session")
def demo(settings: Settings) -> str:
    """What `iotops demo` printed; afterwards everything that it started runs."""
    from pipelines.demo.run import run
    from pipelines.demo.steps import Steps

    console = Console(file=io.StringIO(), width=200)
    run(console, Steps(console))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()
