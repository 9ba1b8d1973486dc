"""Where unpacked models lie on this machine, and the checksum of a model's weights."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from iotops.settings import Settings

_CHUNK_BYTES = 1 << 20


def weights_checksum(folder: Path, cache: Path) -> str:
    """sha256 over the weight files of a folder, in the order of their names.

    Kept below `cache` under the files' sizes and times: hashing gigabytes takes longer than loading them.
    """
    files = weight_files(folder)
    state = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    kept = cache / ".checksums" / hashlib.sha256(json.dumps(state).encode()).hexdigest()
    if kept.is_file() and len(known := kept.read_text()) == 64:
        return known
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{os.getpid()}")
    fresh.write_text(digest.hexdigest())
    fresh.replace(kept)
    return digest.hexdigest()


def models_folder(settings: Settings) -> Path:
    """Where unpacked models and the checksums of all models are kept."""
    return settings.home / "models"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder, by name."""
    return sorted(folder.glob("*.safetensors"))
