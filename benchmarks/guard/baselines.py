"""What the guard is compared with: a list of keywords, and a plain head over one embedding per text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.guard.sets import Channel
from benchmarks.guard.templates import generate, load_templates
from indexes.vector import Vectors

KEYWORDS = re.compile(
    r"ignore|disregard|forget|override|bypass|jailbreak|\bDAN\b|pretend|act as|role-?play|system prompt|"
    r"developer mode|unfiltered|uncensored|no restrictions|your instructions|reveal|password",
    re.I,
)
EACH = 8


def has_keyword(text: str) -> bool:
    """Whether one of the usual words of attacks stands in a text."""
    return bool(KEYWORDS.search(text))


class PlainHead:
    """Logistic regression on one vector per text, trained on the same templates as the guard."""

    def __init__(self, encode: Callable[[Sequence[str]], Vectors]) -> None:
        self._encode = encode
        self._models = {
            channel: self._fit(attacks, harmless)
            for channel, attacks, harmless in (
                ("question", ["question_attacks"], ["requests", "trigger_requests", "operations_questions"]),
                ("passage", ["passage_attacks", "requests"], ["documents"]),
            )
        }

    def flags(self, texts: Sequence[str], channel: Channel) -> list[bool]:
        """Whether each text is an attack."""
        return [bool(each) for each in self._models[channel].predict(self._encode(texts))] if texts else []

    def _fit(self, attacks: Sequence[str], harmless: Sequence[str]) -> LogisticRegression:
        templates, rng = load_templates(), random.Random(1)
        texts = [
            [text for kind in kinds for _, text in generate(templates, kind, EACH, rng)]
            for kinds in (attacks, harmless)
        ]
        labels = np.repeat([True, False], [len(each) for each in texts])
        model = LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
        return model.fit(self._encode([*texts[0], *texts[1]]), labels)
