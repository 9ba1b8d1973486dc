"""An immutable snapshot of an index: a folder that names itself by the checksum of everything in it.

A snapshot is whole, or it adds to a whole one, its base: it holds what changed since, and names the base's
documents that are out of date. The manifest holds a sha256 per file and the snapshot's id ends in the sha256
of the manifest, so that whoever has the id can tell a whole snapshot from a torn, corrupt or exchanged one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from indexes.filters import Filters
from indexes.forward import Bm25f
from indexes.precedents import Precedents
from indexes.schema import CHUNK_SCHEMA, DOCUMENT_SCHEMA
from indexes.text import TextIndex
from indexes.transfer import checksums, sha256
from indexes.vector import Kind, VectorIndex, Vectors
from iotops.errors import SnapshotError

MANIFEST, CHUNKS, DOCUMENTS = "manifest.json", "chunks.parquet", "documents.parquet"
VECTORS, TEXT, PRECEDENTS = "vectors.faiss", "text", "precedents.parquet"
DEFAULT_RERANKER_WEIGHT = 0.3
"""Where questions do not tell. Of 20 rerankers trained on SciFact it did best on training questions that they
had not seen; weights that half of these questions chose for the other half gained a quarter less."""
SNAPSHOT_ID = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{16}")
# Tantivy's locks belong to whoever has the folder open, not to the snapshot.
_LOCKS = frozenset({".tantivy-meta.lock", ".tantivy-writer.lock"})


class EmbedderId(BaseModel):
    """The model that made the vectors; only queries embedded by the same one can be compared with them."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Name of the model.")
    checksum: str = Field(description="sha256 of the model's weights, or empty where it is not known.")
    dimension: int = Field(description="Length of one vector.", ge=1)


class Fusion(BaseModel):
    """How the two rankings become one."""

    model_config = ConfigDict(frozen=True)

    method: Literal["min_max", "reciprocal_rank"] = Field("min_max", description="Fuse scores or ranks.")
    vector: float = Field(0.5, description="Weight of the vector ranking.", ge=0)
    bm25: float = Field(0.5, description="Weight of the BM25 ranking.", ge=0)
    words: Bm25f = Field(default_factory=Bm25f, description="How the BM25 ranking weighs words.")
    code_lift: float = Field(0.2, description="Weight of exactly matched codes beside the fusion.", ge=0)
    precedent: float = Field(
        0.0, description="Weight of documents that are known to answer a question like the one asked.", ge=0
    )

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.vector + self.bm25 <= 0:
            raise ValueError("the fusion weights of vector and bm25 are both 0")
        return self


class Manifest(BaseModel):
    """What a snapshot holds and how it was made."""

    model_config = ConfigDict(frozen=True)

    snapshot_id: str = Field("", description="Time of making and checksum of this manifest.")
    created_at: datetime = Field(description="When the snapshot was made (UTC).")
    documents: int = Field(description="Documents that have at least one chunk.", ge=0)
    chunks: int = Field(description="Chunks that are searched, those of the base included.", ge=0)
    rows: int = Field(description="Rows of this folder's chunk table, vectors and text index alike.", ge=0)
    base: str = Field("", description="Id of the whole snapshot that this one adds to; empty: it is whole.")
    outdated: list[str] = Field([], description="URIs of documents whose chunks in the base do not count.")
    embedder: EmbedderId
    chunker: str = Field(description="Names and versions of extractor and chunker.")
    source_hash: str = Field("", description="Checksum of the documents and the way they were processed.")
    vector_kind: Kind = Field(description="Type of the FAISS index.")
    reranker_weight: float = Field(
        DEFAULT_RERANKER_WEIGHT, description="Share of the reranker in the final score.", ge=0, le=1
    )
    reranker: str = Field("", description="Id of the reranker tuned on the shelf; empty: the platform's.")
    fusion: Fusion = Field(default_factory=Fusion)
    files: dict[str, str] = Field(description="sha256 of each file by its relative path.")

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name or name == MANIFEST:
                raise ValueError(f"file name {name!r} leads out of the snapshot")
        return files

    def named(self) -> Self:
        """This manifest with the id that its content gives it."""
        return self.model_copy(update={"snapshot_id": _id_of(self.model_dump(mode="json"), self.created_at)})


class Snapshot:
    """A loaded snapshot: chunk table, vector index and text index over the same rows, and any base."""

    def __init__(
        self,
        manifest: Manifest,
        chunks: pa.Table,
        vectors: VectorIndex,
        text: TextIndex,
        documents: pa.Table,
        precedents: Precedents,
        base: Snapshot | None = None,
    ) -> None:
        self.manifest = manifest
        self.chunks = chunks
        self.vectors = vectors
        self.text = text
        self.documents = documents
        """The files that it was made of: `DOCUMENT_SCHEMA`."""
        self.precedents = precedents
        self.base = base
        self.parts = [Part(self)] + ([Part(base, tuple(manifest.outdated))] if base else [])

    @classmethod
    def load(cls, directory: Path, held: Snapshot | None = None) -> Snapshot:
        """Open a verified snapshot folder, whose base lies beside it; only the tables are read into memory.

        The base is taken from `held` where that is it or has it. Raises `SnapshotError` where the parts
        disagree with each other or with the manifest.
        """
        manifest = read_manifest(directory)
        try:
            chunks = pq.read_table(directory / CHUNKS, schema=CHUNK_SCHEMA)
            documents = pq.read_table(directory / DOCUMENTS, schema=DOCUMENT_SCHEMA)
            vectors = VectorIndex.load(directory / VECTORS, manifest.vector_kind)
            text = TextIndex(directory / TEXT)
            known = PRECEDENTS in manifest.files
            precedents = Precedents.load(directory / PRECEDENTS) if known else Precedents()
        except Exception as error:
            raise SnapshotError(f"snapshot {manifest.snapshot_id} cannot be opened: {error}") from error
        counts = (manifest.rows, chunks.num_rows, len(vectors), len(text))
        if len(set(counts)) != 1 or vectors.dimension != manifest.embedder.dimension:
            raise SnapshotError(
                f"snapshot {manifest.snapshot_id} disagrees with itself: manifest, chunks, vectors and text "
                f"count {counts}, vectors are {vectors.dimension} long, not {manifest.embedder.dimension}"
            )
        base = None
        if manifest.base:
            same = held is not None and held.whole.manifest.snapshot_id == manifest.base
            base = held.whole if held and same else cls.load(directory.parent / manifest.base)
            if base.manifest.embedder != manifest.embedder:
                raise SnapshotError(
                    f"snapshot {manifest.snapshot_id} has another embedder than its base {manifest.base}"
                )
        return cls(manifest, chunks, vectors, text, documents, precedents, base)

    @property
    def whole(self) -> Snapshot:
        """The base, or this one where it is whole."""
        return self.base or self

    @property
    def searched(self) -> pa.Table:
        """The chunks that count, those of the base included."""
        return pa.concat_tables(part.chunks for part in self.parts)


class Part:
    """The rows of a snapshot that count beside what was added to it since."""

    def __init__(self, snapshot: Snapshot, outdated: tuple[str, ...] = ()) -> None:
        self.snapshot = snapshot
        self.outdated = outdated
        """URIs of documents that do not count."""
        self.counts: NDArray[np.bool_] | None = None
        """Of each row, whether it counts; None where all do."""
        if outdated:
            gone = pc.is_in(snapshot.chunks["uri"], value_set=pa.array(outdated, pa.string()))
            self.counts = ~np.asarray(gone)
        self.text = snapshot.text.only(self.counts)

    @property
    def chunks(self) -> pa.Table:
        """Those that count."""
        return self.snapshot.chunks if self.counts is None else self.snapshot.chunks.filter(self.counts)

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Of each row, whether it counts and passes the filters; None where all do."""
        masks = [mask for mask in (self.counts, filters.mask(self.snapshot.chunks)) if mask is not None]
        return np.logical_and.reduce(masks) if masks else None


def write_snapshot(
    chunks: pa.Table,
    vectors: Vectors,
    directory: Path,
    *,
    embedder: EmbedderId,
    chunker: str,
    source_hash: str = "",
    documents: pa.Table | None = None,
    reranker_weight: float = DEFAULT_RERANKER_WEIGHT,
    reranker: str = "",
    fusion: Fusion | None = None,
    precedents: Precedents = Precedents(),
    base: Snapshot | None = None,
    outdated: Sequence[str] = (),
    created_at: datetime | None = None,
) -> Manifest:
    """Write chunks (n rows of `CHUNK_SCHEMA`) and their vectors (n, d) as a snapshot into a new folder.

    With a whole snapshot as its base, of which the documents with the `outdated` URIs do not count any more.
    """
    if vectors.shape != (chunks.num_rows, embedder.dimension) or not np.isfinite(vectors).all():
        raise SnapshotError(
            f"{chunks.num_rows} chunks need finite vectors of as many rows, "
            f"{embedder.dimension} long; got {vectors.shape}"
        )
    directory.mkdir(parents=True)
    pq.write_table(chunks.cast(CHUNK_SCHEMA), directory / CHUNKS, compression="zstd")
    files = DOCUMENT_SCHEMA.empty_table() if documents is None else documents.cast(DOCUMENT_SCHEMA)
    pq.write_table(files, directory / DOCUMENTS, compression="zstd")
    index = VectorIndex.build(vectors)
    index.save(directory / VECTORS)
    TextIndex.build(chunks, directory / TEXT)
    if precedents:
        _save_precedents(precedents, directory, embedder)
    ids = [chunks["doc_id"]] + ([Part(base, tuple(outdated)).chunks["doc_id"]] if base else [])
    searched = pa.chunked_array([piece for column in ids for piece in column.chunks], pa.string())
    manifest = Manifest(
        created_at=created_at or datetime.now(UTC),
        documents=pc.count_distinct(searched).as_py(),
        chunks=len(searched),
        rows=chunks.num_rows,
        base=base.manifest.snapshot_id if base else "",
        outdated=sorted(outdated),
        embedder=embedder,
        chunker=chunker,
        source_hash=source_hash,
        vector_kind=index.kind,
        reranker_weight=reranker_weight,
        reranker=reranker,
        fusion=fusion or Fusion(),
        files=checksums(directory, but=_LOCKS),
    ).named()
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def write_reweighed(
    source: Path, directory: Path, precedents: Precedents | None = None, **weights: Any
) -> Manifest:
    """Write the snapshot of a folder again into a new one, with other precedents if any are given and other
    `weights`, by the names of the manifest's fields; all else is copied as it is."""
    before = read_manifest(source)
    replaced = [] if precedents is None else [PRECEDENTS]
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns(MANIFEST, *_LOCKS, *replaced))
    files = {name: checksum for name, checksum in before.files.items() if name not in replaced}
    if precedents:
        _save_precedents(precedents, directory, before.embedder)
        files[PRECEDENTS] = sha256(directory / PRECEDENTS)
    made = {"created_at": datetime.now(UTC), "files": files}
    manifest = Manifest.model_validate(before.model_dump() | weights | made).named()
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _save_precedents(precedents: Precedents, directory: Path, embedder: EmbedderId) -> None:
    if precedents.dimension != embedder.dimension:
        raise SnapshotError(f"precedents are {precedents.dimension} long, not {embedder.dimension}")
    precedents.save(directory / PRECEDENTS)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a snapshot folder, checked against the id that it states."""
    try:
        content = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise SnapshotError(f"no readable {MANIFEST} in {directory.name}: {error}") from error
    return parse_manifest(content, directory.name)


def parse_manifest(content: bytes, name: str) -> Manifest:
    """A manifest of its JSON, checked against the id that it states; `name` says where it is from."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise SnapshotError(f"no readable {MANIFEST} in {name}: {error}") from error
    # Of what was written, not of the model, which may have got fields since.
    if _id_of(json.loads(content), manifest.created_at) != manifest.snapshot_id:
        raise SnapshotError(f"manifest of snapshot {manifest.snapshot_id} was changed after it was made")
    return manifest


def verify(directory: Path, snapshot_id: str) -> Manifest:
    """Check every byte of a snapshot folder against its name; raises `SnapshotError` naming the file."""
    manifest = read_manifest(directory)
    if manifest.snapshot_id != snapshot_id:
        raise SnapshotError(f"snapshot {snapshot_id} is not what its folder holds: {manifest.snapshot_id}")
    for name, expected in manifest.files.items():
        if not (directory / name).is_file():
            raise SnapshotError(f"snapshot {snapshot_id} is torn: {name} is missing")
        if sha256(directory / name) != expected:
            raise SnapshotError(f"snapshot {snapshot_id} is corrupt: {name} does not match its checksum")
    return manifest


def _id_of(fields: dict[str, Any], created_at: datetime) -> str:
    """The id of a manifest with these fields: its time and checksum."""
    canonical = json.dumps({**fields, "snapshot_id": ""}, sort_keys=True)
    stamp = created_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}Z-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"
