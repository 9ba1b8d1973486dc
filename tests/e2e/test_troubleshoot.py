"""Troubleshooting over HTTP: a guide from records and documents, and gone on with."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from iotops.auth import issue_token
from iotops.commands.copilot import events
from iotops.settings import Settings
from pipelines.demo.run import DOCUMENTS, TENANT


@pytest.fixture
def api(settings: Settings, demo: str) -> httpx.Client:
    token = issue_token(settings.auth, TENANT, "o", "operator")
    return httpx.Client(base_url=settings.serve.url, timeout=60, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def guide(api: httpx.Client) -> dict[str, Any]:
    worst = api.get("/insights").json()["devices"][0]["device_id"]
    body = {"device_id": worst, "error_code": "E421", "symptom": "it vibrates"}
    answer = api.post("/troubleshoot", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_guide_is_made_of_records_and_documents_and_goes_on(api: httpx.Client, guide: dict[str, Any]):
    assert "failed" in {check["status"] for check in guide["checks"]}
    assert guide["likely_causes"][0]["cause"].startswith("E421")
    first = next(step for step in guide["steps"] if step["number"] == guide["next_step"])
    for citation in first["citations"]:
        source = (DOCUMENTS / citation["uri"].rpartition("/documents/")[2]).read_text()
        assert source[citation["start"] : citation["end"]] == citation["quote"]
    steps = f"/troubleshoot/{guide['id']}/steps"
    after = api.post(f"{steps}/{guide['next_step']}", json={"outcome": "no_effect", "note": "same"}).json()
    assert after["next_step"] == guide["next_step"] + 1
    assert api.get(f"/troubleshoot/{guide['id']}").json() == after
    solved = api.post(f"{steps}/{after['next_step']}", json={"outcome": "solved"}).json()
    assert (solved["state"], solved["next_step"]) == ("solved", None)


def test_of_two_who_saw_the_same_guide_the_second_overwrites_nothing(
    api: httpx.Client, guide: dict[str, Any]
):
    steps = f"/troubleshoot/{guide['id']}/steps"

    def report(number: int, outcome: str, seen: dict[str, Any]) -> httpx.Response:
        return api.post(f"{steps}/{number}", json={"outcome": outcome, "version": seen["version"]})

    first = report(1, "done", guide)
    assert (first.status_code, first.json()["version"]) == (200, guide["version"] + 1)
    for late in (report(1, "no_effect", guide), report(2, "done", guide)):
        assert (late.status_code, late.json()["error"]["code"]) == (409, "guide_changed")
    assert report(1, "done", guide).json() == first.json(), "sent again"
    assert api.get(f"/troubleshoot/{guide['id']}").json() == first.json()
    corrected = report(1, "no_effect", first.json()).json()
    assert corrected["steps"][0]["outcome"] == "no_effect"


def test_a_stream_tells_each_check_and_search_then_the_guide(api: httpx.Client):
    worst = api.get("/insights").json()["devices"][0]["device_id"]
    body, accept = {"device_id": worst, "error_code": "E421"}, {"Accept": "text/event-stream"}
    with api.stream("POST", "/troubleshoot", json=body, headers=accept) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = list(events(response.iter_lines()))
    *traces, (last, guide) = told
    assert ({name for name, _ in traces}, last) == ({"trace"}, "done")
    messages = [trace["message"] for _, trace in traces]
    assert messages[0] == f"read the records of {worst}"
    checks = [f"{check['name']}: {check['status']}, {check['evidence']}" for check in guide["checks"]]
    assert messages[1 : len(checks) + 1] == checks
    tools = {trace["tool"] for _, trace in traces if trace["tool"] and trace["duration_ms"] is not None}
    assert tools == {"search_documents", "read_document"}
    assert api.get(f"/troubleshoot/{guide['id']}").json() == guide, "it is kept"
    unknown = api.post("/troubleshoot", json={"device_id": "nobody-1"}, headers=accept)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_device")


def test_what_is_wrong_is_refused_by_name(api: httpx.Client, guide: dict[str, Any]):
    unstorable = {"outcome": "done", "note": "hot\0"}
    refused = [
        (api.post("/troubleshoot", json={"device_id": "nobody-1"}), 404, "unknown_device"),
        (api.post("/troubleshoot", json={"device_id": "a/b"}), 422, "invalid_request"),
        (api.post("/troubleshoot", json={"device_id": "m-1", "symptom": "hot\0"}), 422, "invalid_request"),
        (api.get("/troubleshoot/not-an-id"), 422, "invalid_request"),
        (api.post(f"/troubleshoot/{guide['id']}/steps/1", json=unstorable), 422, "invalid_request"),
        (api.get("/passages", params={"uri": "lake://demo", "start": 2**63}), 422, "invalid_request"),
        (api.post(f"/troubleshoot/{guide['id']}/steps/999", json={"outcome": "done"}), 404, "unknown_step"),
        (api.post(f"/troubleshoot/{guide['id']}/steps/1", json={"outcome": "magic"}), 422, "invalid_request"),
    ]
    for answer, status, code in refused:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
