"""Snapshots to and from the lake: publish, find the current one, fetch it once, drop the old ones."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

from indexes.snapshot import MANIFEST, SNAPSHOT_ID, SnapshotError, read_manifest, verify
from iotops.lake import get, objects, put

CURRENT = "current.json"
_TRANSFERS = 8
_COPY_CHUNK_BYTES = 8 * 2**20


def publish(filesystem: FileSystem, prefix: str, directory: Path) -> None:
    """Upload a snapshot to `<prefix>/<id>/`, then make it the current one by replacing one small object.

    The manifest goes up last, so that a folder without one is an upload that never finished.
    """
    snapshot_id = read_manifest(directory).snapshot_id
    manifest = verify(directory, snapshot_id)
    target = f"{prefix}/{snapshot_id}"
    _create_folders(filesystem, target, manifest.files)
    _copy_all(LocalFileSystem(), str(directory), filesystem, target, manifest.files)
    put(filesystem, f"{target}/{MANIFEST}", (directory / MANIFEST).read_bytes())
    put(filesystem, f"{prefix}/{CURRENT}", json.dumps({"snapshot_id": snapshot_id}).encode())


def current(filesystem: FileSystem, prefix: str) -> str | None:
    """Id of the snapshot to serve, None where none was published; `SnapshotError` if unreadable."""
    try:
        content = get(filesystem, f"{prefix}/{CURRENT}")
    except FileNotFoundError:
        return None
    try:
        snapshot_id = json.loads(content)["snapshot_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{prefix}/{CURRENT} is unreadable: {content[:80]!r}") from error
    return _checked(snapshot_id)


def fetch(filesystem: FileSystem, prefix: str, snapshot_id: str, cache: Path) -> Path:
    """Folder of a snapshot under `cache`, downloaded if it is not there, every file verified.

    Safe between processes that share the cache: each downloads aside and renames; the first wins.
    Raises `SnapshotError` where the snapshot is torn or corrupt; nothing of it stays in the cache.
    """
    folder = cache / _checked(snapshot_id)
    if folder.is_dir():
        try:
            verify(folder, snapshot_id)
            return folder
        except SnapshotError:
            shutil.rmtree(folder, ignore_errors=True)
    partial = cache / f".{snapshot_id}.{uuid.uuid4().hex}"
    try:
        _download(filesystem, f"{prefix}/{snapshot_id}", partial)
        verify(partial, snapshot_id)
        try:
            partial.rename(folder)
        except OSError:
            verify(folder, snapshot_id)  # another process was first
    except FileNotFoundError as error:
        raise SnapshotError(f"snapshot {snapshot_id} is torn: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def prune(filesystem: FileSystem, prefix: str, keep: int = 3) -> list[str]:
    """Delete all but the newest `keep` snapshots (the current one always stays); returns the deleted ids."""
    # By files, not folders: some object stores go on listing a folder that has been emptied.
    names = {path.removeprefix(f"{prefix}/").partition("/")[0] for path in objects(filesystem, prefix)}
    serving = current(filesystem, prefix)
    ids = sorted(name for name in names if SNAPSHOT_ID.fullmatch(name) and name != serving)
    doomed = ids[: max(0, len(ids) - (keep - 1))]
    for name in doomed:
        filesystem.delete_dir(f"{prefix}/{name}")
    return doomed


def prune_cache(cache: Path, keep: int = 3) -> None:
    """Delete all but the newest `keep` snapshots of a local cache; a mapped file outlives its deletion."""
    folders = sorted(path for path in cache.iterdir() if SNAPSHOT_ID.fullmatch(path.name))
    for folder in folders[: max(0, len(folders) - keep)]:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(snapshot_id: object) -> str:
    if not isinstance(snapshot_id, str) or not SNAPSHOT_ID.fullmatch(snapshot_id):
        raise SnapshotError(f"{snapshot_id!r} is not the id of a snapshot")
    return snapshot_id


def _download(filesystem: FileSystem, source: str, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / MANIFEST).write_bytes(get(filesystem, f"{source}/{MANIFEST}"))
    names = list(read_manifest(directory).files)
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
    _copy_all(filesystem, source, LocalFileSystem(), str(directory), names)


def _copy_all(source: FileSystem, folder: str, target: FileSystem, to: str, names: Iterable[str]) -> None:
    def copy(name: str) -> None:
        copy_files(
            f"{folder}/{name}",
            f"{to}/{name}",
            source,
            target,
            chunk_size=_COPY_CHUNK_BYTES,
            use_threads=False,
        )

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        list(pool.map(copy, names))


def _create_folders(filesystem: FileSystem, target: str, names: Iterable[str]) -> None:
    for folder in {target, *(f"{target}/{name}".rpartition("/")[0] for name in names)}:
        filesystem.create_dir(folder, recursive=True)
