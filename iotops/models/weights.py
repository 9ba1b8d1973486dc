"""Where unpacked models lie on this machine, and what is remembered of their files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from iotops.settings import Settings

_CHUNK_BYTES = 1 << 20


def weights_checksum(folder: Path, cache: Path) -> str:
    """sha256 over the weight files of a folder, in the order of their names.

    Remembered: hashing gigabytes takes longer than loading them.
    """
    files = weight_files(folder)

    def checksum() -> str:
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()

    return remembered(cache / ".checksums", files, checksum)


def remembered(cache: Path, files: Sequence[Path], derive: Callable[[], str]) -> str:
    """What `derive` makes of files, kept in the folder `cache` under their names, sizes and times."""
    state = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    kept = cache / hashlib.sha256(json.dumps(state).encode()).hexdigest()
    if kept.is_file():
        return kept.read_text()
    derived = derive()
    cache.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{os.getpid()}")
    fresh.write_text(derived)
    fresh.replace(kept)
    return derived


def models_folder(settings: Settings) -> Path:
    """Where unpacked models are kept, and what was derived from the files of all models."""
    return settings.home / "models"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder, by name."""
    return sorted(folder.glob("*.safetensors"))
