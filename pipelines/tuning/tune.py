"""A cross-encoder for a tenant's own shelf: trained on one part of its documents, judged on the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from indexes.cross_encoder import RelevanceScorer
from indexes.hybrid import HybridIndex
from indexes.tuned import keep
from indexes.vector import Vectors
from iotops.errors import IotOpsError, ModelError
from iotops.lake import lake_filesystem
from iotops.models import ResolvedModel, resolve_role
from iotops.models.weights import models_folder, weights_checksum
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import INDEXING, alone
from pipelines.evaluation.calibration import LEAST_QUESTIONS
from pipelines.evaluation.fitting import labelled_questions
from pipelines.evaluation.held_out import of_part, place
from pipelines.evaluation.keywords import keyword_searches
from pipelines.evaluation.known_items import Question, known_items
from pipelines.evaluation.reranking import Verdict, judge
from pipelines.evaluation.weights import reranker_of
from pipelines.knowledge.build import calibrate
from pipelines.knowledge.enrichment import current_snapshots, indexes_and_vectors
from pipelines.tuning.examples import asked_of, of_labels, of_shelf
from pipelines.tuning.questions import generated, leading_back
from pipelines.tuning.training import Course, Example, train

LEARN, HALVED = 0.7, 0.85
"""Documents that stand before the first are learned from; questions on those up to the second and on those
after it are the halves that choose the reranker's weight for each other and say whether it wins."""
LEAST_EXAMPLES = 50
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tuning:
    """What came of it."""

    examples: int
    labelled: int
    """Of the examples, those of labelled questions."""
    verdict: Verdict
    current: Verdict | None
    """What reranks the tenant's searches now, judged by the same questions; None where nothing does."""
    snapshot_id: str = ""
    """The index that has it switched on; empty where it does not win."""

    def __str__(self) -> str:
        state = f"switched on in {self.snapshot_id}" if self.snapshot_id else "not switched on"
        return f"{state}: {self.verdict}" + (f"; the one in use: {self.current}" if self.current else "")


def tune(settings: Settings, tenant: Tenant, course: Course, on_progress: Progress) -> Tuning:
    """Train a reranker from the model that is there, and switch it on where it wins on held-out documents.

    Raises `IotOpsError` where the shelf is too small to learn from and to judge by.
    """
    snapshots = current_snapshots(settings, tenant)
    if tenant.id not in snapshots:
        raise IotOpsError(f"{tenant.id} has no index: `iotops docs add PATH --tenant {tenant.id}`")
    own = snapshots[tenant.id].searched
    labelled, _ = labelled_questions(settings, tenant, list(snapshots.values()))
    learned = standing(own, 0, LEARN)
    one, other = held_out(own, labelled)
    written, asked = generated(learned), asked_of(learned)
    on_progress(
        f"{len(labelled)} labelled questions, {len(asked)} made from the documents, "
        f"{len(written)} by the language model"
    )
    questions = [*labelled, *one, *other]
    texts = [question.text for question in questions] + [each.question for each in (*asked, *written)]
    indexes, encoded = indexes_and_vectors(settings, list(snapshots.values()), texts)
    vectors = dict(zip(texts, encoded, strict=True))
    learn = of_part(labelled, 0, LEARN)
    of_questions = list(of_labels(indexes, learn, vectors))
    asked += leading_back(indexes, written, vectors)
    made = list(of_shelf(indexes, asked, vectors))
    examples = len(of_questions) + len(made)
    if examples < LEAST_EXAMPLES:
        raise IotOpsError(f"{tenant.id}'s shelf gives {examples} examples; {LEAST_EXAMPLES} are needed")
    with tempfile.TemporaryDirectory(prefix="reranker-") as folder:
        output = Path(folder) / "model"
        _train(settings, made, of_questions, output, course, on_progress)
        on_progress("judging it on documents that it has not seen")
        scorer = RelevanceScorer(_resolved(settings, output, tenant))
        verdict = judge(indexes, one, other, vectors, scorer, on_progress=on_progress)
        current = _judged_now(settings, tenant, indexes, (one, other), vectors, on_progress)
        tuning = Tuning(examples, len(of_questions), verdict, current)
        if not verdict.wins or (current and current.wins and current.after >= verdict.after):
            return tuning
        lake, cache = lake_filesystem(settings.lake), settings.home / "index-cache"
        name = keep(lake, tenant.id, output)
    with alone(settings, INDEXING, tenant.id, on_progress):
        manifest = calibrate(lake, tenant.id, cache, reranker_weight=verdict.weight, reranker=name)
    return Tuning(examples, len(of_questions), verdict, current, manifest.snapshot_id)


def standing(chunks: pa.Table, start: float, end: float) -> pa.Table:
    """The chunks of documents in a part."""
    return chunks.filter(pa.array(start <= place(uri) < end for uri in chunks["uri"].to_pylist()))


def held_out(chunks: pa.Table, labelled: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Two halves of questions to judge by: labelled ones, or else made from the documents."""
    least = LEAST_QUESTIONS // 2
    for questions in (labelled, [*known_items(chunks), *keyword_searches(chunks)]):
        one, other = of_part(questions, LEARN, HALVED), of_part(questions, HALVED, 1)
        if min(len(one), len(other)) >= least:
            return one, other
    raise IotOpsError(
        f"the shelf is too small to judge a reranker by: its held-out documents answer {len(one)} and "
        f"{len(other)} questions, {least} of each are needed. Add documents, or labelled questions: "
        "`iotops eval add`"
    )


def _train(
    settings: Settings,
    made: Sequence[Example],
    labelled: Sequence[Example],
    output: Path,
    course: Course,
    on_progress: Progress,
) -> None:
    try:
        base = resolve_role(settings, "reranker")
    except ModelError:
        base = resolve_role(settings, "embedder")
    on_progress(f"training from {base.name} on {len(made)} made and {len(labelled)} labelled examples")
    for share, loss in train(base.path, made, labelled, output, course):
        on_progress(f"trained {share:.0%}, loss {loss:.3f}")


def _resolved(settings: Settings, folder: Path, tenant: Tenant) -> ResolvedModel:
    checksum = weights_checksum(folder, models_folder(settings))
    return ResolvedModel(
        name=f"tuned on {tenant.id}", path=folder, source="training", revision="", checksum=checksum
    )


def _judged_now(
    settings: Settings,
    tenant: Tenant,
    indexes: Sequence[HybridIndex],
    questions: tuple[list[Question], list[Question]],
    vectors: Mapping[str, Vectors],
    on_progress: Progress,
) -> Verdict | None:
    scorer = reranker_of(settings, tenant.id, indexes[0].snapshot.manifest)
    return judge(indexes, *questions, vectors, scorer, on_progress=on_progress) if scorer else None
