"""The weekly evaluation of retrieval on the real services: what it keeps, shows, and whom it shows it to."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import text

from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem, put
from iotops.provisioning import TenantCredentials, create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.evaluation.evaluate import evaluate_retrieval
from pipelines.evaluation.evaluations_table import week_of
from pipelines.flow_commands import run_flow
from pipelines.knowledge.store import add_documents
from pipelines.lineage.upstream import last_runs
from pipelines.stages import Parameters, run_stage
from tests.waiting import eventually

TENANT, OTHER = Tenant("evaluated"), Tenant("unevaluated")
METHODS = [f"{how}:{name}" for how in ("bm25", "hybrid") for name in ("keywords", "known-item", "tickets")]
PAGES = {
    "e421-vibration.md": ("E421: Vibration high", "E421", "The bearing of the pump is worn. Grease it."),
    "e310-pressure.md": ("E310: Discharge over-pressure", "E310", "The outlet valve is shut. Open it."),
    "e207-belt.md": ("E207: Drive belt slip", "E207", "The belt has stretched. Tighten it."),
}
ROWS = text("SELECT * FROM gold.rag_evaluations ORDER BY method, evaluated_at")
EARLIER = text("""
    INSERT INTO gold.rag_evaluations (tenant_id, evaluated_at, method, snapshot, questions, ndcg_at_10,
        recall_at_10, mrr)
    VALUES (:tenant, :at, 'hybrid:tickets', 'earlier', 2, 1, 1, 1)""")

THUMB = text("""
    INSERT INTO platform.feedback (tenant_id, request_id, subject, thumbs_up, given_at)
    VALUES (:tenant, 'r', :subject, :up, now())""")


@dataclass(frozen=True)
class Evaluated:
    """The tenant after one run of the flow, and the other's database login."""

    counts: dict[str, Any]
    rows: list[Any]
    other: TenantCredentials


def rows(settings: Settings, tenant: Tenant) -> list[Any]:
    with tenant_transaction(engine(settings.database), tenant) as connection:
        return list(connection.execute(ROWS))


@pytest.fixture(scope="module")
def evaluated(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Three articles, a labelled set with one answer wrong on purpose, a broken set, and a better week."""
    create_tenant(settings, TENANT)
    other = create_tenant(settings, OTHER)
    folder: Path = tmp_path_factory.mktemp("shelf")
    for name, (title, code, body) in PAGES.items():
        (folder / name).write_text(
            f'---\ntitle: "{title}"\nerror_codes: [{code}]\n---\n## Remedy for {code}\n\n{body}\n'
        )
    lake = lake_filesystem(settings.lake)
    add_documents(lake, TENANT.id, [folder])
    run_stage("doc-ingestion", settings, TENANT.id, Parameters(), lambda message: None)
    queries = b'{"_id": "1", "text": "the bearing is worn"}\n{"_id": "2", "text": "the bearing is worn"}\n'
    qrels = b"query-id\tcorpus-id\tscore\n1\te421-vibration\t1\n2\te207-belt\t1\n"
    put(lake, f"{TENANT.id}/evaluation/tickets/queries.jsonl", queries)
    put(lake, f"{TENANT.id}/evaluation/tickets/qrels/test.tsv", qrels)
    put(lake, f"{TENANT.id}/evaluation/broken/queries.jsonl", queries)
    last_week = week_of(datetime.now(UTC)) - timedelta(days=1)
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        connection.execute(EARLIER, {"tenant": TENANT.id, "at": last_week})
        for subject, up in (("alice", True), ("bob", False)):
            connection.execute(THUMB, {"tenant": TENANT.id, "subject": subject, "up": up})
    outcome = run_flow("rag-evaluation", TENANT.id)
    return Evaluated(outcome.counts, rows(settings, TENANT), other)


def test_each_method_has_a_row_of_the_index_that_was_searched(
    settings: Settings, evaluated: Evaluated
) -> None:
    new = [row for row in evaluated.rows if row.snapshot != "earlier"]
    assert [row.method for row in new] == METHODS
    (run,) = [run for run in last_runs(settings.database, TENANT) if run.job == "rag-evaluation"]
    assert run.state == "COMPLETE"
    assert [(each.name, each.rows) for each in run.outputs] == [
        ("gold.rag_evaluations", 6), ("gold.answer_ratings", 1)
    ]  # fmt: skip
    (index,) = [each for each in run.inputs if each.name == f"{TENANT.id}/indexes"]
    assert all(index.version in row.snapshot for row in new)
    by_method = {row.method: row for row in new}
    known = by_method["hybrid:known-item"]
    assert (known.questions, known.ndcg_at_10, known.recall_at_10, known.mrr) == (9, 1, 1, 1), (
        "a code, a title and a heading of each page, found first"
    )
    keywords = by_method["hybrid:keywords"]
    assert (keywords.questions, keywords.ndcg_at_10) == (3, 1), "three words of a page find it"
    tickets = by_method["hybrid:tickets"]
    assert (tickets.questions, tickets.recall_at_10) == (2, 1)
    assert 0.5 < tickets.mrr < 1, "the article that was labelled wrongly stands below the right one"


def test_a_fall_and_a_broken_set_are_shown_and_fail_nothing(settings: Settings, evaluated: Evaluated) -> None:
    rated = "1 of 2 thumbs up (50%)"
    kept = "precedents: 0, as they were: broken cannot be used"
    fitted = f"weights as they were; fusion: too few questions; {kept}; reranker: none"
    assert evaluated.counts == {
        "evaluations": 6, "changed": 6, "warnings": 2, "ratings": rated, "fitting": fitted
    }  # fmt: skip
    api, key = settings.prefect.api_url, f"rag-evaluation-{TENANT.id}"
    artifact = httpx.get(f"{api}/artifacts/{key}/latest").json()
    shown = json.loads(artifact["data"])
    assert sorted(row["method"] for row in shown) == METHODS
    (tickets,) = [row for row in shown if row["method"] == "hybrid:tickets"]
    assert tickets["ndcg_before"] == "1.0"
    warned = "nDCG@10 of hybrid:tickets fell from 1.000"
    assert f"**Warning:** {warned}" in artifact["description"]
    assert "evaluation/broken/qrels/test.tsv is missing" in artifact["description"]
    of_the_run = {"flow_run_id": {"any_": [artifact["flow_run_id"]]}, "level": {"ge_": logging.WARNING}}

    def logged() -> bool:  # Prefect's client sends its log in batches
        found = httpx.post(f"{api}/logs/filter", json={"logs": of_the_run}).json()
        return any(entry["message"].startswith(warned) for entry in found)

    eventually(logged)


def test_a_rerun_changes_nothing_and_the_next_week_has_rows_of_its_own(
    settings: Settings, evaluated: Evaluated
) -> None:
    again = run_stage("rag-evaluation", settings, TENANT.id, Parameters(), lambda message: None)
    assert again.counts == {**evaluated.counts, "changed": 0}
    assert rows(settings, TENANT) == evaluated.rows
    report = evaluate_retrieval(settings, TENANT, now=datetime.now(UTC) + timedelta(days=7))
    assert report.changed == 6
    assert not any(each.worse for each in report.evaluations), "as good as the week before"


def test_another_tenant_sees_none_of_it(settings: Settings, evaluated: Evaluated) -> None:
    assert len(evaluated.rows) == 7
    assert rows(settings, OTHER) == []
    login = evaluated.other
    with psycopg.connect(
        host=settings.database.host,
        port=settings.database.port,
        dbname=settings.database.name,
        user=login.database_role,
        password=login.database_password.get_secret_value(),
    ) as analyst:
        assert analyst.execute("SELECT count(*) FROM gold.rag_evaluations").fetchone() == (0,)


def test_a_tenant_without_documents_has_nothing_to_evaluate(settings: Settings, evaluated: Evaluated) -> None:
    found = run_stage("rag-evaluation", settings, OTHER.id, Parameters(), lambda message: None)
    assert found.counts == {"evaluations": 0, "changed": 0, "warnings": 0}
