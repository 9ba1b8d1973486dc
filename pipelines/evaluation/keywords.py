"""Short searches made from the words of a chunk, whose document is to be found.

Harder than known items by title or heading, all of which a small shelf finds, so that a change for the worse
shows. A word is drawn by how often the chunk has it and how rare it is on the shelf (Azzopardi, de Rijke,
Balog 2007, "Building Simulated Queries for Known-Item Topics": popular and discriminative terms).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation.held_out import place
from pipelines.evaluation.known_items import MOST_QUESTIONS, Question

WORDS = 3
_AT_ONCE = 1_000
_WORD = re.compile(r"[^\W\d_]{3,}")


def keyword_searches(chunks: pa.Table, limit: int = MOST_QUESTIONS) -> list[Question]:
    """A search for each of at most `limit` chunks of a table, the same ones for the same table.

    A chunk that does not change is searched for again, mostly by the same words. One of which there is a copy
    is left out: a search shows one of the two. The chunks of a document stand together, as in an index.
    """
    sampled = _sampled(chunks, limit)
    wanted = {word for _, _, text in sampled for word in _words(text)}
    documents, frequency = 0, Counter[str]()
    for _, texts in groupby(_texts(chunks), key=itemgetter(0)):
        documents += 1
        frequency.update(wanted.intersection(word for _, text in texts for word in _words(text)))
    rarity = {word: math.log(documents / count) for word, count in frequency.items()}
    drawn = ((_drawn(content_hash, text, rarity), uri) for content_hash, uri, text in sampled)
    return [Question(" ".join(words), {uri: 1}) for words, uri in drawn if len(words) == WORDS]


def _sampled(chunks: pa.Table, limit: int) -> list[tuple[str, str, str]]:
    """Hash, URI and text of the chunks without a copy that have the first hashes."""
    hashes = pc.value_counts(chunks["content_hash"])
    single = hashes.field("values").filter(pc.equal(hashes.field("counts"), 1))
    chosen = chunks.filter(pc.is_in(chunks["content_hash"], value_set=single.sort()[:limit]))
    columns = (chosen[name].to_pylist() for name in ("content_hash", "uri", "text"))
    return sorted(zip(*columns, strict=True))


def _texts(chunks: pa.Table) -> Iterator[tuple[str, str]]:
    """URI and text of each chunk, of which few are in memory as Python has them."""
    for batch in chunks.select(["uri", "text"]).to_batches(max_chunksize=_AT_ONCE):
        yield from zip(batch["uri"].to_pylist(), batch["text"].to_pylist(), strict=True)


def _drawn(seed: str, text: str, rarity: dict[str, float]) -> list[str]:
    """Words drawn without replacement by weight: those of the largest u^(1/weight), u uniform in 0..1.

    Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir". A word of every document weighs
    nothing. u is a hash of the word, so that one word more or less in a text moves no other.
    """
    weights = {word: count * rarity[word] for word, count in Counter(_words(text)).items() if rarity[word]}
    keys = {word: place(f"{seed} {word}") ** (1 / weight) for word, weight in weights.items()}
    return sorted(keys, key=lambda word: (-keys[word], word))[:WORDS]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
