"""The demo's own platform: the fleet that the project ships, served by vLLM."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant


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


@pytest.fixture(scope="session")
def rival(settings: Settings, demo: str) -> Tenant:
    """A second tenant, which has nothing and tries to see what the demo's has."""
    tenant = Tenant("rival")
    create_tenant(settings, tenant)
    return tenant
