"""The served graph, asked over HTTP as an operator would."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve
from sqlalchemy import text
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from indexes.tuned import keep
from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.provisioning import create_tenant
from iotops.ray_cluster import connect
from iotops.serving import COPILOT, LANGUAGE_MODEL
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import DOCUMENTS, TENANT
from pipelines.knowledge.build import calibrate
from pipelines.knowledge.enrichment import current_snapshots
from pipelines.knowledge.shelf import index_shelf
from pipelines.knowledge.store import add_documents
from pipelines.tuning.questions import generated
from ray_apps.chat import Messages, RequestRefused, ServedModel
from ray_apps.copilot.evidence.devices import Scope
from ray_apps.copilot.evidence.tools import schemas
from tests.e2e.asking import ask, bearer
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def api(settings: Settings, demo: str) -> httpx.Client:
    return httpx.Client(base_url=settings.serve.url, timeout=120)


@pytest.fixture(scope="module")
def tuned(settings: Settings, demo: str) -> Tenant:
    """A tenant with the demo's documents."""
    tenant = Tenant("tuned")
    create_tenant(settings, tenant)
    add_documents(lake_filesystem(settings.lake), tenant.id, [DOCUMENTS])
    index_shelf(settings, tenant.id)
    return tenant


def test_the_demo_shows_its_fleet_and_its_answers(demo: str):
    assert "The five worst machines" in demo
    assert "16,800 readings" in demo


def test_an_error_code_is_answered_from_its_runbook_with_exact_spans(api: httpx.Client, settings: Settings):
    answer = ask(api, settings, "What does E421 mean on an HX-200 and what should I do first?")
    assert answer["grounded"]
    assert answer["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert any(citation["doc_id"].startswith("e421") for citation in answer["citations"])
    assert "1." in answer["answer"]
    for citation in answer["citations"]:
        source = (DOCUMENTS / citation["uri"].rpartition("/documents/")[2]).read_text()
        assert source[citation["start"] : citation["end"]] == citation["quote"]
        assert citation["marker"] in answer["answer"]


def test_a_machine_is_answered_from_its_records_and_the_documents(api: httpx.Client, settings: Settings):
    worst = api.get("/insights", headers=bearer(settings)).json()["devices"][0]
    answer = ask(api, settings, f"What is wrong with {worst['device_id']} and what should I do?")
    assert f"{worst['score']:.0f} of 100" in answer["answer"]
    assert {tool["name"] for tool in answer["tools"]} == {"get_device_metrics", "get_incident_history"}
    uris = {citation["uri"] for citation in answer["citations"]}
    assert f"/insights/{worst['device_id']}" in uris
    assert any(uri.startswith("lake://demo/documents/") for uri in uris)


def test_a_time_and_a_metric_of_the_question_are_looked_up(api: httpx.Client, settings: Settings):
    worst = api.get("/insights", headers=bearer(settings)).json()["devices"][0]["device_id"]
    events = api.get(f"/insights/{worst}", headers=bearer(settings)).json()["events"]
    last = max(datetime.fromisoformat(event["ts"]) for event in events if event["error_code"])
    answer = ask(api, settings, f"Which errors did {worst} report on {last:%Y-%m-%d}?")
    assert f"The error codes of {worst} from {last:%Y-%m-%d} 00:00 to " in answer["answer"]
    (history,) = [tool for tool in answer["tools"] if tool["name"] == "get_incident_history"]
    assert history["arguments"]["since"].startswith(f"{last:%Y-%m-%d}T00:00")
    assert {event["ts"][:10] for event in history["result"]["events"]} == {f"{last:%Y-%m-%d}"}
    none = ask(api, settings, f"Which errors did {worst} report on 2020-02-03?")
    assert f"No error code was reported by {worst} from 2020-02-03 00:00" in none["answer"]
    assert (
        f"The latest vibration of {worst} is "
        in ask(api, settings, f"How high is the vibration of {worst}?")["answer"]
    )


def test_errors_of_the_whole_fleet_are_its_incidents(api: httpx.Client, settings: Settings, tuned: Tenant):
    answer = ask(api, settings, "Which machines reported errors?")
    (history,) = [tool for tool in answer["tools"] if tool["name"] == "get_incident_history"]
    assert history["arguments"] == {}
    assert len({event["device_id"] for event in history["result"]["events"]}) > 1
    assert "fleet:incidents" in {citation["doc_id"] for citation in answer["citations"]}
    for tool in ask(api, settings, "Which machines reported errors?", tuned)["tools"]:
        nothing = {"codes": [], "events": [], "alerts": [], "open_alerts": 0}
        assert tool["result"] == {**asdict(Scope([])), **nothing}


def test_what_happened_is_answered_whatever_words_ask_for_it(api: httpx.Client, settings: Settings):
    answer = ask(api, settings, "Which errors happened in the last 48 hours?")
    assert answer["grounded"], answer["answer"]
    assert answer["citations"][0]["doc_id"] == "fleet:incidents"


def test_a_code_is_traced_to_the_machines_that_reported_it(api: httpx.Client, settings: Settings):
    (history,) = ask(api, settings, "Which machines reported errors?")["tools"]
    latest = history["result"]["events"][0]
    answer = ask(api, settings, f"Which machine had {latest['error_code']}?")
    assert latest["device_id"] in answer["answer"]
    others = {code["error_code"] for code in history["result"]["codes"]} - {latest["error_code"]}
    assert others
    assert not any(code in answer["answer"] for code in others)
    assert ask(api, settings, "Which machine had E998?")["answer"].startswith(
        "No E998 was reported by the fleet from "
    )
    assert "get_fleet_health" not in {tool["name"] for tool in answer["tools"]}


def test_documents_about_an_error_code_are_a_tool_that_is_reported(api: httpx.Client, settings: Settings):
    (tool,) = ask(api, settings, "What does E421 mean on the HX-450?")["tools"]
    assert (tool["name"], tool["arguments"]) == ("fetch_related_docs", {"error_code": "E421"})
    assert any(found["title"].startswith("E421") for found in tool["result"]["documents"])


@pytest.mark.parametrize(
    "question",
    [
        "How long is the warranty of the CR-310?",
        "What does error E999 mean?",
        "What is the price of a spare bearing for the HX-450?",
        "Who is the president of France?",
        "What does E421 mean on an HX-900?",
    ],
)
def test_what_the_sources_do_not_hold_is_not_known(api: httpx.Client, settings: Settings, question: str):
    answer = ask(api, settings, question)
    assert not answer["grounded"]
    assert answer["answer"].startswith("I don't know")


def test_causes_are_found_though_they_do_not_spell_the_machine(api: httpx.Client, settings: Settings):
    answer = ask(api, settings, "What causes high vibration on the HX-200?")
    assert answer["grounded"]
    assert any("Likely causes" in citation["section"] for citation in answer["citations"])


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("Is {} ok?", r"The health score of {} \("),
        ("Why is {} so unhealthy?", r"The health score of {} \("),
        ("Give me a summary of {}", r"The health score of {} \("),
        ("How is the fleet doing?", r"Health scores of \d+ devices on [\d-]+: \d+ below 40 of 100, "),
        ("What needs my attention right now?", r"Health scores of \d+ devices on [\d-]+: "),
        ("Which alerts are open?", r"\d+ alerts of the fleet are open\."),
        ("How many machines have a health below 101?", r"(\d+) of \1 devices have a health score below 101 "),
        (
            "Which machines had errors but no alerts?",
            r"(\d+|None) of .*devices reported .* no open alert[:.]",
        ),
        ("How many HX-450s are critical?", r"Health scores of \d+ HX-450 devices on [\d-]+: "),
        ("Are there open alerts on the HX-450s?", r"(\d+|No) alerts? of the HX-450 devices (is|are) open\."),
    ],
)
def test_how_things_are_is_told_by_records_in_whatever_words(
    api: httpx.Client, settings: Settings, question: str, opening: str
):
    worst = api.get("/insights", headers=bearer(settings)).json()["devices"][0]["device_id"]
    answer = ask(api, settings, question.format(worst))
    assert re.match(opening.format(worst), answer["answer"]), answer["answer"]
    documents = [cited["quote"] for cited in answer["citations"] if cited["uri"].startswith("lake://")]
    assert not answer["extractive"] or all(" means " in quote for quote in documents), documents


def test_the_fleet_is_answered_from_gold(api: httpx.Client, settings: Settings):
    answer = ask(api, settings, "Which machines have the worst health?")
    assert answer["grounded"]
    assert [tool["name"] for tool in answer["tools"]] == ["get_fleet_health"]
    of_model = ask(api, settings, "Which HX-450 machines are the least healthy?")
    told = of_model["answer"]
    assert re.match(r"Health scores of \d+ HX-450 devices on [\d-]+: ", told), told
    assert {row["model"] for row in of_model["tools"][0]["result"]["worst"]} == {"HX-450"}
    errors = ask(api, settings, "Which HX-450 machines reported errors?")
    assert re.search(r"latest \d+ error events of the HX-450 devices", errors["answer"]), errors["answer"]
    assert errors["tools"][0]["result"]["models"] == ["HX-450"]


def test_the_same_question_is_answered_from_the_cache(api: httpx.Client, settings: Settings):
    question = "When is E310 raised on the CR-110?"
    first, second = ask(api, settings, question), ask(api, settings, question)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["answer"] == second["answer"]
    assert first["request_id"] != second["request_id"]


def test_new_device_data_makes_anew_only_what_it_could_change(api: httpx.Client, settings: Settings):
    documents, records = "When is E310 raised on the CR-110 at all?", "How is the health of machine-010?"
    for question in (documents, records):
        ask(api, settings, question)
    assert [ask(api, settings, question)["cached"] for question in (documents, records)] == [True, True]
    with tenant_transaction(engine(settings.database), TENANT) as connection:
        connection.execute(text("UPDATE gold.device_health SET computed_at = now()"))
    assert [ask(api, settings, question)["cached"] for question in (documents, records)] == [True, False]


def test_search_ranks_without_a_reranker_and_says_so(api: httpx.Client, settings: Settings):
    found = api.post("/search", json={"query": "E313 seal leak", "top_k": 5}, headers=bearer(settings)).json()
    assert found["hits"][0]["doc_id"].startswith("e313")
    assert found["timings_ms"]["rerank"] == "unavailable"
    assert found["hits"][0]["scores"]["rerank"] is None
    parts = api.get("/readyz").json()["parts"]
    assert parts["reranker"]["available"] is False
    assert parts["embedder"]["checksum"]
    assert parts["llm"]["name"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert parts["llm"]["circuits"] == {parts["llm"]["name"]: "closed"}


def test_the_served_model_makes_questions_to_learn_from(settings: Settings, tuned: Tenant):
    chunks = current_snapshots(settings, tuned)[tuned.id].searched.slice(0, 8)
    connect(settings.ray)
    asked = generated(chunks)
    assert asked
    assert {each.uri for each in asked} <= {*chunks["uri"].to_pylist()}
    assert all(each.question.endswith("?") for each in asked)


def test_what_the_served_model_refuses_is_the_requests_own_fault(settings: Settings, demo: str):
    connect(settings.ray)
    served = ServedModel("served", serve.get_deployment_handle(LANGUAGE_MODEL, COPILOT))
    too_long: Messages = [{"role": "user", "content": "pump " * 9000}]

    async def read() -> None:
        async for _ in served.pieces(too_long, 9):
            pass

    with pytest.raises(RequestRefused, match="4096"):
        asyncio.run(read())
    with pytest.raises(RequestRefused):  # it has no parser of tool calls
        asyncio.run(served.propose([{"role": "user", "content": "pump"}], schemas(), 9))


def test_a_tuned_reranker_reorders_its_own_tenants_hits_alone(
    api: httpx.Client, settings: Settings, tuned: Tenant, tmp_path: Path
):
    """Trained on nothing, its head is random: what is shown is that it is used, and by whom."""
    lake, cache = lake_filesystem(settings.lake), settings.home / "index-cache"
    base = resolve_role(settings, "embedder").path
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    calibrate(lake, tuned.id, cache, reranker_weight=1, reranker=keep(lake, tuned.id, tmp_path))

    def hits(tenant: Tenant) -> list[dict[str, Any]]:
        body = {"query": "E313 seal leak", "top_k": 5}
        found: dict[str, Any] = api.post("/search", json=body, headers=bearer(settings, tenant)).json()
        return list(found["hits"])

    eventually(lambda: hits(tuned)[0]["scores"]["rerank"] is not None)
    with ThreadPoolExecutor() as pool:
        several = list(pool.map(lambda _: hits(tuned), range(8)))
    assert all(hit["scores"]["rerank"] is not None for hit in several[0])
    orders = {tuple(hit["chunk_id"] for hit in each) for each in several}
    assert len(orders) == 1, "together as each alone"
    assert hits(TENANT)[0]["scores"]["rerank"] is None


def test_insights_explain_a_score(api: httpx.Client, settings: Settings):
    worst = api.get("/insights", headers=bearer(settings)).json()["devices"][0]
    found = api.get(f"/insights/{worst['device_id']}", headers=bearer(settings)).json()
    assert found["score"] == pytest.approx(worst["score"])
    assert found["trend"]
    assert found["events"]
    assert found["actions"]
    runbooks = {action["rule"]: action["runbook"] for action in found["actions"]}
    for runbook in filter(None, runbooks.values()):
        source = (DOCUMENTS / runbook["uri"].rpartition("/documents/")[2]).read_text()
        assert source[runbook["start"] : runbook["end"]] == runbook["quote"]
    last = next(event["error_code"] for event in found["events"] if event["error_code"])
    assert runbooks["errors-recent"]["title"].startswith(last)
    assert runbooks["service-due"]["title"] == f"{found['model']} maintenance schedule"
    assert runbooks["slow-drift"] is None
    penalties = sum(component["penalty"] for component in found["components"])
    assert found["score"] == pytest.approx(max(0, 100 - penalties), abs=0.5)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"question": ""}, "invalid_request"),
        ({"question": "x" * 5000}, "invalid_request"),
        ({"question": "What does E421 mean?", "device_id": "../etc"}, "invalid_request"),
        ({"question": "What does E421 mean?", "surprise": 1}, "invalid_request"),
    ],
)
def test_bad_questions_are_refused_by_name(
    api: httpx.Client, settings: Settings, body: dict[str, Any], code: str
):
    response = api.post("/ask", json=body, headers=bearer(settings))
    assert response.status_code == 422
    assert response.json()["error"]["code"] == code


def test_an_oversized_batch_is_refused_before_it_is_read(api: httpx.Client, settings: Settings):
    body = b"x" * (settings.ingest.max_body_bytes + 1)
    response = api.post("/v1/telemetry", content=body, headers=bearer(settings, role="device"))
    assert response.status_code == 413
