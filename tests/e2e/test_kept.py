"""What is kept of each call: its place in the tenant's tier, its row of the audit, its metrics."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from iotops.audit import entries
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from iotops.tiers import load_tiers
from pipelines.demo.run import TENANT
from tests.e2e.asking import ask, bearer
from tests.waiting import eventually

BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def api(settings: Settings, demo: str) -> httpx.Client:
    return httpx.Client(base_url=settings.serve.url, timeout=120)


def test_a_tenant_beyond_its_tier_waits_and_the_others_do_not(api: httpx.Client, settings: Settings):
    thrifty = Tenant("thrifty")
    create_tenant(settings, thrifty, "free")
    limit = load_tiers(settings.configs).limit("free", "search")
    caller, body = bearer(settings, thrifty), {"query": "E421"}
    answers = [api.post("/search", json=body, headers=caller) for _ in range(limit + 1)]
    assert [answer.status_code for answer in answers] == [200] * limit + [429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers[-2:]] == ["0", "0"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert api.post("/search", json=body, headers=bearer(settings)).status_code == 200
    eventually(lambda: len(entries(settings.database, thrifty, BEFORE)) == limit + 1)
    statuses = [each["status"] for each in entries(settings.database, thrifty, BEFORE)]
    assert statuses == [200] * limit + [429]


def test_feedback_is_taken_on_ones_own_answers_which_the_audit_has_with_their_cost(
    api: httpx.Client, settings: Settings
):
    question = {"question": "What does E421 mean on an HX-200 and what should I do first?", "top_k": 7}
    answer = api.post("/ask", json=question, headers=bearer(settings)).json()
    given = {"request_id": answer["request_id"], "rating": "down", "reason": "too long"}
    taken = api.post("/feedback", json=given, headers=bearer(settings))
    assert (taken.status_code, taken.json()) == (200, {"request_id": answer["request_id"], "rating": "down"})
    (row,) = [
        each
        for each in entries(settings.database, TENANT, BEFORE)
        if each["request_id"] == answer["request_id"]
    ]
    assert (row["action"], row["outcome"], row["subject"], row["question"]) == (
        "POST /ask",
        "done",
        "o",
        None,
    )
    assert row["model"] == answer["model"]
    assert row["prompt_tokens"] > row["completion_tokens"] > 0


def test_the_audit_has_the_devices_that_were_read_for_an_answer(api: httpx.Client, settings: Settings):
    answer = ask(api, settings, "Are machine-006 and machine-007 ok?")

    def objects() -> list[str]:
        found = entries(settings.database, TENANT, BEFORE)
        return [each["object"] for each in found if each["request_id"] == answer["request_id"]]

    assert eventually(objects) == ["machine-006 machine-007"]


def test_the_copilots_metrics_are_exported(api: httpx.Client, settings: Settings):
    ask(api, settings, "What does E421 mean on an HX-200?")
    wanted = {
        f"ray_{name}"
        for name in (
            "http_request_duration_seconds_count", "rag_retrieval_latency_seconds_count",
            "rag_empty_results_ratio", "rag_citation_ratio", "llm_ttft_seconds_count",
            "llm_tokens_per_second_count", "llm_cost_per_request_count",
        )
    }  # fmt: skip

    def exported() -> bool:
        text = httpx.get(f"http://127.0.0.1:{settings.stack.ray_metrics_port}/metrics").text
        return wanted <= {line.partition("{")[0] for line in text.splitlines()}

    eventually(exported)
