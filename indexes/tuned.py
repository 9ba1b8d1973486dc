"""Rerankers that were tuned on a tenant's shelf, in the lake beside its indexes.

One is a folder in the hub's layout that never changes; its id is the checksum of the list of its files'
checksums, so that whoever has the id can tell a whole model from a torn or exchanged one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileSystem

from indexes.schema import shelf_prefix
from indexes.transfer import aside, checksums, download, drop_broken_off, sha256, upload
from iotops.errors import ModelError
from iotops.lake import get, put
from iotops.models import ResolvedModel

_AREA, _LIST = "rerankers", "files.json"
_ID = re.compile(r"[0-9a-f]{64}")


def keep(filesystem: FileSystem, owner: str, folder: Path) -> str:
    """Store a model's folder for a tenant; its id."""
    files = checksums(folder)
    content = json.dumps(files, sort_keys=True).encode()
    name = hashlib.sha256(content).hexdigest()
    target = f"{shelf_prefix(owner, _AREA)}/{name}"
    upload(folder, files, filesystem, target)
    put(filesystem, f"{target}/{_LIST}", content)
    return name


def tuned_model(filesystem: FileSystem, owner: str, name: str, cache: Path) -> ResolvedModel:
    """A tenant's tuned model, brought to `cache` where it is not there yet, every file verified.

    Raises `ModelError` where it is missing, torn or not what its id says.
    """
    if not _ID.fullmatch(name):
        raise ModelError(f"{name!r} is not the id of a tuned reranker")
    folder = cache / owner / name
    if not folder.is_dir():
        partial = aside(folder)
        try:
            _fetch(filesystem, f"{shelf_prefix(owner, _AREA)}/{name}", name, partial)
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        drop_broken_off(folder.parent)
    return ResolvedModel(
        name=f"tuned on {owner}", path=folder, source="tuned reranker", revision="", checksum=name
    )


def _fetch(filesystem: FileSystem, source: str, name: str, directory: Path) -> None:
    try:
        content = get(filesystem, f"{source}/{_LIST}")
    except FileNotFoundError:
        raise ModelError(f"{source} is missing or torn: tune the reranker again") from None
    if hashlib.sha256(content).hexdigest() != name:
        raise ModelError(f"{source}/{_LIST} is not what the id says: tune the reranker again")
    files: dict[str, str] = json.loads(content)
    if any(".." in PurePosixPath(file).parts or PurePosixPath(file).is_absolute() for file in files):
        raise ModelError(f"{source}/{_LIST} names a file outside its folder")
    download(filesystem, source, files, directory)
    for file, expected in files.items():
        if sha256(directory / file) != expected:
            raise ModelError(f"{source}/{file} is damaged: tune the reranker again")
