"""Finding a model, or fetching it: its files on this machine from the first source that has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from iotops.errors import ModelError
from iotops.models.catalogue import OPTIONAL_ROLES, ROLES, Role, load_catalogue
from iotops.models.weights import models_folder, weights_checksum
from iotops.settings import Settings

logger = logging.getLogger(__name__)


class ResolvedModel(BaseModel):
    """A model whose files are on this machine."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Name in the hub's form, or the folder that was named.")
    path: Path = Field(description="Folder in the hub's layout.")
    source: str = Field(description="Where it came from.")
    revision: str = Field(description="Commit on the hub or version of the package; empty for a folder.")
    checksum: str = Field(description="sha256 over the weight files in the order of their names.")


def resolve_role(settings: Settings, role: Role) -> ResolvedModel:
    """The model that plays a role, brought to this machine where it is not there yet."""
    return resolve(settings, load_catalogue(settings).name(role))


def resolve(
    settings: Settings, name: str, on_progress: Callable[[str], None] = lambda message: None
) -> ResolvedModel:
    """Find a model, or fetch it; raises `ModelError` with each source's reason where none has it.

    Without a network it decides within seconds. Safe to call from several processes at once.
    """
    from iotops.models.sources import SOURCES, Unavailable  # loads the hub's client

    spec = load_catalogue(settings).spec(name)
    if spec.endpoint:
        raise ModelError(f"{name} has an endpoint in models.yaml, so that its weights are not fetched here")
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
        name = catalogue.served() if role == "llm" else catalogue.name(role)
        if name is None:
            on_progress("llm: answers elsewhere")
            continue
        on_progress(f"{role}: {name}")
        try:
            models.append(resolve(settings, name, on_progress))
        except ModelError as error:
            if role not in OPTIONAL_ROLES:
                raise
            logger.warning("%s is optional and left out: %s", role, error)
    return models


def _told(model: ResolvedModel) -> tuple[str, str, str, str]:
    return model.name, model.source, model.revision or "none", model.checksum
