"""`python -m benchmarks.retrieval_speed.contenders.process NAME FOLDER [RERANKER]`: a contender as a process.

It indexes the passages and vectors of the folder's `chunks.parquet`, then searches the rows of its
`queries.parquet` that each line of stdin names, `[from, to]`; where the folder of a cross-encoder is named it
reranks what it finds. It answers in JSON lines: `ready_s` first, then for each line the `ms` and the `rows`
found of each query.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LIMIT = 20
"""Chunks asked for, so that ten documents are among them, and reranked, as the retriever has it."""
CHUNKS, QUERIES = "chunks.parquet", "queries.parquet"


def main() -> None:
    """Build, say so, and answer until stdin ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    chunks, queries = pq.read_table(folder / CHUNKS), pq.read_table(folder / QUERIES)
    passages, vectors = chunks["passage"].to_pylist(), matrix(chunks)
    texts, asked = queries["text"].to_pylist(), matrix(queries)
    started = time.perf_counter()
    contender = import_module(f"benchmarks.retrieval_speed.contenders.{name}")
    search = contender.build(folder, passages, vectors, *sys.argv[3:])
    print(json.dumps({"ready_s": time.perf_counter() - started}), file=answers, flush=True)
    for line in sys.stdin:
        milliseconds, rows = [], []
        for at in range(*json.loads(line)):
            started = time.perf_counter()
            found = search(texts[at], asked[at], LIMIT)
            milliseconds.append((time.perf_counter() - started) * 1000)
            rows.append([int(row) for row in found])
        print(json.dumps({"ms": milliseconds, "rows": rows}), file=answers, flush=True)


def matrix(table: pa.Table) -> np.ndarray:
    """The vectors (n, d) of a table."""
    column = table["vector"].combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)


if __name__ == "__main__":
    main()
