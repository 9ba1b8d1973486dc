"""The guard of the served graph: refuses questions, sets sources aside, checks answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from ray.serve.handle import DeploymentHandle

from indexes.vector import Vectors
from iotops.http import ApiError
from iotops.settings import GuardSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.contracts import ToolCall
from ray_apps.copilot.evidence.passages import Passage
from ray_apps.copilot.evidence.sentence_vectors import SentenceVectors
from ray_apps.copilot.guard.answers import AnswerCheck
from ray_apps.copilot.guard.detector import (
    InjectionDetector,
    Reading,
    Verdict,
    read_passage,
    read_question,
)
from ray_apps.copilot.guard.heads import Heads
from ray_apps.copilot.guard.lakera import LakeraGuard
from ray_apps.copilot.guard.personal import scrubbed
from ray_apps.copilot.guard.rules import OTHER_REASON

logger = logging.getLogger(__name__)

WITHHELD = "[withheld: it reads like an instruction to the assistant]"
LEAST_TOOL_WORDS = 4


class Guard:
    """The local detector with the served embedder, Lakera where it is set up, and the answer checks."""

    def __init__(self, settings: GuardSettings, embedder: DeploymentHandle, vectors: SentenceVectors) -> None:
        self._settings, self._embedder, self._vectors = settings, embedder, vectors
        self._lakera = LakeraGuard(settings)
        self._heads = Heads.load()
        self._detector: InjectionDetector | None = None
        scrubbed("")  # Imports Presidio here, where no question waits for it.

    async def refuse_attacks(self, tenant: Tenant, question: str) -> None:
        """Raises `ApiError` 422 `question_refused`, which tells the caller the category and no more."""
        reading = await asyncio.to_thread(read_question, question)
        detector = await self._ready()
        vectors, remote = await asyncio.gather(
            self._encoded(tenant, [reading], detector), self._lakera.flags(question)
        )
        verdict = detector.question(reading, vectors)
        if not verdict.flagged and remote:
            verdict = Verdict(True, OTHER_REASON)
        if verdict.flagged:
            logger.warning("question refused: %s", verdict.reason)
            raise ApiError(
                422,
                "question_refused",
                f"the question was refused ({verdict.reason}): ask about a device, an error code or the "
                "fleet, without instructions to the assistant",
            )

    async def hostile(self, tenant: Tenant, passages: Sequence[Passage]) -> dict[int, str]:
        """The reason by place of each passage that must not be used."""
        texts = [f"{passage.title}\n{passage.section}\n\n{passage.text}" for passage in passages]
        detector = await self._ready()
        readings = await asyncio.to_thread(lambda: [read_passage(text) for text in texts])
        vectors, remote = await asyncio.gather(
            self._encoded(tenant, readings, detector),
            asyncio.gather(*(self._lakera.flags(text) for text in texts)),
        )
        verdicts = await asyncio.to_thread(
            lambda: [detector.passage(reading, vectors) for reading in readings]
        )
        found = {}
        for place, (verdict, flagged) in enumerate(zip(verdicts, remote, strict=True)):
            if verdict.flagged or flagged:
                found[place] = verdict.reason or OTHER_REASON
                logger.warning("passage set aside, %s: %s", found[place], passages[place].uri)
        return found

    async def withhold(self, tenant: Tenant, tools: list[ToolCall]) -> tuple[list[ToolCall], int]:
        """The tool calls with every text that attacks replaced, since a device writes its own messages; how
        many such texts there were."""
        texts = _texts_of(tools)
        detector = await self._ready()
        readings = [read_question(text) for text in texts]
        vectors, remote = await asyncio.gather(
            self._encoded(tenant, readings, detector),
            asyncio.gather(*(self._lakera.flags(text) for text in texts)),
        )
        hostile = {
            text
            for text, reading, flagged in zip(texts, readings, remote, strict=True)
            if flagged or detector.question(reading, vectors).flagged
        }
        if hostile:
            logger.warning("%d texts of tool results withheld", len(hostile))
        return _retold(tools, lambda text: WITHHELD if text in hostile else text), len(hostile)

    def answer_check(self, tenant: Tenant) -> AnswerCheck:
        """What cleans the answer, whole or sentence by sentence."""
        return AnswerCheck(tenant, self._settings.personal_data_in_answers)

    @staticmethod
    def cleaned(tools: list[ToolCall], check: AnswerCheck) -> list[ToolCall]:
        """The tool calls without what no answer may carry, in whichever string or name of their results."""
        return _retold(tools, cache(check.clean))

    async def describe(self) -> dict[str, Any]:
        """Whether the trained detector is used or the rules alone, why, and whether Lakera is asked."""
        detector = await self._ready()
        return {
            "detector": "trained" if detector.heads else "rules",
            "trained_for": self._heads.embedder,
            "lakera": self._lakera.used,
        }

    async def _ready(self) -> InjectionDetector:
        """The detector, with its heads if the embedder serves the model that they were trained for."""
        if self._detector is None:
            served = (await self._embedder.describe.remote())["checksum"]
            fits = served == self._heads.checksum
            if not fits:
                logger.warning(
                    "the embedder is not %s, for which the injection detector was trained: rules alone",
                    self._heads.embedder,
                )
            self._detector = InjectionDetector(self._heads if fits else None)
        return self._detector

    async def _encoded(
        self, tenant: Tenant, readings: Sequence[Reading], detector: InjectionDetector
    ) -> dict[str, Vectors]:
        windows = list(dict.fromkeys(window for reading in readings for window in reading.texts))
        if not detector.heads or not windows:
            return {}
        return dict(zip(windows, await self._vectors.of(tenant, windows), strict=True))


def _texts_of(tools: Sequence[ToolCall]) -> list[str]:
    """The texts of some words in the results of tools: fewer are no instruction."""
    texts = {text for tool in tools for text in _texts(tool.result)}
    return sorted(text for text in texts if len(text.split()) >= LEAST_TOOL_WORDS)


def _texts(value: Any) -> list[str]:
    """The strings in a tool's result, at any depth."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [text for each in inner for text in _texts(each)]


def _retold(tools: list[ToolCall], tell: Callable[[str], str]) -> list[ToolCall]:
    """The tool calls with every string of their results, names too, as `tell` tells it."""
    return [tool.model_copy(update={"result": _told(tool.result, tell)}) for tool in tools]


def _told(value: Any, tell: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return tell(value)
    if isinstance(value, dict):
        return {_told(name, tell): _told(each, tell) for name, each in value.items()}
    return [_told(each, tell) for each in value] if isinstance(value, (list, tuple)) else value
