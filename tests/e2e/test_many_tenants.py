"""More tenants than a replica of the retriever keeps: the coldest is forgotten, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from ray import serve

from indexes.schema import shelf_prefix
from iotops.lake import lake_filesystem
from iotops.ray_cluster import connect
from iotops.serving import COPILOT
from iotops.settings import Settings
from ray_apps.retriever import TENANTS_PER_REPLICA
from tests.unit.shelves import published
from tests.waiting import eventually

FORGOTTEN = "ray_serve_multiplexed_models_unload_counter"


def test_the_coldest_tenant_of_too_many_is_forgotten_and_found_again(
    settings: Settings, demo: str, tmp_path: Path
) -> None:
    lake = lake_filesystem(settings.lake)
    crowd = {f"crowd_{n}": f"The flange of press PX-{n} leaks." for n in range(TENANTS_PER_REPLICA + 1)}
    for tenant, text in crowd.items():
        published(lake, shelf_prefix(tenant, "indexes"), tmp_path / tenant, text)
    connect(settings.ray)
    retriever = serve.get_deployment_handle("Retriever", COPILOT)

    def best(tenant: str) -> Any:
        asked = retriever.options(multiplexed_model_id=tenant).search.remote(tenant, crowd[tenant], 1)
        return asked.result(timeout_s=60)["hits"][0]["text"]

    def forgotten() -> bool:
        text = httpx.get(f"http://127.0.0.1:{settings.stack.ray_metrics_port}/metrics").text
        counts = [line for line in text.splitlines() if line.startswith(FORGOTTEN) and "Retriever" in line]
        return any(float(line.split()[-1]) >= 1 for line in counts)

    for tenant in [*crowd, next(iter(crowd))]:
        assert best(tenant) == crowd[tenant]
    eventually(forgotten)
