"""Folders of files to and from the lake, known by their checksums."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

_AT_ONCE = 8
_CHUNK_BYTES = 8 * 2**20
_DAY_S = 24 * 3600


def upload(directory: Path, names: Iterable[str], filesystem: FileSystem, target: str) -> None:
    """Copy files of a local folder, by their relative names, into a lake folder."""
    names = list(names)
    for folder in {target, *(f"{target}/{name}".rpartition("/")[0] for name in names)}:
        filesystem.create_dir(folder, recursive=True)
    _copy_all(LocalFileSystem(), str(directory), filesystem, target, names)


def download(filesystem: FileSystem, source: str, names: Iterable[str], directory: Path) -> None:
    """Copy files of a lake folder, by their relative names, into a local one."""
    names = list(names)
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
    _copy_all(filesystem, source, LocalFileSystem(), str(directory), names)


def aside(folder: Path) -> Path:
    """Where to download what is renamed to the folder once it is whole."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")


def drop_broken_off(cache: Path) -> None:
    """Delete the folders `aside` in a cache that nobody wrote into for a day: who made them was killed."""
    for folder in cache.glob(".*"):
        with suppress(FileNotFoundError):  # another process deletes them too
            if time.time() - folder.stat().st_mtime > _DAY_S:
                shutil.rmtree(folder, ignore_errors=True)


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(directory: Path, but: Iterable[str] = ()) -> dict[str, str]:
    """sha256 of each file below a folder by its relative path, but of those with certain names."""
    left_out = frozenset(but)
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in left_out)
    return {path.relative_to(directory).as_posix(): sha256(path) for path in paths}


def _copy_all(source: FileSystem, folder: str, target: FileSystem, to: str, names: list[str]) -> None:
    def copy(name: str) -> None:
        copy_files(
            f"{folder}/{name}", f"{to}/{name}", source, target, chunk_size=_CHUNK_BYTES, use_threads=False
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(copy, names))
