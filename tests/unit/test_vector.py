from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexes.vector import EXACT_BELOW, GRAPH_UP_TO, Kind, VectorIndex, Vectors, exact_up_to, index_kind

KINDS: list[Kind] = ["flat", "hnsw", "ivfpq"]


def unit(count: int, dimension: int = 32, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    result: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def near(vectors: Vectors, seed: int = 1) -> Vectors:
    noisy: Vectors = vectors + np.float32(0.02) * unit(len(vectors), vectors.shape[1], seed)
    return noisy


def truth(vectors: Vectors, queries: Vectors, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries @ vectors.T), axis=1)[:, :k]


def test_the_kind_grows_with_the_corpus() -> None:
    assert index_kind(EXACT_BELOW - 1) == "flat"
    assert index_kind(EXACT_BELOW) == index_kind(GRAPH_UP_TO) == "hnsw"
    assert index_kind(GRAPH_UP_TO + 1) == "ivfpq"


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_mapped_it_finds_the_true_neighbours(kind: Kind, tmp_path: Path) -> None:
    vectors = unit(4000)
    queries = near(vectors[:50])
    VectorIndex.build(vectors, kind).save(tmp_path / "v.faiss")
    index = VectorIndex.load(tmp_path / "v.faiss", kind)
    for file in tmp_path.iterdir():
        file.unlink()  # what a cache that is pruned does to a replica that still serves
    scores, rows = index.search(queries, 10)
    assert (len(index), index.dimension) == (4000, 32)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (rows[:, 0] == np.arange(50)).all()
    recall = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(rows, truth(vectors, queries, 10), strict=True)]
    )
    assert recall >= {"flat": 1.0, "hnsw": 0.95, "ivfpq": 0.8}[kind]
    assert np.allclose(scores[0], index.scores(queries[0], rows[0]), atol=1e-5)
    rounded = 2.0**-11 if kind == "ivfpq" else 0  # lists keep the originals in half precision
    assert np.allclose(index.reconstruct(rows[0]), vectors[rows[0]], rtol=rounded, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_built_from_batches_it_is_the_same_index(kind: Kind, tmp_path: Path) -> None:
    vectors = unit(4000)
    batches = (vectors[start : start + 900] for start in range(0, 4000, 900))
    index = VectorIndex.build_from(batches, 4000, 32, tmp_path / "v.faiss", kind)
    assert (len(index), index.dimension) == (4000, 32)
    scores, rows = index.search(vectors[:50], 10)
    expected_scores, expected_rows = VectorIndex.build(vectors, kind).search(vectors[:50], 10)
    assert (rows[:, 0] == np.arange(50)).all()
    assert np.mean(rows == expected_rows) > 0.95  # a graph depends on how its batches were cut
    assert np.allclose(scores[:, 0], expected_scores[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_count_is_named(kind: Kind, tmp_path: Path) -> None:
    for count in (3999, 4001):
        with pytest.raises(ValueError, match=f"4000 vectors came, not {count}"):
            VectorIndex.build_from([unit(4000)], count, 32, tmp_path / "v.faiss", kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passing", [3, 2000])
def test_a_filter_is_never_broken_and_never_loses_the_best(kind: Kind, passing: int) -> None:
    vectors = unit(4000)
    allowed = np.zeros(4000, np.bool_)
    allowed[np.random.default_rng(3).permutation(4000)[:passing]] = True
    _, rows = VectorIndex.build(vectors, kind).search(vectors[:5], 10, allowed)
    masked = np.where(allowed, vectors[:5] @ vectors.T, -np.inf)
    assert allowed[rows[rows >= 0]].all()
    assert ((rows >= 0).sum(axis=1) == min(passing, 10)).all()
    assert (rows[:, 0] == masked.argmax(axis=1)).all()


def test_all_that_pass_a_filter_are_compared_up_to_a_share_that_falls_as_the_corpus_grows() -> None:
    counts = [EXACT_BELOW, 10 * EXACT_BELOW, GRAPH_UP_TO]
    shares = [exact_up_to("hnsw", count) / count for count in counts]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.2
    assert shares[-1] > 0.03
    assert exact_up_to("flat", 5000) == 5000


@pytest.mark.parametrize(("kind", "count", "share"), [("hnsw", 4000, 0.02), ("ivfpq", 8000, 0.05)])
def test_what_walks_under_a_filter_walks_further_the_fewer_pass(kind: Kind, count: int, share: float) -> None:
    vectors = unit(count)
    queries = near(vectors[:20])
    allowed = np.random.default_rng(3).random(count) < share
    index = VectorIndex.build(vectors, kind)
    index.exact_up_to = 0
    _, rows = index.search(queries, 50, allowed)
    passing = np.flatnonzero(allowed)
    best = passing[truth(vectors[allowed], queries, 50)]
    recall = np.mean([len(set(a) & set(b)) / 50 for a, b in zip(rows, best, strict=True)])
    assert allowed[rows[rows >= 0]].all()
    assert recall >= 0.95


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    VectorIndex.build(np.empty((0, 32), np.float32)).save(tmp_path / "v.faiss")
    index = VectorIndex.load(tmp_path / "v.faiss", "flat")
    assert (index.search(unit(2), 5)[1] == -1).all()
    assert index.reconstruct(np.arange(0)).shape == (0, 32)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"float32 of shape \(n, d\)"):
        VectorIndex.build(np.zeros((3, 4), np.float64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not fit"):
        VectorIndex.build(unit(3)).search(unit(1, 8), 1)
