"""A shelf with the platform's own embedding model and lake: what the flow, the command and the demo call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from indexes.encoder_source import encoder_shape, load_encoder
from indexes.snapshot import EmbedderId
from indexes.tokens import Tokens
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.models.weights import models_folder
from iotops.settings import Settings
from pipelines import ray_data
from pipelines.alone import INDEXING, alone
from pipelines.knowledge.build import BuildReport, EmbeddingModel, build_index


def index_shelf(
    settings: Settings,
    owner: str,
    *,
    force: bool = False,
    on_progress: Callable[[str], None] = lambda message: None,
) -> BuildReport:
    """Bring the index of a tenant, or of `shared`, up to date with its documents, on the Ray cluster.

    With `force` it is made anew though nothing has changed. Two builds of one shelf, whoever started them,
    take turns.
    """
    ray_data.prepare(settings.ray)
    lake, cache = lake_filesystem(settings.lake), settings.home / "index-cache"
    model = embedding_model(settings)
    with alone(settings, INDEXING, owner, on_progress):
        return build_index(lake, owner, model, cache, force=force, on_progress=on_progress)


def embedding_model(settings: Settings) -> EmbeddingModel:
    """The model of the role `embedder`, as a build needs it."""
    model = resolve_role(settings, "embedder")
    shape = encoder_shape(model, models_folder(settings))
    return EmbeddingModel(
        identity=EmbedderId(name=model.name, checksum=model.checksum, dimension=shape.dimension),
        make_encoder=partial(load_encoder, model),
        count_tokens=Tokens.of(model).count,
        max_tokens=shape.max_tokens,
    )
