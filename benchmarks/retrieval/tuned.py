"""A reranker tuned on a corpus's training split, as `iotops models tune-reranker` does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.retrieval.systems import FITTED, System
from indexes.cross_encoder import RelevanceScorer
from indexes.encoder import SentenceEncoder
from indexes.hybrid import HybridIndex
from indexes.snapshot import Fusion, Snapshot
from indexes.vector import Vectors
from iotops.models import ResolvedModel
from pipelines.evaluation.held_out import of_part
from pipelines.evaluation.known_items import Question
from pipelines.evaluation.reranking import Verdict, judge
from pipelines.evaluation.weights import precedents_of
from pipelines.tuning.examples import asked_of, of_labels, of_shelf
from pipelines.tuning.training import Course, train
from pipelines.tuning.tune import HALVED, LEARN, standing


def tuned(
    snapshot: Snapshot,
    questions: list[Question],
    encoder: SentenceEncoder,
    fusion: Fusion,
    folder: Path,
    on_progress: Callable[[str], None],
) -> tuple[System, Verdict]:
    """The hybrid with a reranker that is trained into `folder`, unless an earlier run left it there, and how
    it was judged.

    It learns from some of the documents and the training questions about them; its weight is chosen by
    questions about the others. The split that is measured is not looked at.
    """
    index = HybridIndex(snapshot)
    if not (folder / "config.json").is_file():
        asked = asked_of(standing(snapshot.chunks, 0, LEARN))
        learned = of_part(questions, 0, LEARN)
        vectors = _encoded(encoder, [each.text for each in learned] + [each.question for each in asked])
        labels, made = list(of_labels([index], learned, vectors)), list(of_shelf([index], asked, vectors))
        for share, loss in train(encoder.model.path, made, labels, folder, Course()):
            told = f"{len(made):,} made and {len(labels):,} labelled examples"
            on_progress(f"training on {told}: {share:.0%}, loss {loss:.3f}")
    model = ResolvedModel(name="tuned", path=folder, source="training", revision="", checksum="")
    scorer = RelevanceScorer(model)
    one, other = of_part(questions, LEARN, HALVED), of_part(questions, HALVED, 1)
    vectors = _encoded(encoder, [question.text for question in questions])
    precedents = precedents_of(questions, vectors)
    verdict = judge([index], one, other, vectors, scorer, fusion, precedents, on_progress)
    name = f"{FITTED} + tuned x {verdict.weight}"
    return System(name, fusion, True, scorer, verdict.weight, precedents), verdict


def _encoded(encoder: SentenceEncoder, texts: list[str]) -> Mapping[str, Vectors]:
    return dict(zip(texts, encoder.encode(texts), strict=True))
