from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from pydantic import ValidationError

from indexes.exchange import (
    current,
    damages,
    fetch,
    manifests,
    pointer,
    prune,
    prune_cache,
    publish,
    rollback,
    rolled_back_at,
    snapshots,
)
from indexes.live import LiveIndex
from indexes.precedents import Precedents
from indexes.snapshot import (
    MANIFEST,
    Fusion,
    Manifest,
    Snapshot,
    _id_of,
    read_manifest,
    verify,
    write_reweighed,
    write_snapshot,
)
from iotops.errors import SnapshotError
from tests.unit.shelves import (
    DIMENSION,
    EMBEDDER,
    damage,
    hashed,
    loaded,
    published,
    table,
    vectors,
    written,
)

CHUNKS = table({"text": "E421 means too hot", "doc_id": "a"}, {"text": "stop the pump", "doc_id": "a"})
PREFIX = "acme/indexes"


@pytest.fixture
def lake(tmp_path: Path) -> FileSystem:
    (tmp_path / "lake").mkdir()
    return SubTreeFileSystem(str(tmp_path / "lake"), LocalFileSystem())


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path / "s", CHUNKS)
    assert snapshot.chunks.equals(CHUNKS)
    assert np.allclose(snapshot.vectors.reconstruct(np.arange(2)), vectors(CHUNKS))
    assert snapshot.text.search("pump", 5)[1].tolist() == [1]
    assert (snapshot.manifest.documents, snapshot.manifest.chunks) == (1, 2)


def test_the_id_is_the_time_and_the_content(tmp_path: Path) -> None:
    when = datetime(2026, 5, 31, 12, 30, 15, 250_000, tzinfo=UTC)
    one, other = written(tmp_path / "a", CHUNKS, when), written(tmp_path / "b", CHUNKS.slice(1), when)
    assert one.snapshot_id.startswith("20260531T123015250Z-")
    assert other.snapshot_id.startswith("20260531T123015250Z-")
    assert one.snapshot_id != other.snapshot_id


def test_an_empty_shelf_has_a_snapshot(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path / "s", table())
    assert len(snapshot.text) == len(snapshot.vectors) == snapshot.manifest.chunks == 0


def test_vectors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for number, wrong in enumerate(
        (np.zeros((1, DIMENSION), np.float32), np.full((2, DIMENSION), np.nan, np.float32))
    ):
        with pytest.raises(SnapshotError, match="need finite vectors"):
            write_snapshot(CHUNKS, wrong, tmp_path / f"{number}", embedder=EMBEDDER, chunker="x")


def test_one_changed_byte_in_any_file_is_refused(tmp_path: Path) -> None:
    manifest = written(tmp_path / "whole", CHUNKS)
    for number, name in enumerate([*manifest.files, MANIFEST]):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(tmp_path / "whole", copy)
        damage(copy / name)
        with pytest.raises(SnapshotError):
            verify(copy, manifest.snapshot_id)


def test_an_exchanged_snapshot_is_refused(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a", CHUNKS), written(tmp_path / "b", CHUNKS.slice(1))
    with pytest.raises(SnapshotError, match="is not what its folder holds"):
        verify(tmp_path / "b", one.snapshot_id)
    edited = json.loads((tmp_path / "b" / MANIFEST).read_text()) | {"reranker_weight": 1.0}
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(edited))
    with pytest.raises(SnapshotError, match="changed after it was made"):
        verify(tmp_path / "b", other.snapshot_id)


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "text/../../x", "manifest.json"])
def test_a_manifest_cannot_name_files_outside(tmp_path: Path, name: str) -> None:
    written(tmp_path / "s", CHUNKS)
    hostile = json.loads((tmp_path / "s" / MANIFEST).read_text())
    hostile["files"][name] = "0" * 64
    (tmp_path / "s" / MANIFEST).write_text(json.dumps(hostile))
    with pytest.raises(SnapshotError, match="leads out of the snapshot"):
        read_manifest(tmp_path / "s")


def test_publish_then_fetch(lake: FileSystem, tmp_path: Path) -> None:
    assert current(lake, PREFIX) is None
    manifest = published(lake, PREFIX, tmp_path, "first")
    assert current(lake, PREFIX) == manifest.snapshot_id
    folder = fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache")
    assert Snapshot.load(folder).manifest == manifest
    lake.delete_dir(PREFIX)
    assert fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache") == folder, "downloaded once"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [manifest.snapshot_id]


def test_fetch_refuses_what_is_torn_or_corrupt_and_leaves_nothing(lake: FileSystem, tmp_path: Path) -> None:
    manifest = published(lake, PREFIX, tmp_path, "first")
    remote = tmp_path / "lake" / PREFIX / manifest.snapshot_id
    damage(remote / "chunks.parquet")
    with pytest.raises(SnapshotError, match=r"corrupt: chunks\.parquet"):
        fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache")
    (remote / "chunks.parquet").unlink()
    with pytest.raises(SnapshotError, match="torn"):
        fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_of_two_made_from_the_same_the_second_is_refused(lake: FileSystem, tmp_path: Path) -> None:
    published(lake, PREFIX, tmp_path, "both are made from this")
    over = pointer(lake, PREFIX)
    first = published(lake, PREFIX, tmp_path, "a changed document", 1)
    second = written(tmp_path / "second", table({"text": "new weights"}), datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(SnapshotError, match=f"{first.snapshot_id}.* while {second.snapshot_id} was made"):
        publish(lake, PREFIX, tmp_path / "second", over)
    assert current(lake, PREFIX) == first.snapshot_id


def test_a_base_comes_with_its_addition_and_is_kept_for_it(lake: FileSystem, tmp_path: Path) -> None:
    base = published(lake, PREFIX, tmp_path, "the base")
    for minutes in range(1, 6):  # as many as make the base an old one
        held = Snapshot.load(fetch(lake, PREFIX, base.snapshot_id, tmp_path / "cache"))
        added = table({"text": f"addition {minutes}", "uri": "lake://acme/documents/new.md"})
        folder = tmp_path / f"addition-{minutes}"
        manifest = write_snapshot(
            added, vectors(added), folder, embedder=EMBEDDER, chunker="x", base=held, outdated=["none"],
            created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes),
        )  # fmt: skip
        publish(lake, PREFIX, folder, pointer(lake, PREFIX))
        prune(lake, PREFIX)
        snapshot = Snapshot.load(fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache"))
        prune_cache(tmp_path / "cache", {manifest.snapshot_id})
    assert snapshots(lake, PREFIX)[0] == base.snapshot_id
    fresh = fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "another-cache")
    assert Snapshot.load(fresh).searched["text"].to_pylist() == ["addition 5", "the base"]
    assert snapshot.whole.manifest == base
    damage(tmp_path / "another-cache" / base.snapshot_id / "vectors.faiss")
    fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "another-cache")
    verify(tmp_path / "another-cache" / base.snapshot_id, base.snapshot_id)
    damage(tmp_path / "lake" / PREFIX / base.snapshot_id / "vectors.faiss")
    with pytest.raises(SnapshotError, match=f"{base.snapshot_id} is corrupt"):
        fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "third-cache")


def test_an_addition_of_another_embedder_than_its_base_is_refused(tmp_path: Path) -> None:
    base = loaded(tmp_path / "base", CHUNKS)
    other = EMBEDDER.model_copy(update={"checksum": "1" * 64})
    write_snapshot(CHUNKS, vectors(CHUNKS), tmp_path / "addition", embedder=other, chunker="x", base=base)
    with pytest.raises(SnapshotError, match="another embedder than its base"):
        Snapshot.load(tmp_path / "addition", base)


def test_a_damaged_cache_is_downloaded_again(lake: FileSystem, tmp_path: Path) -> None:
    manifest = published(lake, PREFIX, tmp_path, "first")
    damage(fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache") / "vectors.faiss")
    verify(fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache"), manifest.snapshot_id)


def test_many_replicas_fetch_into_one_cache(lake: FileSystem, tmp_path: Path) -> None:
    manifest = published(lake, PREFIX, tmp_path, "first")
    folders: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: folders.append(fetch(lake, PREFIX, manifest.snapshot_id, tmp_path / "cache"))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / "cache" / manifest.snapshot_id] * 8
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"snapshot_id": "../../../etc"}', b'{"snapshot_id": 3}'])
def test_an_unreadable_pointer_is_named(lake: FileSystem, tmp_path: Path, content: bytes) -> None:
    published(lake, PREFIX, tmp_path, "first")
    (tmp_path / "lake" / PREFIX / "current.json").write_bytes(content)
    with pytest.raises(SnapshotError):
        current(lake, PREFIX)


def test_prune_keeps_the_newest_the_last_of_each_day_and_the_current(
    lake: FileSystem, tmp_path: Path
) -> None:
    day = 24 * 60
    minutes = [n * day + extra for n in range(10) for extra in (0, 1)] + [9 * day + 2, 9 * day + 3]
    ids = [published(lake, PREFIX, tmp_path, f"text {n}", minutes=n).snapshot_id for n in minutes]
    rollback(lake, PREFIX, ids[0])
    (tmp_path / "lake" / PREFIX / ids[2] / "manifest.json").unlink()  # an upload that broke off
    prune(lake, PREFIX)
    last_of_days = [ids[2 * n + 1] for n in range(3, 9)]
    assert snapshots(lake, PREFIX) == [ids[0], *last_of_days, *ids[-3:]]
    assert not (tmp_path / "lake" / PREFIX / ids[2]).exists()
    assert current(lake, PREFIX) == ids[0]
    fetch(lake, PREFIX, ids[0], tmp_path / "cache")
    with pytest.raises(SnapshotError, match="is not kept"):
        rollback(lake, PREFIX, ids[1])


def test_an_unreadable_snapshot_stops_neither_pruning_nor_listing(
    lake: FileSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [published(lake, PREFIX, tmp_path, f"text {n}", minutes=n).snapshot_id for n in range(5)]
    bad = tmp_path / "lake" / PREFIX / ids[3] / MANIFEST
    bad.write_text("{}")
    assert prune(lake, PREFIX) == ids[:2]
    assert ids[3] in caplog.text
    found = manifests(lake, PREFIX)
    assert list(found) == ids[2:]
    assert [type(each) for each in found.values()] == [Manifest, SnapshotError, Manifest]


def test_what_is_damaged_is_told_and_a_current_snapshot_that_is_not_there(
    lake: FileSystem, tmp_path: Path
) -> None:
    ids = [published(lake, PREFIX, tmp_path, f"text {n}", minutes=n).snapshot_id for n in range(3)]
    assert dict(damages(lake, PREFIX)) == dict.fromkeys(["current.json", *ids])
    damage(tmp_path / "lake" / PREFIX / ids[0] / "vectors.faiss")
    (tmp_path / "lake" / PREFIX / ids[2] / MANIFEST).unlink()
    told = {name: str(error) for name, error in damages(lake, PREFIX) if error}
    assert list(told) == ["current.json", ids[0]]
    assert f"names {ids[2]}, which is not there" in told["current.json"]
    assert "corrupt" in told[ids[0]]


def test_a_rollback_says_for_which_state_of_the_shelf(lake: FileSystem, tmp_path: Path) -> None:
    first = published(lake, PREFIX, tmp_path, "first")
    assert rolled_back_at(pointer(lake, PREFIX)) == ""
    rollback(lake, PREFIX, first.snapshot_id, "as it was")
    assert rolled_back_at(pointer(lake, PREFIX)) == "as it was"
    assert current(lake, PREFIX) == first.snapshot_id
    published(lake, PREFIX, tmp_path, "second", minutes=1)
    assert rolled_back_at(pointer(lake, PREFIX)) == ""
    assert [rolled_back_at(content) for content in (None, b"", b"[]", b"{}")] == [""] * 4


def test_a_snapshot_rolled_back_to_stays_in_the_cache(lake: FileSystem, tmp_path: Path) -> None:
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0)
    ids = [published(lake, PREFIX, tmp_path, f"text {n}", minutes=n).snapshot_id for n in range(5)]
    for name in [*ids[1:], ids[0]]:
        rollback(lake, PREFIX, name)
        live.refresh()
    damage(tmp_path / "cache" / "acme" / ids[4] / MANIFEST)
    prune_cache(tmp_path / "cache" / "acme", {ids[0]})
    kept = sorted(path.name for path in (tmp_path / "cache" / "acme").iterdir())
    assert kept == [ids[0], *ids[2:]]


def test_live_swaps_and_a_search_under_way_keeps_the_old(lake: FileSystem, tmp_path: Path) -> None:
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0)
    assert live.refresh() is None
    published(lake, PREFIX, tmp_path, "first edition", minutes=1)
    old = live.refresh()
    assert old is not None
    for minutes in range(2, 7):  # enough for the cache to drop the first
        published(lake, PREFIX, tmp_path, "second edition", minutes=minutes)
        live.refresh()
    assert live.snapshot is not None
    assert live.snapshot.chunks["text"].to_pylist() == ["second edition"]
    assert not (tmp_path / "cache" / "acme" / old.manifest.snapshot_id).exists()
    assert old.text.search("edition", 1)[1].tolist() == [0]
    assert old.vectors.search(hashed(["first edition"]), 1)[1].tolist() == [[0]]


def test_a_torn_snapshot_keeps_the_old_one_serving_and_heals(
    lake: FileSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=0.05)
    good = published(lake, PREFIX, tmp_path, "good", minutes=1)
    live.refresh()
    torn = published(lake, PREFIX, tmp_path, "torn", minutes=2)
    damage(tmp_path / "lake" / PREFIX / torn.snapshot_id / "vectors.faiss")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            time.sleep(0.06)
            kept = live.refresh()
            assert kept is not None
            assert kept.manifest == good
    assert len([record for record in caplog.records if "keeps serving" in record.message]) == 1
    shutil.copytree(tmp_path / "build-2", tmp_path / "lake" / PREFIX / torn.snapshot_id, dirs_exist_ok=True)
    time.sleep(0.6)
    healed = live.refresh()
    assert healed is not None
    assert healed.manifest == torn


def test_with_nothing_to_fall_back_on_the_error_is_raised(lake: FileSystem, tmp_path: Path) -> None:
    torn = published(lake, PREFIX, tmp_path, "torn")
    damage(tmp_path / "lake" / PREFIX / torn.snapshot_id / "vectors.faiss")
    with pytest.raises(SnapshotError, match="corrupt"):
        LiveIndex(lake, "acme", tmp_path / "cache").refresh()


def test_the_lake_is_asked_once_per_interval(lake: FileSystem, tmp_path: Path) -> None:
    live = LiveIndex(lake, "acme", tmp_path / "cache", check_every_s=60)
    live.refresh()
    published(lake, PREFIX, tmp_path, "later")
    assert not live.due
    assert live.refresh() is None


def test_a_snapshot_outlives_fields_that_its_maker_did_not_know(tmp_path: Path) -> None:
    manifest = written(tmp_path / "before", CHUNKS)
    fields = json.loads((tmp_path / "before" / MANIFEST).read_text())
    del fields["reranker"]
    earlier = _id_of(fields, manifest.created_at)
    (tmp_path / "before" / MANIFEST).write_text(json.dumps({**fields, "snapshot_id": earlier}))
    assert verify(tmp_path / "before", earlier).reranker == ""
    (tmp_path / "before" / MANIFEST).write_text(json.dumps({**fields, "snapshot_id": earlier, "chunks": 7}))
    with pytest.raises(SnapshotError, match="changed after it was made"):
        verify(tmp_path / "before", earlier)


def test_other_weights_and_precedents_leave_all_else_as_it_is(tmp_path: Path) -> None:
    first = written(tmp_path / "first", CHUNKS)
    known = Precedents(["why"], [CHUNKS["uri"][0].as_py()], hashed(["why"]))
    weighed = write_reweighed(tmp_path / "first", tmp_path / "second", known, fusion=Fusion(precedent=0.8))
    assert verify(tmp_path / "second", weighed.snapshot_id) == weighed
    assert weighed.snapshot_id != first.snapshot_id
    assert {name: weighed.files[name] for name in first.files} == first.files
    assert (
        weighed.model_copy(
            update={name: getattr(first, name) for name in ("snapshot_id", "created_at", "fusion", "files")}
        )
        == first
    )
    assert Snapshot.load(tmp_path / "second").precedents.same(known)
    without = write_reweighed(tmp_path / "second", tmp_path / "third", Precedents(), reranker_weight=0.5)
    assert (without.files, without.fusion, without.reranker_weight) == (first.files, weighed.fusion, 0.5)
    with pytest.raises(ValidationError, match="reranker_weight"):
        write_reweighed(tmp_path / "first", tmp_path / "fourth", reranker_weight=2)
