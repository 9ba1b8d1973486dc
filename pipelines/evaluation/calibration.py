"""A corpus's weights: chosen by questions on half of its documents, kept where they win on the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from indexes.snapshot import Fusion
from pipelines.evaluation.held_out import of_part
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.measures import CERTAINTY, certainty

LEAST_QUESTIONS = 50
"""With fewer, chance chooses the weights."""
ROUNDS = 2
LEAST_GAIN = 0.001
"""Of the mean, for a value to take the place of another: less is noise."""
LEAST_GAIN_KEPT = 0.005
"""On the questions that did not choose: a new index for less is not worth it, nor for what may be chance."""
METHODS = ("min_max", "reciprocal_rank")
WEIGHTS: dict[str, tuple[float, ...]] = {
    "vector": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "code_lift": (0.0, 0.1, 0.2, 0.5, 1.0),
    "precedent": (0.0, 0.2, 0.4, 0.8, 1.2, 2.0),
}
WORDS: dict[str, tuple[float, ...]] = {
    "k1": (0.6, 0.9, 1.2, 1.5, 2.0),
    "b": (0.2, 0.4, 0.6, 0.75),
    "title": (0.5, 1.0, 2.0, 3.0, 5.0),
    "section": (0.5, 1.0, 1.5, 2.5),
    "codes": (1.0, 2.0, 4.0),
}
Gauge = Callable[[Fusion, Sequence[Question]], list[float]]
"""How well each question is answered under the weights, 0 to 1."""


@dataclass(frozen=True)
class Calibration:
    """The weights to use, and the mean of the questions that did not choose them, before and after."""

    fusion: Fusion
    before: float
    after: float

    def __str__(self) -> str:
        kept = "better weights published" if self.after > self.before else "weights kept"
        return f"{kept}: nDCG@10 {self.before:.3f} to {self.after:.3f} on the questions that did not choose"


def calibrated(start: Fusion, questions: Sequence[Question], gauge: Gauge) -> Calibration | None:
    """Better weights than `start`, by coordinate ascent; `start` itself where none wins; None for too few."""
    learn, check = of_part(questions, 0, 0.5), of_part(questions, 0.5, 1)
    if min(len(learn), len(check)) < LEAST_QUESTIONS // 2:
        return None
    best, best_mean = start, fmean(gauge(start, learn))
    for _ in range(ROUNDS):
        held = best
        for change in _changes():
            candidate = change(best)
            mean = best_mean if candidate == best else fmean(gauge(candidate, learn))
            if mean > best_mean + LEAST_GAIN:
                best, best_mean = candidate, mean
        if best == held:
            break
    own, found = gauge(start, check), gauge(best, check)
    before, after = fmean(own), fmean(found)
    wins = after > before + LEAST_GAIN_KEPT and certainty(own, found) >= CERTAINTY
    return Calibration(best, before, after) if wins else Calibration(start, before, before)


def _changes() -> Iterator[Callable[[Fusion], Fusion]]:
    """The method, and each weight set to each of its values, all else as it is; words and vectors share 1."""
    yield from (partial(_fused, method=method) for method in METHODS)
    for name, values in WEIGHTS.items():
        yield from (partial(_weighed, name=name, value=value) for value in values)
    for name, values in WORDS.items():
        yield from (partial(_worded, name=name, value=value) for value in values)


def _fused(fusion: Fusion, method: str) -> Fusion:
    return fusion.model_copy(update={"method": method})


def _weighed(fusion: Fusion, name: str, value: float) -> Fusion:
    rest = {"bm25": round(1 - value, 6)} if name == "vector" else {}
    return fusion.model_copy(update={name: value, **rest})


def _worded(fusion: Fusion, name: str, value: float) -> Fusion:
    return fusion.model_copy(update={"words": fusion.words.model_copy(update={name: value})})
