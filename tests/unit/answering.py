"""What answers are tested with: a look-up that finds the same for all, and a model that writes as told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from iotops.models.catalogue import ModelSpec
from iotops.settings import CopilotSettings
from iotops.tenancy import Tenant
from ray_apps.chat import Piece, Writing
from ray_apps.copilot.answer.answer import Answerer
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.passages import Passage, quotes
from ray_apps.copilot.language.facts import facts
from ray_apps.copilot.language.text import plain
from ray_apps.copilot.language.words import content_words
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.placing import placed
from tests.unit.guards import rules_alone
from tests.unit.word_tokens import words

RECORD = Passage(
    "device:machine-007", "Device machine-007", "/insights/machine-007", "Health",
    "The health score of machine-007 (HX-200) is 41 of 100.\n\nIts vibration is 61 today.", 0,
)  # fmt: skip
MEANING = Passage(
    "e421.md", "E421: Vibration high", "lake://x", "Meaning",
    "E421 means that vibration is high. The bearing wears when vibration stays high. "
    "A loose coupling shakes the shaft. The alarm clears when vibration falls below 45. "
    "Dry grease heats the bearing quickly.", 10,
)  # fmt: skip
RUNBOOK = Passage(
    "e421.md", "E421: Vibration high", "lake://x", "Immediate actions",
    "1. Read the trend. A steady rise points to the bearing.\n2. Check E425.\n", 500,
)  # fmt: skip
WORDS = {
    word: place
    for place, word in enumerate(
        sorted(
            content_words(f"{RECORD.text} {MEANING.text} {RUNBOOK.text}")
            | facts(f"{RECORD.text} {MEANING.text} {RUNBOOK.text}")
        )
    )
}


def vector(text: str) -> np.ndarray:
    """Bag of words: enough geometry to tell sentences apart without a model."""
    row = np.zeros(len(WORDS) + 1, np.float32)
    for word in content_words(text) | facts(text):
        row[WORDS.get(word, len(WORDS))] = 1
    return row / max(float(np.linalg.norm(row)), 1e-6)


class Shelf:
    """A look-up that finds the same passages for every question."""

    def __init__(self, passages: list[Passage], lead: int, unreported: frozenset[str] = frozenset()) -> None:
        self._passages, self._lead, self.read, self.incomplete = passages, lead, 0, False
        self._unreported = unreported

    async def gather(self, tenant, asked, top_k, tell):
        return Evidence(
            list(self._passages),
            self._lead,
            asked.plan.codes,
            unreported=self._unreported,
            incomplete=self.incomplete,
        )

    async def call(self, tenant, wanted, found, plan, tell):
        """No tool is known here."""

    async def embed(self, tenant, asked, found, end):
        new = quotes(found.passages[:end], found.read)
        rows = np.array([vector(plain(quote.text)) for quote in new], np.float32)
        rows = rows.reshape(len(new), len(WORDS) + 1)
        self.read = min(end, len(found.passages))
        found.take(new, vector(asked.whole), rows, min(end, len(found.passages)))

    async def vector(self, sentence):
        return vector(sentence)


class Author:
    """A model that writes what it is given, a word at a time, and notices when it is stopped."""

    def __init__(self, text: str, fails: bool = False, hangs: bool = False, finish: str = "stop") -> None:
        self.words, self.fails, self.hangs, self.finish = text.split(" "), fails, hangs, finish
        self.written: list[str] = []
        self.stopped, self.said, self.sounded_out = False, 0, 0

    def stream(self, messages, max_tokens):
        return Writing(self._pieces())

    async def propose(self, messages, tools, max_tokens):
        return None

    def sound_out(self):
        self.sounded_out += 1

    async def _pieces(self):
        try:
            for word in self.words:
                self.written.append(word)
                self.said += 1
                yield Piece(
                    text=f"{word} ",
                    prompt_tokens=90,
                    completion_tokens=len(self.written),
                    finish_reason=self.finish if word == self.words[-1] else "",
                    model="author",
                )
                await asyncio.sleep(0)
            if self.hangs:
                await asyncio.Event().wait()
            if self.fails:
                raise RuntimeError("the engine is gone")
        finally:
            self.stopped = True


QUESTION = "What is wrong with machine-007, is vibration high?"


def answerer(
    author,
    lead=1,
    passages=None,
    least_confidence=0.2,
    answer_s=20.0,
    unreported=frozenset(),
):
    return Answerer(
        CopilotSettings(least_confidence=least_confidence),
        ModelSpec(answer_s=answer_s),
        words(),
        Shelf(passages or [RECORD, MEANING], lead, unreported),
        author,
        rules_alone(),
    )


def answer(author, question=QUESTION, devices=("machine-007",), **setting):
    heard = []

    def tell(event):
        heard.append((event, len(author.written)))

    asked = resolve(question, None, [])
    asked = replace(asked, plan=placed(asked.plan, Known(devices)))
    return asyncio.run(answerer(author, **setting).answer(Tenant("acme"), asked, 5, tell)), heard
