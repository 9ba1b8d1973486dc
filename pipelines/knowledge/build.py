"""From a shelf of documents to a published index."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSystem

from indexes import exchange
from indexes.exchange import current, fetch, pointer, prune, prune_cache, publish, rolled_back_at
from indexes.precedents import Precedents
from indexes.schema import shelf_prefix
from indexes.snapshot import (
    DEFAULT_RERANKER_WEIGHT,
    EmbedderId,
    Fusion,
    Manifest,
    Snapshot,
    write_reweighed,
    write_snapshot,
)
from indexes.vector import Vectors
from iotops.errors import SnapshotError
from pipelines.knowledge.additions import Sizes, merge_is_due, planned
from pipelines.knowledge.changes import read_shelf
from pipelines.knowledge.chunking import CHUNKER, TokenCounter, chunk_documents
from pipelines.knowledge.documents import document_uri
from pipelines.knowledge.embedded import EmbeddedParts, KnownVectors
from pipelines.knowledge.embedding import EncoderSource, embed_chunks
from pipelines.knowledge.extraction import EXTRACTOR
from pipelines.knowledge.gathering import in_order
from pipelines.knowledge.store import list_documents, state_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingModel:
    """All that a build needs to know of the embedding model."""

    identity: EmbedderId
    make_encoder: EncoderSource
    """Makes the encoder in each Ray actor; must be picklable."""
    count_tokens: TokenCounter
    max_tokens: int

    @property
    def chunker(self) -> str:
        """How documents become chunks: what changes them all changes this."""
        return f"{EXTRACTOR} {CHUNKER} {self.max_tokens} tokens of {self.identity.name}"


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
    force: bool = False,
    sizes: Sizes = Sizes(),
    on_progress: Callable[[str], None] = lambda message: None,
) -> BuildReport:
    """Index the documents of a tenant, or of `shared`, and make that the current snapshot.

    Nothing is done where neither the documents, the chunker nor the model changed since the current snapshot,
    or where no document changed since a rollback to it, unless `force`; only a merge that broke off is done.
    Chunks whose content did not change keep their vectors; the reranker's and the fusion's weights and the
    precedents, which evaluation chooses, carry over (of another model's precedents the next evaluation makes
    new ones). Two builds of one shelf must not run at once: the later one to publish raises `SnapshotError`.
    """
    prefix = shelf_prefix(owner, "indexes")
    over = pointer(filesystem, prefix)
    before = _current_snapshot(filesystem, prefix, cache / owner)
    same_model = before is not None and before.manifest.embedder == model.identity
    if before is not None and not force and same_model:
        state = rolled_back_at(over)
        if state and state == state_of(list_documents(filesystem, owner)):
            return BuildReport(owner, before.manifest)
    same_way = same_model and before is not None and before.manifest.chunker == model.chunker
    usable = before if same_way and not force else None
    on_progress("reading what changed on the shelf")
    shelf = read_shelf(filesystem, owner, usable and usable.documents)
    report = BuildReport(owner, before.manifest if before else None, refused=shelf.refused)
    files = shelf.table
    source_hash = source_hash_of(files, model)
    if over is None and not shelf.rows:
        return report
    same = usable if usable and usable.manifest.source_hash == source_hash else None
    if same and not merge_is_due(same.manifest, same.base.manifest if same.base else None, sizes):
        return report
    on_progress(f"cutting {len(shelf.documents):,} documents")
    change = planned(usable, [document_uri(owner, path) for path in shelf.unchanged], sizes)
    plan = change.merged(change.kept.num_rows, sizes) if same else change
    fresh = chunk_documents(shelf.documents, model.count_tokens, model.max_tokens, shelf.refuse)
    files, report.refused = shelf.table, shelf.refused
    parts = EmbeddedParts(filesystem, prefix, model.identity, sizes.part)
    vectors = KnownVectors(before, model.identity, parts)
    report.embedded = _embed(vectors.missing(fresh), model, vectors, parts, on_progress)
    way = before.manifest if before else _readable_manifest(filesystem, prefix)
    while plan is not None:
        chunks = in_order(pa.concat_tables([plan.kept, fresh]))
        on_progress(f"indexing {chunks.num_rows:,} chunks")
        report.manifest, over = _published(
            filesystem,
            prefix,
            over,
            chunks,
            vectors.of(chunks),
            embedder=model.identity,
            chunker=model.chunker,
            source_hash=source_hash,
            documents=files,
            reranker_weight=way.reranker_weight if way else DEFAULT_RERANKER_WEIGHT,
            reranker=way.reranker if way else "",
            fusion=way.fusion if way else Fusion(),
            precedents=before.precedents if before and same_model else Precedents(),
            base=plan.base,
            outdated=plan.outdated,
        )
        report.published, report.reused = True, report.manifest.chunks - report.embedded
        plan = plan.merged(chunks.num_rows, sizes)
    parts.clear()
    report.pruned = prune(filesystem, prefix)
    return report


def calibrate(
    filesystem: FileSystem,
    owner: str,
    cache: Path,
    *,
    reranker_weight: float | None = None,
    reranker: str | None = None,
    fusion: Fusion | None = None,
    precedents: Precedents | None = None,
) -> Manifest:
    """Publish the current index again under new weights or precedents, which later builds keep."""
    prefix = shelf_prefix(owner, "indexes")
    over, snapshot_id = pointer(filesystem, prefix), current(filesystem, prefix)
    if snapshot_id is None:
        raise SnapshotError(f"{owner} has no index to calibrate: build one first")
    weights = {"reranker_weight": reranker_weight, "reranker": reranker, "fusion": fusion}
    given = {name: value for name, value in weights.items() if value is not None}
    source = fetch(filesystem, prefix, snapshot_id, cache / owner)
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        directory = Path(folder) / "snapshot"
        manifest = write_reweighed(source, directory, precedents, **given)
        publish(filesystem, prefix, directory, over, rolled_back_at(over))
    prune(filesystem, prefix)
    return manifest


def _published(
    filesystem: FileSystem,
    prefix: str,
    over: bytes | None,
    chunks: pa.Table,
    vectors: Vectors,
    **made: Any,
) -> tuple[Manifest, bytes]:
    """Write a snapshot aside and make it the current one; what it says of itself, and the pointer to it."""
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        directory = Path(folder) / "snapshot"
        manifest = write_snapshot(chunks, vectors, directory, **made)
        return manifest, publish(filesystem, prefix, directory, over)


def _embed(
    chunks: pa.Table,
    model: EmbeddingModel,
    vectors: KnownVectors,
    parts: EmbeddedParts,
    on_progress: Callable[[str], None],
) -> int:
    """Embed chunks, keeping their vectors as they come; how many there were."""
    started, done = time.perf_counter(), 0
    on_progress(f"embedding {chunks.num_rows:,} chunks")
    for batch in embed_chunks(chunks, model.make_encoder):
        parts.keep(batch)
        vectors.add(batch)
        done += batch.num_rows
        rate = done / (time.perf_counter() - started)
        on_progress(f"embedded {done:,} of {chunks.num_rows:,} chunks, {rate:,.0f}/s")
    return done


def source_hash_of(documents: pa.Table, model: EmbeddingModel) -> str:
    """A checksum of the files (`DOCUMENT_SCHEMA`) as far as they were read, and of how they are processed."""
    digest = hashlib.sha256(f"{model.chunker} {model.identity.model_dump_json()}".encode())
    for row in documents.select(["path", "checksum", "tried"]).to_pylist():
        # One that could not be read is another once it can.
        checksum = row["checksum"] if row["tried"] is None else ""
        digest.update(f"\n{row['path']} {checksum}".encode())
    return digest.hexdigest()


def _current_snapshot(filesystem: FileSystem, prefix: str, cache: Path) -> Snapshot | None:
    try:
        snapshot_id = current(filesystem, prefix)
        if snapshot_id is None:
            return None
        snapshot = Snapshot.load(fetch(filesystem, prefix, snapshot_id, cache))
        prune_cache(cache, {snapshot_id})
        return snapshot
    except SnapshotError as error:
        # A rebuild is the remedy for a damaged index, so the damage must not stop it.
        logger.warning("current index under %s is unusable, building from nothing: %s", prefix, error)
        return None


def _readable_manifest(filesystem: FileSystem, prefix: str) -> Manifest | None:
    """What the current snapshot says of itself, though it cannot be opened; None where it does not."""
    try:
        snapshot_id = current(filesystem, prefix)
        return exchange.manifest(filesystem, prefix, snapshot_id) if snapshot_id else None
    except SnapshotError as error:
        logger.warning("the weights under %s are the standard ones again: %s", prefix, error)
        return None
