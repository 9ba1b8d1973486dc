"""Documents embedded in a second, beside peers that load the same model, taking turns."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.contender import ContenderError
from benchmarks.figures import Figures
from benchmarks.retrieval_speed.contenders.process import CHUNKS
from benchmarks.retrieval_speed.corpus import Corpus, Model
from benchmarks.retrieval_speed.peers import OURS, REQUIREMENTS, started
from indexes.vector import Vectors
from iotops.settings import Settings
from pipelines.knowledge.chunking import chunk_documents
from pipelines.knowledge.documents import Document

ROUNDS = 5


def run(
    settings: Settings, model: Model, documents: list[Document], figures: Figures, console: Console
) -> None:
    """Embed the same passages by each in turn; print and keep the rates."""
    chunks = chunk_documents(documents, model.about.count_tokens, model.about.max_tokens)
    passages = Corpus(chunks, _NONE).passages
    shown = Table("", "passages/s", "of ours, median of rounds", title=f"{len(passages):,} passages embedded")
    with tempfile.TemporaryDirectory(prefix="embedding-") as home, ExitStack() as running:
        place = Path(home)
        pq.write_table(pa.table({"passage": passages}), place / CHUNKS)
        contenders = []
        for name in (OURS, *REQUIREMENTS):
            with console.status(f"{name}: installing and loading"):
                try:
                    folder = str(model.encoder.model.path)
                    contenders.append(
                        running.enter_context(started(settings, name, place, running, "embedding", folder))
                    )
                except (ContenderError, subprocess.SubprocessError) as error:
                    console.print(f"without {name}: {error}")
                    figures.add("embedding", name, {"missing": str(error)})
        with console.status("embedding in turn"):
            seconds = np.array([[each.asked("go")["s"] for each in contenders] for _ in range(ROUNDS)])
    for contender, spent in zip(contenders, seconds.T, strict=True):
        found = {
            "passages": len(passages),
            "per_s": len(passages) / float(np.median(spent)),
            "of_ours": float(np.median(seconds[:, 0] / spent)),
        }
        figures.add("embedding", contender.name, found)
        name = contender.name.removesuffix("_peer")
        shown.add_row(name, f"{found['per_s']:.1f}", f"{found['of_ours']:.2f}")
    console.print(shown)


_NONE: Vectors = np.empty((0, 0), np.float32)
