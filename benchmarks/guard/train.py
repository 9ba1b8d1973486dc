"""`python -m benchmarks.guard.train DIR... --output FILE`: fit the detector's heads, with held-out figures.

Folds never divide a family: in-the-wild attacks are split by cluster of their embeddings, inserted orders by
category, contexts as a whole. Thresholds come from the held-out scores. Templates of this repository are
added.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

import pipelines.demo
from benchmarks.guard.sets import POSITIONS, Example, LabelledSet, insert, read_sets
from benchmarks.guard.templates import generate, load_templates
from indexes.encoder import SentenceEncoder
from indexes.vector import Vectors
from iotops.models import ResolvedModel, resolve_role
from iotops.settings import get_settings
from ray_apps.copilot.guard.detector import Reading, encoded, read_passage
from ray_apps.copilot.guard.heads import CONTEXT_FEATURES, WEIGHTS, Head, Heads, passage_rows, question_rows
from ray_apps.copilot.guard.phrases import FEATURES
from ray_apps.copilot.guard.windows import block_windows, undisguised

FOLDS, CLUSTERS, SEED = 4, 20, 5
HELD_OUT_RECALL = 0.95
"""Of in-the-wild attacks on unseen clusters: sets the threshold of the question head."""
PASSAGE_FALSE_POSITIVES = 0.007
"""Of unseen harmless passages: sets the threshold of the passage head."""
QUESTION_C, QUESTION_SCALE = 1.0, 2.0
PASSAGE_C, PASSAGE_SCALE, CONTEXT_SCALE = 0.3, 3.0, 3.0
RELABELLINGS = 2
LONGEST_QUESTION, LONGEST_ORDER = 24, 250
Rows = NDArray[np.float32]
Numbers = NDArray[Any]
Encode = Callable[[Sequence[str]], Vectors]


def fit(rows: Rows, labels: Numbers, weights: Numbers, scales: Rows, c: float) -> Head:
    """A logistic head; the scales of the features are folded into its weights."""
    model = LogisticRegression(C=c, max_iter=3000).fit(rows * scales, labels, sample_weight=weights)
    return Head((model.coef_[0] * scales).astype(np.float32), float(model.intercept_[0]), 0.0)


def _scales(dimension: int, embedding: float, context: bool) -> Rows:
    parts = [np.full(dimension, embedding), np.ones(FEATURES)]
    parts += [np.full(CONTEXT_FEATURES, CONTEXT_SCALE)] if context else []
    scales: Rows = np.concatenate(parts).astype(np.float32)
    return scales


class QuestionTraining:
    """Attacks whose families are known by clusters, sure attacks, and harmless questions, as rows."""

    def __init__(self, wild: list[str], sure: list[str], harmless: list[str], encode: Encode) -> None:
        self._encode = encode
        self.wild, self.sure, self.harmless = (self.rows(texts) for texts in (wild, sure, harmless))
        self._dimension = self.wild[0].shape[1] - FEATURES
        means = np.stack([each[:, : self._dimension].mean(axis=0) for each in self.wild])
        clusters = KMeans(CLUSTERS, random_state=0, n_init=3).fit_predict(means)
        self.folds: NDArray[np.int64] = clusters % FOLDS

    def rows(self, texts: Sequence[str]) -> list[Rows]:
        """What the head reads of the blocks of each text that has words."""
        cut = [tuple(block_windows(undisguised(text))[:LONGEST_QUESTION]) for text in texts]
        vectors = encoded([Reading(each, ()) for each in cut], self._encode)
        return [question_rows(each, np.stack([vectors[window] for window in each])) for each in cut if each]

    def fit(self, wild: Sequence[int]) -> Head:
        """A head for these in-the-wild attacks.

        Not every block of a long attack is one, so after a first fit each attack counts by the block that
        scores highest (multiple-instance learning, as in mi-SVM; Andrews et al. 2002).
        """
        chosen = [self.wild[number] for number in wild]
        head = self._fit(chosen)
        for _ in range(RELABELLINGS):
            head = self._fit(
                [rows[[int(head.scores(rows).argmax())]] for rows in (self.wild[n] for n in wild)]
            )
        return head

    def _fit(self, attacks: list[Rows]) -> Head:
        parts = [*attacks, *self.sure, *self.harmless]
        labels = np.repeat(
            [True] * (len(attacks) + len(self.sure)) + [False] * len(self.harmless), list(map(len, parts))
        )
        weights = np.concatenate(
            [np.full(len(each), len(each) ** -0.5) for each in attacks]
            + [np.full(len(each), 0.5) for each in self.sure]
            + [np.full(len(each), len(each) ** -0.3) for each in self.harmless]
        )
        scales = _scales(self._dimension, QUESTION_SCALE, context=False)
        return fit(np.vstack(parts), labels, weights, scales, QUESTION_C)

    def held_out(self) -> Rows:
        """The score of each in-the-wild attack by a head that saw none of its cluster."""
        found = np.empty(len(self.wild), np.float32)
        for fold in range(FOLDS):
            head = self.fit(np.flatnonzero(self.folds != fold).tolist())
            for number in np.flatnonzero(self.folds == fold):
                found[number] = head.scores(self.wild[number]).max()
        return found


class PassageTraining:
    """Harmless passages, and orders by family that are inserted into them."""

    def __init__(self, contexts: list[str], orders: list[tuple[str, str]], encode: Encode) -> None:
        self._contexts, self._encode = contexts, encode
        families = sorted({family for family, _ in orders})
        rng = random.Random(SEED)
        rng.shuffle(families)
        self._fold_of = {family: number % FOLDS for number, family in enumerate(families)}
        self._orders = orders
        # In one go: a model reads a thousand texts faster than one a thousand times.
        encoded([read_passage(text) for text in (*contexts, *(order for _, order in orders))], encode)
        self._folds = np.array([number % FOLDS for number in range(len(contexts))])

    def rows(self, text: str) -> tuple[tuple[str, ...], Rows]:
        """A passage's windows and what the head reads of each."""
        reading = read_passage(text)
        vectors = encoded([reading], self._encode)
        if not vectors:
            return (), np.empty((0, 0), np.float32)
        stacked = np.stack([vectors[window] for window in reading.windows])
        return reading.windows, passage_rows(reading.windows, stacked)

    def fit(self, without: int | None = None) -> Head:
        """A head; `without` leaves out a fold of contexts and of families."""
        rng, rows, labels = random.Random(SEED), [], []
        contexts = [text for text, fold in zip(self._contexts, self._folds, strict=True) if fold != without]
        for text in contexts:
            windows, found = self.rows(text)
            if windows:
                rows.append(found)
                labels.append(np.zeros(len(windows)))
        for family, order in self._orders:
            if self._fold_of[family] == without:
                continue
            injected = set(read_passage(order).windows)
            for position in POSITIONS:
                windows, found = self.rows(insert(rng.choice(contexts), order, position, rng))
                label = np.array([window in injected for window in windows], float)
                # Two harmless neighbours each, so that they do not outnumber the order.
                kept = [
                    *np.flatnonzero(label),
                    *rng.sample([*np.flatnonzero(label == 0)], min(2, int((label == 0).sum()))),
                ]
                rows.append(found[kept])
                labels.append(label[kept])
        stacked, target = np.vstack(rows), np.concatenate(labels)
        dimension = stacked.shape[1] - FEATURES - CONTEXT_FEATURES
        scales = _scales(dimension, PASSAGE_SCALE, context=True)
        return fit(stacked, target, np.ones(len(target)), scales, PASSAGE_C)

    def held_out(self) -> tuple[Rows, list[tuple[str, float]]]:
        """Scores of harmless passages, and (family, score) of attacks, by heads that saw neither."""
        harmless, attacks, rng = [], [], random.Random(SEED + 1)
        for fold in range(FOLDS):
            head = self.fit(without=fold)
            contexts = [text for text, own in zip(self._contexts, self._folds, strict=True) if own == fold]
            for text in contexts:
                windows, found = self.rows(text)
                harmless.append(float(head.scores(found).max()) if windows else -np.inf)
            for family, order in self._orders:
                if self._fold_of[family] == fold:
                    text = insert(rng.choice(contexts), order, rng.choice(POSITIONS), rng)
                    attacks.append((family, float(head.scores(self.rows(text)[1]).max())))
        return np.array(harmless, np.float32), attacks


def train(sets: Sequence[LabelledSet], encode: Encode, model: ResolvedModel) -> Heads:
    """Both heads, with their held-out figures in `trained_on`."""
    templates, rng = load_templates(), random.Random(SEED)
    examples = [(each.channel, example) for each in sets for example in each.examples]

    def of(channel: str, attack: bool) -> list[Example]:
        return [example for own, example in examples if own == channel and example.attack == attack]

    inserted = {example.order: example.family for example in of("passage", True)}
    code = [order for order in inserted if "```" in order]
    contexts = list(dict.fromkeys(example.text for example in of("passage", False)))
    harmless = [text for kind, each in _HARMLESS for _, text in generate(templates, kind, each, rng)]
    short = [
        text
        for kind in ("requests", "documents", "operations_questions")
        for _, text in generate(templates, kind, 6, rng)
    ]
    harmless += [" ".join(rng.sample(short, rng.randint(3, 7))) for _ in range(150)]
    harmless += [example.text for example in of("question", False)] + contexts[:MOST_CONTEXTS]
    questions = QuestionTraining(
        [example.text for example in of("question", True)],
        [text for _, text in generate(templates, "question_attacks", 12, rng)] + code,
        harmless,
        encode,
    )
    wild = questions.held_out()
    question = questions.fit(range(len(wild)))
    threshold = float(np.quantile(wild, 1 - HELD_OUT_RECALL))
    question = Head(question.weights, question.bias, threshold)

    made = [text for _, text in generate(templates, "documents", 1, rng)]
    contexts += ["\n".join(rng.sample(made, rng.randint(3, 8))) for _ in range(150)]
    rng.shuffle(contexts)
    tasks = [example.text for example in of("question", False) if example.family == "instruction"]
    orders = [(family, order) for order, family in inserted.items()]
    orders += [
        (f"template {family}", text)
        for kind, each in _ORDERS
        for family, text in generate(templates, kind, each, rng)
    ]
    orders += [("task", text) for text in tasks if len(text) < LONGEST_ORDER]
    passages = PassageTraining(contexts, orders, encode)
    quiet, attacks = passages.held_out()
    cut = float(np.quantile(quiet, 1 - PASSAGE_FALSE_POSITIVES))
    passage = passages.fit()
    passage = Head(passage.weights, passage.bias, cut)
    families = sorted({family for family, _ in attacks})
    held_out = {
        "question": {"in_the_wild_recall": float((wild > threshold).mean())},
        "passage": {
            "false_positives": float((quiet > cut).mean()),
            "recall": float(np.mean([score > cut for _, score in attacks])),
            "recall_by_family": {
                family: float(np.mean([score > cut for own, score in attacks if own == family]))
                for family in families
            },
        },
    }
    about: dict[str, Any] = {"sets": {each.name: len(each.examples) for each in sets}, "held_out": held_out}
    return Heads(question, passage, model.name, model.checksum, about)


DEMO_DOCUMENTS = Path(pipelines.demo.__file__).parent / "documents"
MOST_CONTEXTS = TRAINING_CHUNKS = 600
_HARMLESS = (
    ("requests", 8), ("trigger_requests", 20), ("operations_questions", 15), ("documents", 8), ("scenes", 12),
)  # fmt: skip
_ORDERS = (("passage_attacks", 6), ("requests", 3), ("question_attacks", 2))


def main() -> None:
    """Fit, print what the held-out folds gave, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard.train")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="sets to learn from")
    parser.add_argument("--output", type=Path, default=WEIGHTS, metavar="FILE", help="where the weights go")
    options = parser.parse_args()
    folders = [*options.folders, DEMO_DOCUMENTS]
    sets = [each for folder in folders for each in read_sets(folder, chunks=TRAINING_CHUNKS)]
    encoder = SentenceEncoder(resolve_role(get_settings(), "embedder"))
    known: dict[str, Vectors] = {}

    def encode(texts: Sequence[str]) -> Vectors:
        new = [text for text in texts if text not in known]
        known.update(zip(new, encoder.encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    heads = train(sets, encode, encoder.model)
    heads.save(options.output)
    for channel, figures in heads.trained_on["held_out"].items():
        for name, value in figures.items():
            print(f"{channel} {name}: {value}")


if __name__ == "__main__":
    main()
