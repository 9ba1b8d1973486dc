"""Small real shelves for index tests: chunk tables, and a deterministic stand-in for the neural encoder."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from indexes.exchange import pointer, publish
from indexes.schema import CHUNK_SCHEMA, passage
from indexes.snapshot import EmbedderId, Manifest, Snapshot, write_snapshot
from indexes.transfer import aside
from indexes.vector import Vectors

DIMENSION = 64
EMBEDDER = EmbedderId(name="hashed-words", checksum="0" * 64, dimension=DIMENSION)


def hashed(texts: Sequence[str]) -> Vectors:
    """Unit vectors (n, 64) of hashed word counts: texts that share words are close."""
    vectors = np.zeros((len(texts), DIMENSION), np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            vectors[row, int.from_bytes(hashlib.blake2s(word.encode()).digest()[:4]) % DIMENSION] += 1
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(norms, 1e-9)
    return unit


def table(*chunks: dict[str, Any], owner: str = "acme") -> pa.Table:
    """A chunk table; what a chunk does not give gets a plain value."""
    rows = []
    for number, given in enumerate(chunks):
        text = given["text"]
        plain = {
            "chunk_id": f"{owner}-{number}",
            "doc_id": f"doc-{number}",
            "title": "",
            "uri": f"lake://{owner}/documents/doc-{number}.md",
            "section": "",
            "start": 0,
            "end": len(text),
            "doc_type": "manual",
            "models": [],
            "firmware": [],
            "error_codes": [],
            "version": "",
            "updated": None,
            "language": "en",
            "content_hash": hashlib.sha256(text.encode()).hexdigest(),
        }
        rows.append(plain | given)
    return pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA)


def vectors(chunks: pa.Table) -> Vectors:
    columns = (chunks[name].to_pylist() for name in ("title", "section", "text"))
    return hashed([passage(*parts) for parts in zip(*columns, strict=True)])


def written(directory: Path, chunks: pa.Table, created_at: datetime | None = None) -> Manifest:
    return write_snapshot(
        chunks, vectors(chunks), directory, embedder=EMBEDDER, chunker="test-1", created_at=created_at
    )


def loaded(directory: Path, chunks: pa.Table) -> Snapshot:
    written(directory, chunks)
    return Snapshot.load(directory)


def published(lake: FileSystem, prefix: str, folder: Path, text: str, minutes: int = 0) -> Manifest:
    """A snapshot of one chunk, made `minutes` into 2026 in `folder`/build-<minutes>, becomes current."""
    created_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    manifest = written(folder / f"build-{minutes}", table({"text": text}), created_at)
    over = publish(lake, prefix, folder / f"build-{minutes}", pointer(lake, prefix))
    assert over == pointer(lake, prefix)
    return manifest


def damage(file: Path) -> None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def broken_off(folder: Path, hours: float) -> Path:
    """A download beside a folder that was killed so many hours ago."""
    left = aside(folder)
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"0")
    then = time.time() - 3600 * hours
    os.utime(left, (then, then))
    return left
