"""Questions that the served language model makes of chunks, kept where the search leads back to the chunk."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from indexes.hits import documents
from indexes.hybrid import HybridIndex, search_all
from indexes.precedents import Precedents
from indexes.schema import passage
from indexes.vector import Vectors
from iotops.serving import COPILOT, LANGUAGE_MODEL
from pipelines.tuning.examples import Asked

MOST = 200
"""Chunks that a question is made from: on a CPU the model writes a few a second."""
AT_ONCE = 16
LEADS_BACK = 3
"""Documents among the first of a search."""
_PROMPT = (
    "Write one question that a technician would ask and that the following text answers. "
    "Answer with the question alone.\n\n{}"
)
_MOST_TOKENS = 40
_MOST_S = 120.0
_MOST_CHARACTERS = 1_500
_LEAST_WORDS, _MOST_WORDS = 4, 30
_QUESTION = re.compile(r"[A-Z][^:\"“”!?\n]*\?")


def generated(chunks: pa.Table) -> list[Asked]:
    """At most one question for each of some chunks (`CHUNK_SCHEMA`); none where no model is served.

    Bonifacio and others 2022, "InPars: Unsupervised Dataset Generation for Information Retrieval".
    """
    try:
        model = serve.get_deployment_handle(LANGUAGE_MODEL, COPILOT)
    except (RayServeException, KeyError):  # no Serve, or Serve without the copilot
        return []
    rows = chunks.select(["uri", "title", "section", "text", "content_hash"]).to_pylist()
    rows.sort(key=lambda row: hashlib.sha256(row["content_hash"].encode()).digest())
    sources = [(row["uri"], passage(row["title"], row["section"], row["text"])) for row in rows[:MOST]]
    written = asyncio.run(_written(model, [text for _, text in sources]))
    return [
        Asked(question, uri, text)
        for (uri, text), answer in zip(sources, written, strict=True)
        if (question := question_in(answer))
    ]


def question_in(answer: str) -> str:
    """The first question of an answer, without what leads up to it; empty where there is none."""
    found = _QUESTION.search(answer)
    question = found.group() if found else ""
    return question if _LEAST_WORDS <= len(question.split()) <= _MOST_WORDS else ""


def leading_back(
    indexes: Sequence[HybridIndex], asked: Sequence[Asked], vectors: Mapping[str, Vectors]
) -> list[Asked]:
    """Those whose document the search finds at once and without precedents, with vectors by their text.

    Dai and others 2022, "Promptagator: Few-shot Dense Retrieval From 8 Examples": round-trip consistency
    drops what a model made up, or what any document would answer.
    """
    kept = []
    for each in asked:
        vector = vectors[each.question]
        found = search_all(indexes, each.question, vector, LEADS_BACK, precedents=Precedents())
        if each.uri in documents(found):
            kept.append(each)
    return kept


async def _written(model: DeploymentHandle, texts: Sequence[str]) -> list[str]:
    """What the model answers to each text; empty where it fails."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(text: str) -> str:
        prompt = _PROMPT.format(text[:_MOST_CHARACTERS])
        async with room:
            asked = model.complete.remote([{"role": "user", "content": prompt}], _MOST_TOKENS)
            return str((await asyncio.wait_for(_answered(asked), _MOST_S))["text"])

    answers = await asyncio.gather(*map(one, texts), return_exceptions=True)
    return [answer if isinstance(answer, str) else "" for answer in answers]


async def _answered(response: DeploymentResponse[Any]) -> Any:
    return await response
