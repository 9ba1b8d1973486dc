"""Writing an answer sentence by sentence, each with the marker of the source that supports it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from ray_apps.copilot.answer import compose
from ray_apps.copilot.answer.compose import Sentence
from ray_apps.copilot.answer.grounding import Support
from ray_apps.copilot.contracts import Citation, Token
from ray_apps.copilot.events import Tell
from ray_apps.copilot.evidence import evidence
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.passages import Quote
from ray_apps.copilot.language.text import plain

NEAREST = 3
BRACKETED = re.compile(r"\[(\d+)\]")
"""What would be read as a marker: a document's own notes, or those of the language model."""


class Writer:
    """Takes sentences until `room` of them are taken, then the steps of its `guide`; tells each as it writes.

    A sentence that repeats an earlier one is not taken. One that a step says is taken, and written there.
    Where the question is what to do, an item of a numbered list is not taken before those above it.
    Whatever is written, quotes too, goes through `clean`, which takes out what no answer may carry, and a
    `[2]` of its own becomes `(2)`: each marker in an answer is that of a source.
    """

    def __init__(
        self, found: Evidence, room: int, action: bool, clean: Callable[[str], str], tell: Tell
    ) -> None:
        """`action`: whether the question is what to do."""
        self._found, self._action, self._clean, self._tell = found, action, clean, tell
        self.room, self.guide = room, list[Quote]()
        self._taken: list[Sentence] = []
        self._markers: dict[Quote, str] = {}
        self.text = ""
        self.citations: list[Citation] = []
        self.drafted = False
        """Whether a sentence of the language model's stands in the answer; else all are the sources' own."""

    @property
    def full(self) -> bool:
        """Whether no sentence is taken any more."""
        return len(self._taken) >= self.room

    def sentence(self, sentence: Sentence) -> None:
        """Write a sentence of the language model's that its support bears."""
        self.drafted |= self._take(sentence)

    def quote(self, supports: Iterable[Support]) -> None:
        """Write the sources' own sentences."""
        for support in supports:
            self._take(compose.quoted(support, self._found.sources))

    def steps(self) -> None:
        """Write the steps of the guide, numbered, each on a line of its own."""
        for number, step in enumerate(self.guide, start=1):
            self._write("\n", f"{number}. {plain(step.text)}", step, 1.0)

    def unknown(self, text: str) -> None:
        """Write that there is no answer, and cite the sentences that came nearest to one."""
        self.text = text
        self.citations = [evidence.cleaned(citation, self._clean) for citation in _nearest(self._found)]
        self._tell(Token(text=text))
        for citation in self.citations:
            self._tell(citation)

    def _take(self, sentence: Sentence) -> bool:
        """Whether the sentence stands in the answer by itself now."""
        if self.full or compose.repeats(sentence, self._taken, self._found.vectors, self._found.sources):
            return False
        quote = self._found.sources[sentence.support.quote]
        guided = any(step.contains(quote) for step in self.guide)
        if self._action and not guided and self._skips(quote):
            return False
        self._taken.append(sentence)
        if guided:
            return False
        self._write(" ", sentence.text, quote, sentence.support.score)
        return True

    def _skips(self, quote: Quote) -> bool:
        """Whether an item before the quote's in its numbered list is not told."""
        told = [self._found.sources[each.support.quote] for each in self._taken]
        told = [each for each in told if each.passage == quote.passage]
        return not all(
            any(start <= each.start < end for each in told)
            for start, end in compose.items_before(quote, self._found.passages)
        )

    def _write(self, separator: str, text: str, quote: Quote, score: float) -> None:
        if quote not in self._markers:
            self._markers[quote] = f"[{len(self._markers) + 1}]"
            cited = evidence.citation(self._found.passages, quote, self._markers[quote], score)
            self.citations.append(evidence.cleaned(cited, self._clean))
            self._tell(self.citations[-1])
        told = BRACKETED.sub(r"(\1)", self._clean(text))
        piece = f"{separator if self.text else ''}{told} {self._markers[quote]}"
        self.text += piece
        self._tell(Token(text=piece))


def _nearest(found: Evidence) -> list[Citation]:
    """The best sentence of each of the nearest passages."""
    best: dict[int, tuple[Quote, float]] = {}
    for number in np.argsort(-found.cosines):
        quote = found.sources[number]
        best.setdefault(quote.passage, (quote, float(found.cosines[number])))
    nearest = list(best.values())[:NEAREST]
    return [
        evidence.citation(found.passages, quote, f"[{number}]", score)
        for number, (quote, score) in enumerate(nearest, start=1)
    ]
