"""Which terms each chunk holds, in which fields and how often: enough to score any chunk by BM25F.

Tantivy finds the best chunks fast, but scores with parameters that are built in, and only what it has found.
Here every candidate gets a score, whoever found it, by parameters that are calibrated for each corpus without
building again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from indexes.fusion import Scores

FIELDS = ("title", "section", "body", "codes")
Terms = Sequence[Sequence[str]]
"""A chunk's terms by field, in the order of `FIELDS`."""
_MOST = 255  # repetitions that are told apart
_PLACES = 4096
_CHUNKS_AT_ONCE = 4096
_VOCABULARY = "vocabulary.arrow"
_ARRAYS = ("starts", "terms", "counts", "lengths", "documents")


class Bm25f(BaseModel):
    """How words are weighed."""

    model_config = ConfigDict(frozen=True)

    k1: float = Field(0.9, description="From how many repetitions on one more hardly counts.", ge=0)
    b: float = Field(0.4, description="How far a long field discounts its words, 0 to 1.", ge=0, le=1)
    title: float = Field(2.0, description="Weight of a word in the title, beside 1 in the body.", ge=0)
    section: float = Field(1.5, description="Weight of a word in the section path.", ge=0)
    codes: float = Field(2.0, description="Weight of a code that the chunk carries.", ge=0)

    @property
    def weights(self) -> NDArray[np.float64]:
        """In the order of `FIELDS`."""
        return np.array([self.title, self.section, 1.0, self.codes])


class ForwardIndex:
    """The terms of a chunk table by row, mapped from the folder."""

    def __init__(self, directory: Path) -> None:
        """Open what `build` wrote."""
        loaded = (_mapped(directory / f"{name}.npy") for name in _ARRAYS)
        self._starts, self._terms, self._counts, self._lengths, self._documents = loaded
        with pa.memory_map(str(directory / _VOCABULARY)) as source:
            self._vocabulary = pa.ipc.open_file(source).read_all()["term"].combine_chunks()
        self._places: dict[str, int | None] = {}
        self.total_lengths: NDArray[np.int64] = self._lengths.sum(axis=0, dtype=np.int64)

    @classmethod
    def build(cls, chunks: Iterable[Terms], directory: Path) -> ForwardIndex:
        """Index chunks by their terms into a new folder."""
        ids: defaultdict[str, int] = defaultdict(count().__next__)
        read, lengths = array("I"), array("I")
        for fields in chunks:
            for field in fields:
                read.extend(map(ids.__getitem__, field))
                lengths.append(len(field))
        words = sorted(ids)
        places = np.empty(len(ids), np.uint32)
        places[[ids[word] for word in words]] = np.arange(len(words))
        sizes = np.frombuffer(lengths, np.uint32).reshape(-1, len(FIELDS))
        terms, counts, held = _counted(np.frombuffer(read, np.uint32), places, sizes)
        stored: dict[str, NDArray[Any]] = {
            "starts": np.concatenate([[0], np.cumsum(held, dtype=np.int64)]),
            "terms": terms,
            "counts": counts,
            "lengths": sizes,
            "documents": np.bincount(terms, minlength=len(words)).astype(np.uint32),
        }
        directory.mkdir(parents=True)
        for name, values in stored.items():
            np.save(directory / f"{name}.npy", values)
        table = pa.table({"term": pa.array(words, pa.large_string())})
        with pa.ipc.new_file(directory / _VOCABULARY, table.schema) as sink:
            sink.write_table(table)
        return cls(directory)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def documents(self, terms: Iterable[str]) -> Counter[str]:
        """How many chunks hold each term, in any field; none for those that no chunk holds."""
        found = ((term, self._place(term)) for term in terms)
        return Counter({term: int(self._documents[place]) for term, place in found if place is not None})

    def holding(self, rows: NDArray[np.int64], terms: Sequence[str]) -> NDArray[np.bool_]:
        """Which of some chunks hold which terms, in any field: shape (terms, n)."""
        owners, at = self._entries(rows)
        found = np.zeros((len(terms), len(rows)), np.bool_)
        for number, place in enumerate(map(self._place, terms)):
            if place is not None:
                found[number, owners[self._terms[at] == place]] = True
        return found

    def score(
        self,
        rows: NDArray[np.int64],
        idf: Mapping[str, float],
        mean_lengths: NDArray[np.float64],
        bm25f: Bm25f,
    ) -> Scores:
        """BM25F of chunks (n,) for terms with their inverse document frequencies; NaN where none occurs.

        Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.6:
        a term's counts are divided by each field's length norm, weighted, and added before they saturate.
        Codes have no length norm. `mean_lengths` of the fields are those of all that is searched together.
        """
        scores = np.full(len(rows), np.nan)
        places = {place: idf[term] for term in idf if (place := self._place(term)) is not None}
        if not places or not len(rows):
            return scores
        of_term = np.zeros(len(self._vocabulary), np.float32)
        of_term[list(places)] = list(places.values())
        owners, at = self._entries(rows)
        weights = of_term[self._terms[at]]
        held = np.flatnonzero(weights)
        owners, at, weights = owners[held], at[held], weights[held]
        lengths = self._lengths[rows[owners]] / np.maximum(mean_lengths, 1e-9)
        norms = 1 - bm25f.b + bm25f.b * lengths
        norms[:, FIELDS.index("codes")] = 1
        counts = (self._counts[at] / norms) @ bm25f.weights
        parts = weights * counts * (bm25f.k1 + 1) / (counts + bm25f.k1)
        added = np.bincount(owners, parts, len(rows))
        found = np.bincount(owners, minlength=len(rows)) > 0
        scores[found] = added[found]
        return scores

    def _entries(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All terms of the rows: for each the number of its row among `rows`, and where it stands."""
        starts = self._starts[rows]
        sizes = self._starts[rows + 1] - starts
        owners = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return owners, starts[owners] + within

    def _place(self, term: str) -> int | None:
        """Where a term stands in the vocabulary; remembered, since a search asks several times."""
        if (known := self._places.get(term, -1)) != -1:
            return known
        if len(self._places) >= _PLACES:
            self._places.clear()
        return self._places.setdefault(term, self._found(term))

    def _found(self, term: str) -> int | None:
        place = bisect_left(range(len(self._vocabulary)), term, key=lambda at: self._vocabulary[at].as_py())
        held = place < len(self._vocabulary) and self._vocabulary[place].as_py() == term
        return place if held else None


def _counted(
    read: NDArray[np.uint32], places: NDArray[np.uint32], sizes: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]:
    """Each chunk's terms in the vocabulary's order (n,), their counts by field (n, fields), and how many
    terms each chunk has.

    `read` are the chunks' words as they follow each other, field by field, whose `sizes` are (chunks,
    fields); `places` tells where in the vocabulary each stands.
    """
    terms, counts, held = [np.empty(0, np.uint32)], [np.empty((0, len(FIELDS)), np.uint8)], []
    end = 0
    for first in range(0, len(sizes), _CHUNKS_AT_ONCE):
        some = sizes[first : first + _CHUNKS_AT_ONCE]
        start, end = end, end + int(some.sum(dtype=np.int64))
        of_field = np.repeat(np.arange(some.size), some.ravel())  # the chunk's number and the field's in one
        term = places[read[start:end]].astype(np.int64)
        key = (of_field // len(FIELDS) << 32 | term) * len(FIELDS) + of_field % len(FIELDS)
        found, times = np.unique(key, return_counts=True)
        entry, at = np.unique(found // len(FIELDS), return_inverse=True)
        of_entry = np.zeros((len(entry), len(FIELDS)), np.uint8)
        of_entry[at, found % len(FIELDS)] = np.minimum(times, _MOST)
        terms.append((entry & 0xFFFFFFFF).astype(np.uint32))
        counts.append(of_entry)
        held.append(np.bincount(entry >> 32, minlength=len(some)))
    return np.concatenate(terms), np.concatenate(counts), np.concatenate([np.empty(0, np.int64), *held])


def _mapped(path: Path) -> NDArray[Any]:
    """A mapped array as a plain one: numpy's own class for them takes longer for each slice."""
    mapped: NDArray[Any] = np.load(path, mmap_mode="r")
    return mapped.view(np.ndarray)
