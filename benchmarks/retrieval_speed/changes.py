"""How soon a new document is found: by `POST /search`, from when it is stored."""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from subprocess import run as call

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, cells, latencies
from benchmarks.retrieval_speed.served import asked, client
from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.knowledge.store import add_documents, remove_documents

ROUNDS, PATIENCE_S, PAUSE_S = 5, 300.0, 0.2


def run(settings: Settings, tenant: Tenant, figures: Figures, console: Console) -> None:
    """Store a document in both ways in turn, time until it is found, and take them off the shelf again."""
    ways: dict[str, Callable[[Path], None]] = {
        "put into the lake: the watcher sees it": lambda file: _stored(settings, tenant, file),
        "iotops docs add": lambda file: _added(tenant, file),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    names = []
    with tempfile.TemporaryDirectory(prefix="changes-") as folder, console.status("storing documents"):
        for number in range(ROUNDS * len(ways)):
            way = [*ways][number % len(ways)]
            word = f"z{uuid.uuid4().hex[:12]}"
            file = Path(folder) / f"benchmark-{word}.md"
            file.write_text(f"# Note {word}\n\nThe word of this note is {word}.\n")
            names.append(file.name)
            started = time.perf_counter()
            ways[way](file)
            _found(settings, tenant, word)
            spent[way].append((time.perf_counter() - started) * 1000)
            console.log(f"{way}: found after {spent[way][-1] / 1000:.1f} s")
    remove_documents(lake_filesystem(settings.lake), tenant.id, names)
    shown = Table("", "p50", "p95", "p99 ms", title=f"{tenant.id}: until a new document is found")
    for way, each in spent.items():
        figures.add("changes", way, latencies(each))
        shown.add_row(way, *cells(latencies(each), 0))
    console.print(shown)


def _stored(settings: Settings, tenant: Tenant, file: Path) -> None:
    add_documents(lake_filesystem(settings.lake), tenant.id, [file])


def _added(tenant: Tenant, file: Path) -> None:
    command = [str(Path(sys.executable).with_name("iotops")), "docs", "add", str(file), "--tenant", tenant.id]
    call(command, check=True, capture_output=True)


def _found(settings: Settings, tenant: Tenant, word: str) -> None:
    """Wait until the first hit for a word is the document that has it."""
    searcher, deadline = client(settings, tenant), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        hits = asked(searcher, word)[1]["hits"]
        if hits and word in hits[0]["uri"]:
            return
        time.sleep(PAUSE_S)
    raise IotOpsError(
        f"{word} was not found within {PATIENCE_S:g} s: is the watcher running (`iotops status`)?"
    )
