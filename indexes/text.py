"""Words and codes with Tantivy: BM25 over title, section and body, and an exact match for codes.

Queries are built from analysed terms and never parsed, so that no text that a user types can be malformed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tantivy
from numpy.typing import NDArray
from tantivy import Occur, Query

from indexes.codes import codes_asked, codes_in, keys
from indexes.filters import Filters

BOOSTS = {"title": 2.0, "section": 1.5, "body": 1.0, "codes": 2.0}
EXACT_FIELDS = ("declared", "models", "error_codes", "doc_type")
_MAXIMUM_TERMS = 64
_DECLARED_SHARE = 0.5
_TIE_BREAK = 1e-4
_WRITER_HEAP_BYTES = 64_000_000

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
Ranked = tuple[Scores, Rows]


@dataclass(frozen=True)
class TermStatistics:
    """How many chunks there are and how many hold each term; adds up over indexes searched together."""

    chunks: int
    frequencies: Counter[tuple[str, str]]

    def __add__(self, other: TermStatistics) -> TermStatistics:
        return TermStatistics(self.chunks + other.chunks, self.frequencies + other.frequencies)

    @classmethod
    def total(cls, parts: Iterable[TermStatistics]) -> TermStatistics:
        """The statistics of several indexes taken as one."""
        return sum(parts, cls(0, Counter()))

    def idf(self, term: tuple[str, str]) -> float:
        """Inverse document frequency as BM25 has it (Robertson, Zaragoza 2009, with Lucene's 1 +)."""
        frequency = self.frequencies[term]
        return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))

    def carries(self, code: str) -> bool:
        """Whether some chunk, but not every one, carries the code."""
        return self.rarity(code) > 0 and max(self._both(code)) > 0

    def rarity(self, code: str) -> float:
        """0 for a code that every chunk carries, near 1 for one that a single chunk of many carries."""
        return max(0.0, 1 - math.log1p(max(self._both(code))) / math.log1p(max(self.chunks, 1)))

    def _both(self, code: str) -> tuple[int, int]:
        return self.frequencies["codes", code], self.frequencies["declared", code]


class TextIndex:
    """The words of a chunk table by row; reads are mapped from the folder."""

    def __init__(self, directory: Path) -> None:
        """Open an index that `build` wrote."""
        self._index = tantivy.Index.open(str(directory))
        self._schema = self._index.schema
        self._searcher = self._index.searcher()
        self._analyzer = _english()

    @classmethod
    def build(cls, chunks: pa.Table, directory: Path) -> TextIndex:
        """Index the rows of a table of `CHUNK_SCHEMA` into an empty folder."""
        directory.mkdir(parents=True)
        index = tantivy.Index(_schema(), str(directory))
        index.register_tokenizer("english", _english())
        writer = index.writer(_WRITER_HEAP_BYTES, 1)
        row = 0
        for batch in chunks.to_batches(max_chunksize=4096):
            for chunk in batch.to_pylist():
                writer.add_document(_document(chunk, row))
                row += 1
        writer.commit()
        writer.wait_merging_threads()
        return cls(directory)

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def statistics(self, query: str) -> TermStatistics:
        """Frequencies of the query's terms here; add those of other indexes to make scores comparable."""
        terms = [*self._terms(query), *(("declared", code) for code in codes_asked(query)[:_MAXIMUM_TERMS])]
        found = {term: self._searcher.doc_freq(*term) for term in terms}
        return TermStatistics(len(self), Counter({term: count for term, count in found.items() if count}))

    def search(
        self, query: str, k: int, filters: Filters | None = None, statistics: TermStatistics | None = None
    ) -> Ranked:
        """BM25 scores and rows of the k best chunks, best first; both empty where nothing matches.

        `statistics` replaces this index's own term frequencies by those of all indexes searched together.
        """
        local = self.statistics(query)
        return self._top(self._bm25(query, local, statistics or local), k, filters)

    def exact(
        self, query: str, k: int, filters: Filters | None = None, statistics: TermStatistics | None = None
    ) -> Ranked:
        """Chunks that carry codes which the query names: share of the codes matched, 0 to 1, and rows.

        A code in the chunk counts whole, one that only its document declares counts half; each is weighted
        by its rarity, so that a code on every page lifts none. BM25 orders the equals.
        """
        local = self.statistics(query)
        shared = statistics or local
        asked = [code for code in codes_asked(query) if shared.carries(code)]
        parts: list[tuple[Occur, Query]] = []
        for code in asked:
            share = shared.rarity(code) / len(asked)
            whole = Query.const_score_query(self._term(("codes", code)), share)
            half = Query.const_score_query(self._term(("declared", code)), share * _DECLARED_SHARE)
            parts.append((Occur.Should, Query.disjunction_max_query([whole, half])))
        if not parts:
            return _nothing()
        order = Query.boost_query(self._bm25(query, local, shared), _TIE_BREAK)
        matched = Query.boolean_query([(Occur.Must, Query.boolean_query(parts)), (Occur.Should, order)])
        return self._top(matched, k, filters)

    def _terms(self, query: str) -> list[tuple[str, str]]:
        words = list(dict.fromkeys(self._analyzer.analyze(query)))[:_MAXIMUM_TERMS]
        codes = codes_asked(query)[:_MAXIMUM_TERMS]
        return [(field, word) for word in words for field in ("title", "section", "body")] + [
            ("codes", code) for code in codes
        ]

    def _term(self, term: tuple[str, str]) -> Query:
        field, value = term
        return Query.term_query(self._schema, field, value, "freq" if field in BOOSTS else "basic")

    def _bm25(self, query: str, local: TermStatistics, shared: TermStatistics) -> Query:
        parts = []
        for term in self._terms(query):
            if term in local.frequencies:
                boost = BOOSTS[term[0]] * shared.idf(term) / local.idf(term)
                parts.append((Occur.Should, Query.boost_query(self._term(term), boost)))
        return Query.boolean_query(parts) if parts else Query.empty_query()

    def _top(self, query: Query, k: int, filters: Filters | None) -> Ranked:
        if len(self) == 0 or k < 1:
            return _nothing()
        for name, wanted in (filters or Filters()).wanted().items():
            passes = Query.term_set_query(self._schema, name, sorted(wanted))
            passes = Query.const_score_query(passes, 0.0)
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, passes)])
        hits = self._searcher.search(query, k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return np.array([score for score, _ in hits], np.float32), np.array(rows, np.int64)


def _nothing() -> Ranked:
    return np.empty(0, np.float32), np.empty(0, np.int64)


def _document(chunk: dict[str, Any], row: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_unsigned("row", row)
    for field, column in (("title", "title"), ("section", "section"), ("body", "text")):
        document.add_text(field, chunk[column])
    values = {
        "codes": codes_in("\n".join((chunk["title"], chunk["section"], chunk["text"]))),
        "declared": keys([*chunk["models"], *chunk["error_codes"], chunk["version"]]),
        "models": keys(chunk["models"]),
        "error_codes": keys(chunk["error_codes"]),
        "doc_type": keys([chunk["doc_type"]]),
    }
    for field, codes in values.items():
        for code in sorted(codes):
            document.add_text(field, code)
    return document


def _english() -> tantivy.TextAnalyzer:
    filters = tantivy.Filter
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(filters.remove_long(60))
    chain = chain.filter(filters.lowercase()).filter(filters.ascii_fold())
    return chain.filter(filters.stopword("english")).filter(filters.stemmer("english")).build()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder().add_unsigned_field("row", fast=True)
    for field in ("title", "section", "body"):
        builder = builder.add_text_field(field, tokenizer_name="english", index_option="freq")
    builder = builder.add_text_field("codes", tokenizer_name="raw", index_option="freq")
    for field in EXACT_FIELDS:
        builder = builder.add_text_field(field, tokenizer_name="raw", index_option="basic")
    return builder.build()
