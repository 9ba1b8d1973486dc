"""From a shelf of documents to a published index."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from indexes.exchange import current, fetch, prune, prune_cache, publish
from indexes.schema import shelf_prefix
from indexes.snapshot import (
    DEFAULT_RERANKER_WEIGHT,
    EmbedderId,
    Fusion,
    Manifest,
    Snapshot,
    SnapshotError,
    write_snapshot,
)
from pipelines.knowledge.chunking import CHUNKER, TokenCounter, chunk_documents
from pipelines.knowledge.documents import Document
from pipelines.knowledge.embedding import EncoderSource, embed_chunks, vector_table, vectors_of
from pipelines.knowledge.store import read_shelf

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingModel:
    """All that a build needs to know of the embedding model."""

    identity: EmbedderId
    make_encoder: EncoderSource
    """Makes the encoder in each Ray actor; must be picklable."""
    count_tokens: TokenCounter
    max_tokens: int


@dataclass
class BuildReport:
    """What a build did; `manifest` is the current index's, None where the shelf was always empty."""

    owner: str
    manifest: Manifest | None = None
    published: bool = False
    embedded: int = 0
    reused: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)


def build_index(
    filesystem: FileSystem,
    owner: str,
    model: EmbeddingModel,
    cache: Path,
    *,
    actors: int = 1,
    cpus_per_actor: float = 1,
    force: bool = False,
) -> BuildReport:
    """Index the documents of a tenant, or of `shared`, and make that the current snapshot.

    Nothing is done where neither the documents, the chunker nor the model changed since the current snapshot,
    unless `force`. Chunks whose content did not change keep their vectors; the reranker's and the fusion's
    weights, which evaluation calibrates, carry over.
    """
    prefix = shelf_prefix(owner, "indexes")
    documents, refused = read_shelf(filesystem, owner)
    report = BuildReport(owner, refused=refused)
    before = _current_snapshot(filesystem, prefix, cache / owner)
    report.manifest = before.manifest if before else None
    source_hash = _source_hash(documents, model)
    if before is None and not documents:
        return report
    if before is not None and before.manifest.source_hash == source_hash and not force:
        return report
    chunks = chunk_documents(documents, model.count_tokens, model.max_tokens)
    known = _known_vectors(before, model.identity)
    fresh = chunks.filter(pc.invert(pc.is_in(chunks["content_hash"], value_set=known["content_hash"])))
    dimension = model.identity.dimension
    embedded = embed_chunks(
        fresh, model.make_encoder, dimension=dimension, actors=actors, cpus_per_actor=cpus_per_actor
    )
    vectors = vectors_of(chunks, pa.concat_tables([known, embedded]))
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        directory = Path(folder) / "snapshot"
        report.manifest = write_snapshot(
            chunks,
            vectors,
            directory,
            embedder=model.identity,
            chunker=CHUNKER,
            source_hash=source_hash,
            reranker_weight=before.manifest.reranker_weight if before else DEFAULT_RERANKER_WEIGHT,
            fusion=before.manifest.fusion if before else Fusion(),
        )
        publish(filesystem, prefix, directory)
    report.published, report.embedded = True, fresh.num_rows
    report.reused = chunks.num_rows - fresh.num_rows
    report.pruned = prune(filesystem, prefix)
    return report


def calibrate(
    filesystem: FileSystem, owner: str, cache: Path, *, reranker_weight: float, fusion: Fusion | None = None
) -> Manifest:
    """Publish the current index again under new weights, which later builds keep."""
    prefix = shelf_prefix(owner, "indexes")
    snapshot = _current_snapshot(filesystem, prefix, cache / owner)
    if snapshot is None:
        raise SnapshotError(f"{owner} has no index to calibrate: build one first")
    before = snapshot.manifest
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        directory = Path(folder) / "snapshot"
        manifest = write_snapshot(
            snapshot.chunks,
            snapshot.vectors.reconstruct(np.arange(before.chunks)),
            directory,
            embedder=before.embedder,
            chunker=before.chunker,
            source_hash=before.source_hash,
            reranker_weight=reranker_weight,
            fusion=fusion or before.fusion,
        )
        publish(filesystem, prefix, directory)
    prune(filesystem, prefix)
    return manifest


def _source_hash(documents: Sequence[Document], model: EmbeddingModel) -> str:
    digest = hashlib.sha256(f"{CHUNKER} {model.max_tokens} {model.identity.model_dump_json()}".encode())
    for document in documents:
        digest.update(f"\n{document.uri} {document.checksum}".encode())
    return digest.hexdigest()


def _current_snapshot(filesystem: FileSystem, prefix: str, cache: Path) -> Snapshot | None:
    try:
        snapshot_id = current(filesystem, prefix)
        if snapshot_id is None:
            return None
        snapshot = Snapshot.load(fetch(filesystem, prefix, snapshot_id, cache))
        prune_cache(cache)
        return snapshot
    except SnapshotError as error:
        # A rebuild is the remedy for a damaged index, so the damage must not stop it.
        logger.warning("current index under %s is unusable, building from nothing: %s", prefix, error)
        return None


def _known_vectors(before: Snapshot | None, identity: EmbedderId) -> pa.Table:
    if before is None or before.manifest.embedder != identity or before.manifest.chunks == 0:
        return vector_table(pa.array([], pa.string()), np.empty((0, identity.dimension), np.float32))
    vectors = before.vectors.reconstruct(np.arange(before.manifest.chunks))
    return vector_table(before.chunks["content_hash"].combine_chunks(), vectors)
