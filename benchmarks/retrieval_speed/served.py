"""What Serve adds: `POST /search` of the running copilot beside the library over the same snapshots."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, cells, latencies
from benchmarks.retrieval_speed.corpus import Model, keywords
from benchmarks.retrieval_speed.library import TOP_K, search
from indexes.exchange import publish
from indexes.hybrid import HybridIndex
from indexes.live import LiveIndex
from indexes.schema import shelf_prefix
from iotops.auth import issue_token
from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.provisioning import create_tenant, list_tenants
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX, Tenant

ROUNDS = 3


def run(
    settings: Settings, model: Model, tenant: Tenant, queries: int, figures: Figures, console: Console
) -> None:
    """Search both ways in turn; print and keep what was measured, or say why there is nothing to measure."""
    with tempfile.TemporaryDirectory(prefix="served-") as cache:
        indexes = fetched(settings, tenant, Path(cache))
        if not indexes:
            raise IotOpsError(
                f"{tenant.id} has no index: `iotops docs` adds documents, `iotops index` builds"
            )
        chunks = [text for index in indexes for text in index.snapshot.searched["text"].to_pylist()]
        texts = keywords(chunks, queries)
        found = {"chunks": len(chunks), **in_turn(settings, tenant, indexes, model, texts)}
    figures.add("served", tenant.id, found)
    shown = Table("", "p50", "p95", "p99 ms", title=f"{tenant.id}: {len(chunks):,} chunks, one client")
    for name in ("library", "served, no reranking", "served"):
        shown.add_row(name, *cells(found[name]))
    console.print(shown)
    console.print(f"Serve adds {found['serve_adds_p50_ms']:.1f} ms at p50")


def fetched(settings: Settings, tenant: Tenant, cache: Path) -> list[HybridIndex]:
    """What the retriever searches for a tenant: its own index and the shared one, where they are."""
    lake = lake_filesystem(settings.lake)
    snapshots = [LiveIndex(lake, owner, cache).refresh() for owner in (tenant.id, SHARED_PREFIX)]
    return [HybridIndex(snapshot) for snapshot in snapshots if snapshot is not None]


@contextmanager
def shelved(settings: Settings, snapshot: Path) -> Iterator[Tenant]:
    """The benchmarks' own tenant, which stays, with a snapshot as its index as long as that is searched."""
    tenant, lake = Tenant("benchmark"), lake_filesystem(settings.lake)
    if tenant not in list_tenants(settings):
        create_tenant(settings, tenant)
    prefix = shelf_prefix(tenant.id, "indexes")
    try:
        publish(lake, prefix, snapshot, None)
        yield tenant
    finally:
        lake.delete_dir(prefix)
        shutil.rmtree(settings.home / "index-cache" / tenant.id, ignore_errors=True)


def in_turn(
    settings: Settings, tenant: Tenant, indexes: list[HybridIndex], model: Model, texts: list[str]
) -> dict[str, Any]:
    """Latencies of the library, of the whole call, and of the call without the time of its reranker."""
    caller = client(settings, tenant)
    library, served, reranking = [], [], []
    for number in range(ROUNDS + 1):  # the first warms both up
        for text in texts:
            alone = search(indexes, model, text, None).total
            whole, answer = asked(caller, text)
            if number:
                reranked = answer["timings_ms"].get("rerank")
                library.append(alone)
                served.append(whole)
                reranking.append(reranked if isinstance(reranked, float) else 0.0)
    bare = list(np.subtract(served, reranking))
    return {
        "library": latencies(library),
        "served": latencies(served),
        "served, no reranking": latencies(bare),
        "serve_adds_p50_ms": float(np.median(bare) - np.median(library)),
    }


def at_once(settings: Settings, tenant: Tenant, texts: list[str], clients: int) -> dict[str, Any]:
    """Latencies, and searches per second, of so many clients that each ask again once they are answered."""
    caller = client(settings, tenant)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda text: asked(caller, text), texts[: 4 * clients]))
        started = time.perf_counter()
        spent = [whole for whole, _ in pool.map(lambda text: asked(caller, text), texts * ROUNDS)]
        per_s = len(spent) / (time.perf_counter() - started)
    return {**latencies(spent), "per_s": per_s}


def client(settings: Settings, tenant: Tenant) -> httpx.Client:
    """An operator of the tenant's."""
    token = issue_token(settings.auth, tenant, "benchmark", "operator")
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=settings.serve.url, headers=headers, timeout=600)


def asked(caller: httpx.Client, text: str) -> tuple[float, dict[str, Any]]:
    """How long (ms) a search takes, and its answer."""
    started = time.perf_counter()
    response = caller.post("/search", json={"query": text, "top_k": TOP_K})
    whole = (time.perf_counter() - started) * 1000
    if response.status_code != 200:
        raise IotOpsError(f"/search answered {response.status_code}: {response.text[:300]}")
    return whole, response.json()
