"""Labelled questions on the real services: one like them finds what answered them, until they are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest

from indexes.hits import documents
from indexes.hybrid import search_all
from iotops.lake import lake_filesystem, put
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.alone import INDEXING, alone
from pipelines.knowledge.enrichment import current_snapshots, indexes_and_vectors
from pipelines.knowledge.store import add_documents
from pipelines.stages import Parameters, run_stage
from tests.waiting import eventually

TENANT = Tenant("precedents")
SYMPTOMS = list(product(
    ("conveyor", "boiler", "elevator", "freezer", "crane", "printer"),
    ("smells of burning", "will not start", "makes a grinding noise", "drips water", "shows a blank screen"),
))  # fmt: skip
ASKED = ("The {} {}.", "Our {} in hall two {} again, why?", "What to do when a {} {}")


def page(number: int) -> str:
    return f"remedies/{number:02}.md"


def run(
    settings: Settings, stage: str, on_progress: Callable[[str], None] = lambda message: None
) -> dict[str, object]:
    return dict(run_stage(stage, settings, TENANT.id, Parameters(), on_progress).counts)


def found(settings: Settings, question: str) -> list[str]:
    snapshots = current_snapshots(settings, TENANT)
    indexes, vectors = indexes_and_vectors(settings, list(snapshots.values()), [question])
    return documents(search_all(indexes, question, vectors[0], 10))


@pytest.fixture(scope="module")
def labelled(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A shelf whose pages do not say which symptom they remedy, two questions for each; the fit's counts."""
    create_tenant(settings, TENANT)
    folder: Path = tmp_path_factory.mktemp("shelf")
    (folder / "remedies").mkdir()
    for number in range(len(SYMPTOMS)):
        (folder / page(number)).write_text(
            f"# Procedure {number:02}\n\nCarry out the steps of sheet {number}.\n"
        )
    lake = lake_filesystem(settings.lake)
    add_documents(lake, TENANT.id, [folder])
    run(settings, "doc-ingestion")
    queries, qrels = [], ["query-id\tcorpus-id\tscore"]
    for number, symptom in enumerate(SYMPTOMS):
        for way, asked in enumerate(ASKED):
            queries.append(json.dumps({"_id": f"{number}-{way}", "text": asked.format(*symptom)}))
            qrels.append(f"{number}-{way}\t{page(number).removesuffix('.md')}\t1")
    put(lake, f"{TENANT.id}/evaluation/tickets/queries.jsonl", "\n".join(queries).encode())
    put(lake, f"{TENANT.id}/evaluation/tickets/qrels/test.tsv", "\n".join(qrels).encode())
    return run(settings, "rag-evaluation")


def test_a_question_in_new_words_finds_what_answered_one_like_it(
    settings: Settings, labelled: dict[str, object]
) -> None:
    assert f"precedents: {len(SYMPTOMS) * len(ASKED)}" in str(labelled["fitting"])
    assert "weights published" in str(labelled["fitting"])
    at = SYMPTOMS.index(("freezer", "drips water"))
    uri = found(settings, "since this morning water drips from the freezer")[0]
    assert uri.endswith(page(at))


def test_they_end_with_their_labels_once_nobody_builds_the_index(
    settings: Settings, labelled: dict[str, object]
) -> None:
    lake_filesystem(settings.lake).delete_dir(TENANT.prefix("evaluation"))
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with alone(settings, INDEXING, TENANT.id, said.append):
            waits = pool.submit(run, settings, "rag-evaluation", said.append)
            eventually(lambda: "waiting for another indexing of precedents" in said or waits.done(), 120)
            assert not waits.done()
        assert "precedents: 0" in str(waits.result(120)["fitting"])
    assert not current_snapshots(settings, TENANT)[TENANT.id].precedents
