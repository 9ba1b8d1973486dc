"""Millions of vectors in the index that their number chooses: building, size, memory, speed and recall."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, cells, latencies, overlap
from benchmarks.retrieval_speed.surface import BATCH, DIMENSION, Surface
from indexes.hybrid import Ranking
from indexes.vector import Kind, Rows, VectorIndex, Vectors, index_kind

QUERIES = 200
CANDIDATES = Ranking().candidates
PASSING = 10  # a filter lets each tenth row pass
_EVERY_S = 0.1


def run(count: int, kind: Kind | None, figures: Figures, console: Console) -> None:
    """Build and serve `count` vectors, each in a process of its own; print and keep what was measured."""
    kind = kind or index_kind(count)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="vectors-") as folder:
        path = Path(folder) / "vectors.faiss"
        with console.status(f"building {count:,} vectors ({kind})"), ProcessPoolExecutor(1, spawn) as process:
            found = {"count": count, "kind": kind, **process.submit(build, count, kind, path).result()}
        figures.add("vectors", str(count), found)
        with console.status("serving, and searching exactly"), ProcessPoolExecutor(1, spawn) as process:
            found |= process.submit(serve, count, kind, path).result()
        figures.add("vectors", str(count), found)
    console.print(table(found))


def table(found: dict[str, Any]) -> Table:
    """What was measured, one line a figure."""
    shown = Table("", "", title=f"{found['count']:,} vectors of {DIMENSION}, {found['kind']}")
    shown.add_row("build", f"{found['build_s']:,.0f} s")
    shown.add_row("on disk", f"{found['disk_bytes'] / 1e9:.2f} GB")
    shown.add_row(
        "peak memory of the build, without mapped files", f"{found['build_peak_bytes'] / 1e9:.2f} GB"
    )
    for name in ("own", "mapped"):
        shown.add_row(f"memory of serving, {name}", f"{found[f'serve_{name}_bytes'] / 1e9:.2f} GB")
    for name, title in (("all", "one query, p50/p95/p99"), ("filtered", "the same, 1 row in 10 passing")):
        shown.add_row(title, " / ".join(cells(found[name])) + " ms")
        recalls = f"{found[name]['recall_10']:.3f}, {found[name]['recall_50']:.3f}"
        shown.add_row("  recall@10 and recall@50 against exact search", recalls)
    return shown


def build(count: int, kind: Kind, path: Path) -> dict[str, float]:
    """Build the index at `path`."""
    started = time.perf_counter()
    with _Peak() as peak:
        VectorIndex.build_from(Surface().batches(count), count, DIMENSION, path, kind)
    spent = time.perf_counter() - started
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    return {"build_s": spent, "disk_bytes": size, "build_peak_bytes": peak.bytes}


def serve(count: int, kind: Kind, path: Path) -> dict[str, Any]:
    """Search the mapped index, one query at a time, and compare with exact search."""
    before = memory()
    index, queries = VectorIndex.load(path, kind), Surface().queries(QUERIES)
    allowed = np.arange(count) % PASSING == 0
    found: dict[str, Any] = {}
    rows: dict[str, list[Rows]] = {}
    for name, passing in (("all", None), ("filtered", allowed)):
        index.search(queries[:20], CANDIDATES, passing)  # the first ones wait for the disk
        spent = []
        rows[name] = []
        for query in queries:
            started = time.perf_counter()
            rows[name].append(index.search(query[np.newaxis], CANDIDATES, passing)[1][0])
            spent.append((time.perf_counter() - started) * 1000)
        found[name] = latencies(spent)
    for name, now, then in zip(("own", "mapped"), memory(), before, strict=True):
        found[f"serve_{name}_bytes"] = now - then
    for name, step in (("all", 1), ("filtered", PASSING)):
        best = exact(count, queries, step)
        for k in (10, CANDIDATES):
            found[name][f"recall_{k}"] = overlap(
                [each[:k].tolist() for each in rows[name]], best[:, :k].tolist()
            )
    return found


def exact(count: int, queries: Vectors, step: int) -> Rows:
    """The best rows (q, CANDIDATES) among each `step`-th, by comparing with all."""
    assert BATCH % step == 0
    scores: NDArray[np.float32] = np.empty((len(queries), 0), np.float32)
    rows: Rows = np.empty((len(queries), 0), np.int64)
    for number, batch in enumerate(Surface().batches(count)):
        fresh = np.arange(0, len(batch), step) + number * BATCH
        scores = np.hstack([scores, queries @ batch[::step].T])
        rows = np.hstack([rows, np.broadcast_to(fresh, (len(queries), len(fresh)))])
        best = np.argsort(-scores, axis=1)[:, :CANDIDATES]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    return rows


def memory() -> tuple[int, int]:
    """Bytes of this process that are its own, and that are files mapped into it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    own, mapped = (int(values[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


class _Peak(threading.Thread):
    """Samples how much memory of its own this process has at most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._done.wait(_EVERY_S):
            self.bytes = max(self.bytes, memory()[0])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._done.set()
        self.join()
