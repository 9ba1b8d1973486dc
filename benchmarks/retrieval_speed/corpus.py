"""A corpus of any size: real chunks with their embeddings, and more made by recombining their sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.retrieval.beir import read_corpus
from indexes.encoder import SentenceEncoder
from indexes.schema import CHUNK_SCHEMA, passage
from indexes.vector import Vectors
from iotops.models import resolve_role
from iotops.settings import Settings
from pipelines.knowledge.build import EmbeddingModel
from pipelines.knowledge.chunking import chunk_documents
from pipelines.knowledge.documents import Document, read_document
from pipelines.knowledge.extracted import DocumentRefused
from pipelines.knowledge.shelf import embedding_model

SEED = 0
_OWNER = "bench"
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_KEYWORD = re.compile(r"[^\W_]{5,}")
_KEYWORDS = 5
_NOISE = 0.5  # a made-up chunk's vector is at a cosine of about 0.9 to that of the chunk it was made from
_ROWS = 50_000


@dataclass(frozen=True)
class Corpus:
    """Chunks of `CHUNK_SCHEMA` and their unit vectors, row by row."""

    chunks: pa.Table
    vectors: Vectors

    @property
    def passages(self) -> list[str]:
        """The chunks as the models read them."""
        columns = (self.chunks[name].to_pylist() for name in ("title", "section", "text"))
        return [passage(*parts) for parts in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Model:
    """The product's embedding model, loaded."""

    about: EmbeddingModel
    encoder: SentenceEncoder

    @classmethod
    def load(cls, settings: Settings) -> Model:
        """The model of the role `embedder`."""
        return cls(embedding_model(settings), SentenceEncoder(resolve_role(settings, "embedder")))

    def embedded(self, documents: list[Document]) -> Corpus:
        """The documents' chunks with their embeddings."""
        chunks = chunk_documents(documents, self.about.count_tokens, self.about.max_tokens)
        corpus = Corpus(chunks, np.empty((0, 0), np.float32))
        return Corpus(chunks, self.encoder.encode(corpus.passages))


def read_documents(folders: Iterable[Path]) -> list[Document]:
    """Documents of folders in BEIR's layout, and of folders with Markdown files."""
    found: list[Document] = []
    for folder in folders:
        if (folder / "corpus.jsonl").is_file():
            found += read_corpus(folder, "test").documents
            continue
        for file in sorted(folder.rglob("*.md")):
            relative = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            try:
                found.append(read_document(_OWNER, relative, file.read_bytes(), b""))
            except DocumentRefused:
                continue  # the product would not index it either
    return found


def sample(documents: list[Document], limit: int) -> list[Document]:
    """At most `limit` of the documents, always the same ones."""
    order = np.random.default_rng(SEED).permutation(len(documents))
    return [documents[at] for at in sorted(order[:limit])]


def grown(real: Corpus, size: int) -> Corpus:
    """The real chunks and as many made-up ones as the size asks for; fewer chunks where it is smaller."""
    rng = np.random.default_rng(SEED)
    texts = real.chunks["text"].to_pylist()
    sentences = [sentence for text in texts for sentence in _SENTENCE.split(text)]
    lengths = [len(_SENTENCE.split(text)) for text in texts]
    kept = min(size, len(texts))
    tables, vectors = [real.chunks.slice(0, kept)], np.empty((size, real.vectors.shape[1]), np.float32)
    vectors[:kept] = real.vectors[:kept]
    for start in range(kept, size, _ROWS):
        count = min(_ROWS, size - start)
        origins = rng.integers(len(texts), size=count)
        made = [
            " ".join(sentences[at] for at in rng.integers(len(sentences), size=lengths[origin]))
            for origin in origins
        ]
        names = [f"{_OWNER}-made-{start + number}" for number in range(count)]
        columns = {name: real.chunks[name].take(origins) for name in CHUNK_SCHEMA.names}
        columns |= {name: pa.array(names) for name in ("chunk_id", "doc_id", "uri", "content_hash")}
        columns |= {"text": pa.array(made), "end": pa.array([len(text) for text in made])}
        tables.append(pa.table(columns).cast(CHUNK_SCHEMA))
        noise = rng.standard_normal((count, vectors.shape[1]), np.float32)
        near = real.vectors[origins] + noise * np.float32(_NOISE / vectors.shape[1] ** 0.5)
        vectors[start : start + count] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return Corpus(pa.concat_tables(tables), vectors)


def keywords(texts: list[str], count: int) -> list[str]:
    """Queries: the first few longer words of sentences of the texts."""
    rng = np.random.default_rng(SEED)
    found = []
    for at in rng.permutation(len(texts)):
        sentence = rng.choice(_SENTENCE.split(texts[at]))
        if words := _KEYWORD.findall(sentence)[:_KEYWORDS]:
            found.append(" ".join(words))
        if len(found) == count:
            break
    return found
