"""The knowledge pipeline on a real Ray: what is embedded, reused, skipped and published."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from typer.testing import CliRunner

from indexes.exchange import current, fetch, snapshots
from indexes.snapshot import EmbedderId, Snapshot
from iotops.cli import build
from iotops.errors import SnapshotError, TenantError
from iotops.lake import lake_filesystem, objects, put
from iotops.provisioning import create_tenant
from iotops.ray_cluster import connect
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import INDEXING, alone, taken
from pipelines.knowledge.additions import Sizes
from pipelines.knowledge.build import BuildReport, EmbeddingModel, build_index, calibrate
from pipelines.knowledge.shelf import index_shelf
from pipelines.knowledge.store import add_documents, list_documents, remove_documents
from tests.waiting import eventually

DIMENSION = 32


@pytest.fixture(scope="module", autouse=True)
def cluster(settings: Settings) -> None:
    connect(settings.ray)


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    # Nested, so that Ray ships it by value: its workers cannot import a test module.
    class HashedWords:
        def encode(self, texts: list[str]) -> np.ndarray:
            vectors = np.zeros((len(texts), DIMENSION), np.float32)
            for row, text in enumerate(texts):
                for word in text.split():
                    vectors[row, sum(word.encode()) % DIMENSION] += 1
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    identity = EmbedderId(name="hashed-words", checksum="0", dimension=DIMENSION)
    return EmbeddingModel(identity, HashedWords, lambda texts: [len(text.split()) for text in texts], 128)


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


def test_a_shelf_is_indexed_and_only_what_changed_is_embedded_again(
    lake: FileSystem, tmp_path: Path, model: EmbeddingModel
) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "docs"
    folder.mkdir()
    assert build_index(lake, "acme", model, cache).manifest is None, "an empty shelf has no index"
    for number in range(300):
        (folder / f"{number}.md").write_text(f"# Page {number}\n\nThe valve {number} is in room {number}.")
    add_documents(lake, "acme", [folder])
    first = build_index(lake, "acme", model, cache)
    assert (first.published, first.embedded, first.reused) == (True, 300, 0)
    assert first.manifest is not None
    assert first.manifest.snapshot_id == current(lake, "acme/indexes")
    assert not build_index(lake, "acme", model, cache).published, "nothing changed"

    calibrate(lake, "acme", cache, reranker_weight=0.2)
    (folder / "7.md").write_text("# Page 7\n\nThe valve 7 has moved.")
    add_documents(lake, "acme", [folder])
    second = build_index(lake, "acme", model, cache)
    assert (second.embedded, second.reused) == (1, 299)
    assert second.manifest is not None
    assert second.manifest.reranker_weight == 0.2, "calibration outlives a rebuild"

    snapshot = Snapshot.load(tmp_path / "lake" / "acme" / "indexes" / second.manifest.snapshot_id)
    rows = snapshot.chunks.to_pylist()
    encoder = model.make_encoder()
    expected = encoder.encode([f"{row['title']}\n\n{row['text']}" for row in rows])
    assert np.allclose(snapshot.vectors.reconstruct(np.arange(len(rows))), expected, atol=1e-6)
    assert any("has moved" in row["text"] for row in rows)


def test_a_change_of_a_large_shelf_is_added_and_merged_when_there_are_many(
    lake: FileSystem, tmp_path: Path, model: EmbeddingModel
) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "docs"
    folder.mkdir()

    def build(*changes: int, text: str = "") -> tuple[BuildReport, Snapshot]:
        for number in changes:
            (folder / f"{number}.md").write_text(f"# Page {number}\n\nThe valve {number} {text}.")
        add_documents(lake, "acme", [folder])
        report = build_index(lake, "acme", model, cache, sizes=Sizes(whole_below=10, most_added=5))
        assert report.manifest is not None
        return report, Snapshot.load(fetch(lake, "acme/indexes", report.manifest.snapshot_id, cache))

    _, whole = build(*range(100), text="is shut")
    assert whole.base is None
    report, first = build(7, 100, text="is open")
    assert (report.embedded, first.manifest.rows, first.manifest.chunks) == (2, 2, 101)
    assert first.whole.manifest == whole.manifest
    assert [part.outdated for part in first.parts] == [(), ("lake://acme/documents/7.md",)]
    remove_documents(lake, "acme", ["100.md", "9.md"])
    (folder / "100.md").unlink()
    (folder / "9.md").unlink()
    report, second = build(8, text="is open")
    assert (report.embedded, second.manifest.rows, second.manifest.chunks) == (1, 2, 99)
    assert second.whole.manifest == whole.manifest
    texts = second.searched["text"].to_pylist()
    assert sum("is open" in text for text in texts) == 2
    assert not any("valve 9 " in text or "valve 100 " in text for text in texts)
    calibrate(lake, "acme", cache, reranker_weight=0.3)
    report, third = build(*range(20, 26), text="is open")
    assert (report.embedded, third.base, third.manifest.rows) == (6, None, 99), "merged"
    assert third.manifest.reranker_weight == 0.3
    assert sum("is open" in text for text in third.searched["text"].to_pylist()) == 8
    assert len(snapshots(lake, "acme/indexes")) <= 4


def test_a_build_that_broke_off_goes_on(lake: FileSystem, tmp_path: Path, model: EmbeddingModel) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number}.md").write_text(f"# Page {number}\n\nThe valve {number}.")
    add_documents(lake, "acme", [folder])

    def stop(message: str) -> None:
        if message.startswith("embedded 256"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(lake, "acme", model, tmp_path / "cache", sizes=Sizes(part=100), on_progress=stop)
    report = build_index(lake, "acme", model, tmp_path / "cache")
    assert (report.embedded, report.reused) == (600 - 256, 256)
    assert not build_index(lake, "acme", model, tmp_path / "cache").published
    assert [path for path in objects(lake, "acme/indexes") if "embedding" in path] == []


def test_an_emptied_shelf_stops_answering(lake: FileSystem, tmp_path: Path, model: EmbeddingModel) -> None:
    (tmp_path / "a.md").write_text("# A\n\nsecret")
    add_documents(lake, "acme", [tmp_path / "a.md"])
    build_index(lake, "acme", model, tmp_path / "cache")
    remove_documents(lake, "acme", ["a.md"])
    report = build_index(lake, "acme", model, tmp_path / "cache")
    assert report.published
    assert report.manifest is not None
    assert report.manifest.chunks == 0


def test_a_damaged_index_is_rebuilt(lake: FileSystem, tmp_path: Path, model: EmbeddingModel) -> None:
    (tmp_path / "a.md").write_text("# A\n\ntext")
    add_documents(lake, "acme", [tmp_path / "a.md"])
    report = build_index(lake, "acme", model, tmp_path / "cache")
    assert report.manifest is not None
    (tmp_path / "lake" / "acme" / "indexes" / report.manifest.snapshot_id / "vectors.faiss").unlink()
    again = build_index(lake, "acme", model, tmp_path / "another-cache")
    assert (again.published, again.embedded) == (True, 1)


def test_calibrating_nothing_is_refused(lake: FileSystem, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="build one first"):
        calibrate(lake, "acme", tmp_path, reranker_weight=0.5)


def test_documents_of_no_tenant_are_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    added = CliRunner().invoke(build(), ["docs", "add", str(tmp_path / "a.md"), "--tenant", "mistyped"])
    assert isinstance(added.exception, TenantError)
    assert list_documents(lake_filesystem(settings.lake), "mistyped") == []


def test_a_document_is_listed_as_it_is_named(settings: Settings) -> None:
    create_tenant(settings, Tenant("listed"))
    name = f"[draft]/{'a-long-name-' * 10}[/old].md"
    put(lake_filesystem(settings.lake), f"listed/documents/{name}", b"# A")
    listed, status = (
        CliRunner().invoke(build(), ["docs", word, "--tenant", "listed"]) for word in ("list", "status")
    )
    assert listed.output.splitlines()[-1].endswith(f"  {name}")
    assert name in "".join(re.findall(r"[^\s│]+", status.output))


def test_builds_of_one_shelf_take_turns(settings: Settings) -> None:
    steps: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with alone(settings, INDEXING, "turns", steps.append):
            assert taken(settings, INDEXING, "turns")
            assert not taken(settings, INDEXING, "others")
            waits = pool.submit(index_shelf, settings, "turns", on_progress=steps.append)
            assert eventually(lambda: list(steps)) == ["waiting for another indexing of turns"]
            assert not waits.done()
        assert waits.result(60).manifest is None
    assert not taken(settings, INDEXING, "turns")
    assert steps[-1] == "reading what changed on the shelf"
