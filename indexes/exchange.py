"""Snapshots to and from the lake: publish, find the current one, fetch it once, drop the old ones."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from indexes.schema import DOCUMENT_SCHEMA
from indexes.snapshot import (
    DOCUMENTS,
    MANIFEST,
    SNAPSHOT_ID,
    Manifest,
    Snapshot,
    parse_manifest,
    read_manifest,
    verify,
)
from indexes.transfer import aside, download, drop_broken_off, upload
from iotops.errors import SnapshotError
from iotops.lake import get, objects, put

CURRENT = "current.json"
KEEP_NEWEST, KEEP_DAYS = 3, 7
_DAY = len("20260531")  # of an id
logger = logging.getLogger(__name__)


def publish(
    filesystem: FileSystem, prefix: str, directory: Path, over: bytes | None, shelf: str = ""
) -> bytes:
    """Upload a snapshot to `<prefix>/<id>/`, then make it the current one by replacing one small object.

    The manifest goes up last, so that a folder without one is an upload that never finished; `shelf` is as in
    `rollback`. Returns the `pointer` that it wrote. Raises `SnapshotError` where that is not `over` any more,
    as it was when this one's making began: what somebody else published meanwhile must not be lost.
    """
    snapshot_id = read_manifest(directory).snapshot_id
    manifest = verify(directory, snapshot_id)
    target = f"{prefix}/{snapshot_id}"
    upload(directory, manifest.files, filesystem, target)
    put(filesystem, f"{target}/{MANIFEST}", (directory / MANIFEST).read_bytes())
    if (now := pointer(filesystem, prefix)) != over:
        raise SnapshotError(f"{prefix} became {now!r} while {snapshot_id} was made over {over!r}: repeat")
    return _point(filesystem, prefix, snapshot_id, shelf)


def pointer(filesystem: FileSystem, prefix: str) -> bytes | None:
    """The object that names the current snapshot, readable or not; None where none was published."""
    try:
        return get(filesystem, f"{prefix}/{CURRENT}")
    except FileNotFoundError:
        return None


def current(filesystem: FileSystem, prefix: str) -> str | None:
    """Id of the snapshot to serve, None where none was published; `SnapshotError` if unreadable."""
    content = pointer(filesystem, prefix)
    if content is None:
        return None
    try:
        snapshot_id = json.loads(content)["snapshot_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{prefix}/{CURRENT} is unreadable: {content[:80]!r}") from error
    return _checked(snapshot_id)


def rolled_back_at(content: bytes | None) -> str:
    """The state of the shelf to which a `pointer` was rolled back; empty where it was not."""
    try:
        return str(json.loads(content or b"{}").get("shelf", ""))
    except (ValueError, AttributeError):  # `current` says that it is unreadable
        return ""


def fetch(
    filesystem: FileSystem, prefix: str, snapshot_id: str, cache: Path, held: Snapshot | None = None
) -> Path:
    """Folder of a snapshot under `cache`, its base beside it, downloaded if not there, every file verified.

    A base that is loaded already, as `held` or its base, is not verified again. Safe between processes that
    share the cache: each downloads aside and renames; the first wins. Raises `SnapshotError` where the
    snapshot is torn or corrupt; nothing of it stays in the cache.
    """
    folder = cache / _checked(snapshot_id)
    if folder.is_dir():
        try:
            base = verify(folder, snapshot_id).base
        except SnapshotError:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return _with_base(filesystem, prefix, folder, base, cache, held)
    partial = aside(folder)
    try:
        _download(filesystem, f"{prefix}/{snapshot_id}", partial)
        base = verify(partial, snapshot_id).base
        try:
            partial.rename(folder)
        except OSError:
            verify(folder, snapshot_id)  # another process was first
    except FileNotFoundError as error:
        raise SnapshotError(f"snapshot {snapshot_id} is torn: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _with_base(filesystem, prefix, folder, base, cache, held)


def _with_base(
    filesystem: FileSystem, prefix: str, folder: Path, base: str, cache: Path, held: Snapshot | None
) -> Path:
    if base and not (held and held.whole.manifest.snapshot_id == base):
        fetch(filesystem, prefix, base, cache)
    return folder


def snapshots(filesystem: FileSystem, prefix: str) -> list[str]:
    """Ids of all snapshots of a shelf that were uploaded whole, oldest first."""
    return _uploads(filesystem, prefix)[0]


def manifest(filesystem: FileSystem, prefix: str, snapshot_id: str) -> Manifest:
    """What a snapshot says of itself; raises `SnapshotError` where it does not."""
    return parse_manifest(_file(filesystem, prefix, snapshot_id, MANIFEST), snapshot_id)


def manifests(filesystem: FileSystem, prefix: str) -> dict[str, Manifest | SnapshotError]:
    """Of every snapshot that is kept, oldest first, what it says of itself or why it does not."""
    found: dict[str, Manifest | SnapshotError] = {}
    for name in snapshots(filesystem, prefix):
        try:
            found[name] = manifest(filesystem, prefix, name)
        except SnapshotError as error:
            found[name] = error
    return found


def documents(filesystem: FileSystem, prefix: str, snapshot_id: str) -> pa.Table:
    """The files that a snapshot was made of: `DOCUMENT_SCHEMA`; raises `SnapshotError`."""
    content = _file(filesystem, prefix, snapshot_id, DOCUMENTS)
    if hashlib.sha256(content).hexdigest() != manifest(filesystem, prefix, snapshot_id).files[DOCUMENTS]:
        raise SnapshotError(f"snapshot {snapshot_id} is corrupt: {DOCUMENTS} does not match its checksum")
    return pq.read_table(pa.BufferReader(content), schema=DOCUMENT_SCHEMA)


def rollback(filesystem: FileSystem, prefix: str, snapshot_id: str, shelf: str = "") -> None:
    """Make an earlier snapshot the current one; raises `SnapshotError` where there is no such one.

    `shelf` is the state of the documents now: for as long as that stays, no build need undo this.
    """
    if _checked(snapshot_id) not in snapshots(filesystem, prefix):
        raise SnapshotError(f"{snapshot_id} is not kept: `iotops index list` shows what is")
    _point(filesystem, prefix, snapshot_id, shelf)


def damages(filesystem: FileSystem, prefix: str) -> Iterator[tuple[str, SnapshotError | None]]:
    """The pointer and each snapshot that is kept, with what is wrong with it; every byte is read."""
    kept = snapshots(filesystem, prefix)
    yield CURRENT, _damage_of_pointer(filesystem, prefix, kept)
    for name in kept:
        damage = None
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            try:
                fetch(filesystem, prefix, name, Path(folder))
            except SnapshotError as error:
                damage = error
        yield name, damage


def prune(filesystem: FileSystem, prefix: str) -> list[str]:
    """Delete the snapshots that are not kept, and uploads that broke off before those; returns their ids.

    Kept are the current one, the newest `KEEP_NEWEST`, and the last of each of the `KEEP_DAYS` newest days,
    with their bases. One that does not say what its base is stops nothing, and is logged.
    """
    ids, broken_off = _uploads(filesystem, prefix)
    last_of_day = {name[:_DAY]: name for name in ids}
    kept = {*ids[-KEEP_NEWEST:], *list(last_of_day.values())[-KEEP_DAYS:], current(filesystem, prefix)}
    for name in [name for name in kept if name]:
        try:
            kept.add(manifest(filesystem, prefix, name).base)
        except SnapshotError as error:
            logger.error("a snapshot of %s is damaged: %s", prefix, error)
    doomed = [name for name in ids if name not in kept]
    doomed += [name for name in broken_off if name < min(ids[-KEEP_NEWEST:], default="")]
    for name in doomed:
        filesystem.delete_dir(f"{prefix}/{name}")
    return doomed


def prune_cache(cache: Path, keep: Collection[str]) -> None:
    """Delete from a local cache all but the snapshots `keep`, the newest `KEEP_NEWEST` and their bases.

    So too the downloads that broke off a day ago. A mapped file outlives its deletion.
    """
    drop_broken_off(cache)
    folders = sorted(path for path in cache.iterdir() if SNAPSHOT_ID.fullmatch(path.name))
    kept = {*keep, *(folder.name for folder in folders[-KEEP_NEWEST:])}
    for folder in [folder for folder in folders if folder.name in kept]:
        with suppress(SnapshotError):  # a damaged one is downloaded again with its base
            kept.add(read_manifest(folder).base)
    for folder in folders:
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _uploads(filesystem: FileSystem, prefix: str) -> tuple[list[str], list[str]]:
    """Ids of snapshots that are there whole, and of those without a manifest."""
    # By files, not folders: some object stores go on listing a folder that has been emptied.
    paths = [path.removeprefix(f"{prefix}/").split("/") for path in objects(filesystem, prefix)]
    names = {path[0] for path in paths if SNAPSHOT_ID.fullmatch(path[0])}
    whole = {path[0] for path in paths if path[1:] == [MANIFEST]} & names
    return sorted(whole), sorted(names - whole)


def _point(filesystem: FileSystem, prefix: str, snapshot_id: str, shelf: str) -> bytes:
    named = json.dumps({"snapshot_id": snapshot_id} | ({"shelf": shelf} if shelf else {})).encode()
    put(filesystem, f"{prefix}/{CURRENT}", named)
    return named


def _damage_of_pointer(filesystem: FileSystem, prefix: str, kept: list[str]) -> SnapshotError | None:
    try:
        serving = current(filesystem, prefix)
    except SnapshotError as error:
        return error
    if serving is None or serving in kept:
        return None
    return SnapshotError(f"{CURRENT} names {serving}, which is not there or has no {MANIFEST}")


def _file(filesystem: FileSystem, prefix: str, snapshot_id: str, name: str) -> bytes:
    try:
        return get(filesystem, f"{prefix}/{_checked(snapshot_id)}/{name}")
    except FileNotFoundError:
        raise SnapshotError(f"snapshot {snapshot_id} is torn: {name} is missing") from None


def _checked(snapshot_id: object) -> str:
    if not isinstance(snapshot_id, str) or not SNAPSHOT_ID.fullmatch(snapshot_id):
        raise SnapshotError(f"{snapshot_id!r} is not the id of a snapshot")
    return snapshot_id


def _download(filesystem: FileSystem, source: str, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / MANIFEST).write_bytes(get(filesystem, f"{source}/{MANIFEST}"))
    download(filesystem, source, read_manifest(directory).files, directory)
