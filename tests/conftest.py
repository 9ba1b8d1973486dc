"""What every test may rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as properties

from iotops.ray_cluster import LOCAL_NODE
from iotops.settings import Settings

# A busy machine may take its time for an example, which says nothing of what is tested.
properties.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
properties.load_profile("unhurried")
# Before any test module imports Ray, which reads them then.
os.environ.update(LOCAL_NODE, RAY_USAGE_STATS_ENABLED="0")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The whole embedded stack, once for all tests that need services."""
    from tests.embedded import embedded_stack

    with embedded_stack(tmp_path_factory.mktemp("home")) as settings:
        yield settings


@pytest.fixture(scope="session")
def pdm() -> Path:
    """The Azure predictive-maintenance sample; tests that need it skip where it is not given."""
    data = os.environ.get("IOTOPS_TEST_DATA")
    if not data or not (Path(data) / "pdm" / "PdM_telemetry.csv").is_file():
        pytest.skip("IOTOPS_TEST_DATA names no folder with pdm/PdM_telemetry.csv")
    return Path(data) / "pdm"
