"""The copilot's Serve application: embedder, retriever, reranker and LLM behind the API."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from indexes.hybrid import Ranking
from iotops.models import load_catalogue
from iotops.settings import get_settings
from ray_apps.copilot.http.api import Copilot
from ray_apps.embedder import Embedder
from ray_apps.reranker import Reranker
from ray_apps.retriever import Retriever


def build(args: dict[str, Any]) -> Application:
    """The graph, for `configs/serve.yaml`; each deployment's replicas and resources are set there.

    Where every language model is elsewhere, none is deployed.
    """
    embedder, reranker = Embedder.bind(), Reranker.bind()
    retriever = Retriever.bind(embedder, reranker, Ranking.of(get_settings().retrieval))
    return Copilot.bind(retriever, embedder, reranker, _language_model())


def _language_model() -> Application | None:
    catalogue = load_catalogue(get_settings())
    served = catalogue.served()
    if served is None:
        return None
    from ray_apps.llm import llm_deployment  # loads vLLM

    return llm_deployment(served, catalogue.spec(served))
