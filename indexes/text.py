"""Words and codes with Tantivy: the best chunks over title, section and body, and an exact match for codes.

Queries are built from analysed terms and never parsed, so that no text that a user types can be malformed.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tantivy
from numpy.typing import NDArray
from tantivy import FieldType, Occur, Query

from indexes.codes import codes_asked, codes_in, keys, numbers_in
from indexes.filters import EPOCH, Filters
from indexes.forward import FIELDS, Bm25f, ForwardIndex, Terms
from indexes.schema import rows_of

BOOSTS = {"title": 2.0, "section": 1.5, "body": 1.0, "codes": 2.0}
EXACT_FIELDS = ("declared", "models", "firmware", "error_codes", "doc_type")
_UPDATED, _URI = "updated", "uri"
_MAXIMUM_TERMS = 64
_MOST_ROWS = 2_000
_WIDER = 4
_FORWARD = "forward"
_CODE = "\x1f"  # before a code among the forward index's terms: no word begins so
_DECLARED_SHARE = 0.5
_DECLARING = ["models", "firmware", "error_codes", "version"]
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
    """By field and term; the field "any" counts chunks that hold it anywhere."""
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(FIELDS), np.int64))
    """Terms of all chunks together, by field."""

    def __add__(self, other: TermStatistics) -> TermStatistics:
        return TermStatistics(
            self.chunks + other.chunks, self.frequencies + other.frequencies, self.lengths + other.lengths
        )

    @classmethod
    def total(cls, parts: Iterable[TermStatistics]) -> TermStatistics:
        """The statistics of several indexes taken as one."""
        return sum(parts, cls(0, Counter()))

    @property
    def mean_lengths(self) -> NDArray[np.float64]:
        """Terms of a chunk, by field."""
        return self.lengths / max(self.chunks, 1)

    def idf(self, term: tuple[str, str]) -> float:
        """Inverse document frequency as BM25 has it (Robertson, Zaragoza 2009, with Lucene's 1 +)."""
        frequency = self.frequencies[term]
        return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))

    def asked(self, query: str) -> dict[str, float]:
        """The codes that a query names and some chunk, but not every one, carries, with each one's share."""
        carried = (code for code in codes_asked(query) if any(self._both(code)))
        rarities = {code: rarity for code in carried if (rarity := self.rarity(code)) > 0}
        return {code: rarity / len(rarities) for code, rarity in rarities.items()}

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
        self._forward = ForwardIndex(directory / _FORWARD)
        self._counts: NDArray[np.bool_] | None = None

    def only(self, counts: NDArray[np.bool_] | None) -> TextIndex:
        """The same index, which finds only the rows that count (n,); None: all do."""
        other = copy.copy(self)
        other._counts = counts
        return other

    @classmethod
    def build(cls, chunks: pa.Table, directory: Path) -> TextIndex:
        """Index the rows of a table of `CHUNK_SCHEMA` into an empty folder."""
        directory.mkdir(parents=True)
        index = tantivy.Index(_schema(), str(directory))
        index.register_tokenizer("english", _english())
        writer = index.writer(_WRITER_HEAP_BYTES, 1)
        ForwardIndex.build(_added(chunks, writer), directory / _FORWARD)
        writer.commit()
        writer.wait_merging_threads()
        return cls(directory)

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def statistics(self, query: str) -> TermStatistics:
        """Frequencies of the query's terms here; add those of other indexes to make scores comparable."""
        codes = self._carried(query)
        terms = [*self._words_in_fields(query), *product(("codes", "declared"), codes)]
        found = {term: self._searcher.doc_freq(*term) for term in terms}
        bag = self._words(query) + [_CODE + code for code in codes]
        found |= {("any", term): count for term, count in self._forward.documents(bag).items()}
        counted = Counter({term: count for term, count in found.items() if count})
        return TermStatistics(len(self), counted, self._forward.total_lengths)

    def search(
        self,
        query: str,
        k: int,
        filters: Filters | None = None,
        local: TermStatistics | None = None,
        shared: TermStatistics | None = None,
    ) -> Ranked:
        """BM25 scores and rows of the k best chunks, best first; both empty where nothing matches.

        `local` is this index's `statistics` of the query, where the caller has it; `shared` weighs the terms
        instead: the sum over all indexes searched together.
        """
        local = local or self.statistics(query)
        return self._top(self._bm25(query, local, shared or local), k, filters)

    def score(self, query: str, rows: Rows, statistics: TermStatistics, bm25f: Bm25f) -> NDArray[np.float64]:
        """BM25F of chunks, whoever found them: shape (n,), NaN where none of the query's terms occurs."""
        bag = self._words(query) + [_CODE + code for code in codes_asked(query)]
        idf = {term: statistics.idf(("any", term)) for term in bag if statistics.frequencies["any", term]}
        return self._forward.score(rows, idf, statistics.mean_lengths, bm25f)

    def exact(
        self,
        query: str,
        k: int,
        filters: Filters | None = None,
        local: TermStatistics | None = None,
        shared: TermStatistics | None = None,
    ) -> Ranked:
        """Chunks that carry codes which the query names, those of the greatest share of them first: shares as
        in `shares`, and rows. BM25 orders the equals. `local` and `shared` as in `search`.
        """
        if not codes_asked(query):
            return _nothing()
        local = local or self.statistics(query)
        shared = shared or local
        parts: list[tuple[Occur, Query]] = []
        for code, share in shared.asked(query).items():
            whole = Query.const_score_query(self._term(("codes", code)), share)
            half = Query.const_score_query(self._term(("declared", code)), share * _DECLARED_SHARE)
            parts.append((Occur.Should, Query.disjunction_max_query([whole, half])))
        if not parts:
            return _nothing()
        order = Query.boost_query(self._bm25(query, local, shared), _TIE_BREAK)
        matched = Query.boolean_query([(Occur.Must, Query.boolean_query(parts)), (Occur.Should, order)])
        return self._top(matched, k, filters)

    def shares(
        self, query: str, rows: Rows, chunks: pa.Table, statistics: TermStatistics
    ) -> NDArray[np.float64]:
        """Share of the codes that the query names which chunks carry, whoever found them: shape (n,), 0 to 1.

        A code in the chunk counts whole, one that only its document declares counts half; each is weighted
        by its rarity, so that a code on every page lifts none. `chunks` is the table that the index is of.
        """
        asked, shares = statistics.asked(query), np.zeros(len(rows))
        if asked:
            held = self._forward.holding(rows, [_CODE + code for code in asked])
            declared = [_declared(chunk) for chunk in rows_of(chunks.select(_DECLARING), rows).to_pylist()]
            for (code, share), carries in zip(asked.items(), held, strict=True):
                half = [_DECLARED_SHARE * (code in each) for each in declared]
                shares += share * np.where(carries, 1, half)
        return shares

    def rows_of_document(self, uri: str, filters: Filters | None = None) -> Rows:
        """The rows of a document's chunks, in any order; of a very long one the first."""
        wanted = Query.term_query(self._schema, _URI, uri, "basic")
        return self._top(Query.const_score_query(wanted, 0.0), _MOST_ROWS, filters)[1]

    def _words(self, query: str) -> list[str]:
        return list(dict.fromkeys(self._analyzer.analyze(query)))[:_MAXIMUM_TERMS]

    def _words_in_fields(self, query: str) -> list[tuple[str, str]]:
        return [(name, word) for word in self._words(query) for name in ("title", "section", "body")]

    def _carried(self, query: str) -> list[str]:
        """The codes asked for that some chunk here has, of very many the first: most words are none."""
        fields = ("codes", "declared")
        asked = (code for code in codes_asked(query) if any(self._searcher.doc_freq(f, code) for f in fields))
        return list(islice(asked, _MAXIMUM_TERMS))

    def _term(self, term: tuple[str, str]) -> Query:
        name, value = term
        return Query.term_query(self._schema, name, value, "freq" if name in BOOSTS else "basic")

    def _bm25(self, query: str, local: TermStatistics, shared: TermStatistics) -> Query:
        parts = []
        for term in [*self._words_in_fields(query), *(("codes", code) for code in codes_asked(query))]:
            if term in local.frequencies:
                boost = BOOSTS[term[0]] * shared.idf(term) / local.idf(term)
                parts.append((Occur.Should, Query.boost_query(self._term(term), boost)))
        return Query.boolean_query(parts) if parts else Query.empty_query()

    def _top(self, query: Query, k: int, filters: Filters | None) -> Ranked:
        if len(self) == 0 or k < 1:
            return _nothing()
        filters = filters or Filters()
        passing = [
            Query.term_set_query(self._schema, name, sorted(keys)) for name, keys in filters.wanted().items()
        ]
        if filters.days is not None:
            passing.append(Query.range_query(self._schema, _UPDATED, FieldType.Integer, *filters.days))
        parts = [(Occur.Must, query), *((Occur.Must, Query.const_score_query(each, 0.0)) for each in passing)]
        if len(parts) > 1:
            query = Query.boolean_query(parts)
        # To name thousands of outdated documents in the query takes longer than to pass over some hits.
        most = k
        while True:
            hits = self._searcher.search(query, most, count=False).hits
            rows = self._searcher.fast_field_values("row", [address for _, address in hits])
            ranked = np.array([score for score, _ in hits], np.float32), np.array(rows, np.int64)
            if self._counts is None:
                return ranked
            counting = np.flatnonzero(self._counts[ranked[1]])[:k]
            if len(counting) == k or len(hits) < most:
                return ranked[0][counting], ranked[1][counting]
            most *= _WIDER


def _nothing() -> Ranked:
    return np.empty(0, np.float32), np.empty(0, np.int64)


def _added(chunks: pa.Table, writer: Any) -> Iterator[Terms]:
    """Add the chunks to Tantivy; the terms of each, as the forward index takes them."""
    analyzer, row = _english(), 0
    for batch in chunks.to_batches(max_chunksize=4096):
        for chunk in batch.to_pylist():
            read = "\n".join((chunk["title"], chunk["section"], chunk["text"]))
            codes = sorted(codes_in(read) | numbers_in(read, chunk["error_codes"]))
            writer.add_document(_document(chunk, codes, row))
            words = [analyzer.analyze(chunk[column]) for column in ("title", "section", "text")]
            yield [*words, [_CODE + code for code in codes]]
            row += 1


def _document(chunk: dict[str, Any], codes: list[str], row: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_unsigned("row", row)
    document.add_text(_URI, chunk["uri"])
    if chunk["updated"] is not None:
        document.add_integer(_UPDATED, (chunk["updated"].date() - EPOCH).days)
    for name, column in (("title", "title"), ("section", "section"), ("body", "text")):
        document.add_text(name, chunk[column])
    values = {
        "codes": codes,
        "declared": sorted(_declared(chunk)),
        "models": sorted(keys(chunk["models"])),
        "firmware": sorted(keys(chunk["firmware"])),
        "error_codes": sorted(keys(chunk["error_codes"])),
        "doc_type": sorted(keys([chunk["doc_type"]])),
    }
    for name, found in values.items():
        for code in found:
            document.add_text(name, code)
    return document


def _declared(chunk: dict[str, Any]) -> set[str]:
    """Keys of what a chunk's document declares; of digits alone only error codes: `version: 3` is no code."""
    others = keys([*chunk["models"], *chunk["firmware"], chunk["version"]])
    return keys(chunk["error_codes"]) | {key for key in others if not key.isdecimal()}


def _english() -> tantivy.TextAnalyzer:
    filters = tantivy.Filter
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(filters.remove_long(60))
    chain = chain.filter(filters.lowercase()).filter(filters.ascii_fold())
    return chain.filter(filters.stopword("english")).filter(filters.stemmer("english")).build()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder().add_unsigned_field("row", fast=True)
    for name in ("title", "section", "body"):
        builder = builder.add_text_field(name, tokenizer_name="english", index_option="freq")
    builder = builder.add_text_field("codes", tokenizer_name="raw", index_option="freq")
    for name in (*EXACT_FIELDS, _URI):
        builder = builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    return builder.add_integer_field(_UPDATED, indexed=True, fast=True).build()
