"""The local detector of prompt injection: in a question, and in what was looked up for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexes.vector import Vectors
from ray_apps.copilot.guard.heads import Heads, passage_rows, question_rows
from ray_apps.copilot.guard.rules import decisive, reason_of
from ray_apps.copilot.guard.windows import block_windows, said_in_code, sentence_windows, undisguised

MOST_WINDOWS, MOST_ALONE = 400, 6
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class Verdict:
    """Whether a text is an attack, of what category, and by how much (log-odds above the threshold)."""

    flagged: bool
    reason: str = ""
    score: float = -np.inf


@dataclass(frozen=True)
class Reading:
    """A text cut for the detector: windows for the heads, and all sentences for the rules."""

    windows: tuple[str, ...]
    sentences: tuple[str, ...]
    asides: tuple[str, ...] = ()
    """Windows that are judged apart, for each is also judged by how far it is from those beside it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is embedded."""
        return self.windows + self.asides


def read_question(text: str) -> Reading:
    """A question in blocks of a few sentences; a short one in single sentences too, so that none hides."""
    plain = undisguised(text)
    blocks, sentences = block_windows(plain)[:MOST_WINDOWS], sentence_windows(plain)
    alone = sentences if len(sentences) <= MOST_ALONE else []
    return Reading(tuple(dict.fromkeys([*blocks, *alone])), (*sentences, plain))


def read_passage(text: str) -> Reading:
    """A passage in sentences, with those that stand in its code."""
    plain = undisguised(text)
    sentences = tuple(sentence_windows(plain)[:MOST_WINDOWS])
    return Reading(sentences, sentences, tuple(said_in_code(plain)[:MOST_WINDOWS]))


class InjectionDetector:
    """Rules on the wording always; the heads where the vectors are those of the model they were made for."""

    def __init__(self, heads: Heads | None) -> None:
        self.heads = heads

    def question(self, reading: Reading, vectors: Mapping[str, Vectors]) -> Verdict:
        """Judge a question; `vectors` holds the unit vector (d,) of each of its windows."""
        if verdict := _by_rule(reading.sentences):
            return verdict
        if not self.heads or not reading.windows:
            return Verdict(False)
        rows = question_rows(reading.windows, _stacked(reading.windows, vectors))
        return _worst(reading.windows, self.heads.question.scores(rows))

    def passage(self, reading: Reading, vectors: Mapping[str, Vectors]) -> Verdict:
        """Judge a passage by its worst sentence; `vectors` as for a question."""
        if verdict := _by_rule(reading.sentences):
            return verdict
        if not self.heads:
            return Verdict(False)
        verdicts = [
            _worst(windows, self.heads.passage.scores(passage_rows(windows, _stacked(windows, vectors))))
            for windows in (reading.windows, reading.asides)
            if windows
        ]
        return max(verdicts, key=lambda verdict: verdict.score, default=Verdict(False))


def encoded(readings: Sequence[Reading], encode: Encode) -> dict[str, Vectors]:
    """The vector of every window of the readings, each text encoded once."""
    texts = list(dict.fromkeys(window for reading in readings for window in reading.texts))
    return dict(zip(texts, encode(texts), strict=True)) if texts else {}


def _stacked(windows: Sequence[str], vectors: Mapping[str, Vectors]) -> Vectors:
    return np.stack([vectors[window] for window in windows])


def _by_rule(sentences: Sequence[str]) -> Verdict | None:
    reasons = (decisive(sentence) for sentence in sentences)
    return next((Verdict(True, reason, np.inf) for reason in reasons if reason), None)


def _worst(windows: Sequence[str], scores: Vectors) -> Verdict:
    worst = int(scores.argmax())
    flagged = bool(scores[worst] > 0)
    return Verdict(flagged, reason_of(windows[worst]) if flagged else "", float(scores[worst]))
