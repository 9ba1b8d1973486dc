"""Answers as they come about, conversations, and OpenAI's client, against the served graph."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from iotops.auth import Role, issue_token
from iotops.commands.copilot import events
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT

SEARCHED, RECORDS = "search_documents", {"get_device_metrics", "get_incident_history"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def api(settings: Settings, demo: str) -> httpx.Client:
    return httpx.Client(base_url=settings.serve.url, timeout=120)


@pytest.fixture(scope="module")
def worst(api: httpx.Client, settings: Settings) -> str:
    """The least healthy machine of the demo."""
    found = api.get("/insights", headers=bearer(settings)).json()
    return str(found["devices"][0]["device_id"])


def bearer(
    settings: Settings, tenant: Tenant = TENANT, subject: str = "anna", role: Role = "operator"
) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings.auth, tenant, subject, role)}"}


def stream(api: httpx.Client, headers: dict[str, str], **body: Any) -> list[tuple[str, dict[str, Any]]]:
    wanted = headers | {"Accept": "text/event-stream"}
    with api.stream("POST", "/ask", json=body, headers=wanted) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response.iter_lines()))


def ask(api: httpx.Client, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    response = api.post("/ask", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_stream_tells_what_is_done_then_the_answer_piece_by_piece(
    api: httpx.Client, settings: Settings, worst: str
):
    asked: dict[str, Any] = {"question": f"What is wrong with {worst}?", "top_k": 6}
    told = stream(api, bearer(settings), **asked)
    names = [name for name, _ in told]
    assert names[0] == "trace"
    assert (names[-1], names.count("done"), names.count("error")) == ("done", 1, 0)
    done = told[-1][1]
    assert done["grounded"]
    assert done["answer"] == "".join(event["text"] for name, event in told if name == "token")
    assert done["citations"] == [event for name, event in told if name == "citation"]
    assert done["usage"]["prompt_tokens"] > 0
    traces = [event for name, event in told if name == "trace"]
    assert f"reading the records of {worst}" in [trace["message"] for trace in traces]
    ran = {trace["tool"]: trace for trace in traces if trace["duration_ms"] is not None}
    assert ran.keys() == {SEARCHED} | RECORDS
    assert all(ran[tool]["arguments"] == {"device_id": worst} for tool in RECORDS)
    writing = next(
        at for at, (_, event) in enumerate(told) if event.get("message") == "writing from the sources"
    )
    assert names.index("token") < writing, "the records are told before the model begins"

    again = ask(api, bearer(settings), **asked)
    assert (again["cached"], again["answer"], again["citations"]) == (True, done["answer"], done["citations"])
    replayed = stream(api, bearer(settings), **asked)
    assert "".join(event["text"] for name, event in replayed if name == "token") == done["answer"]


def test_what_is_not_known_is_streamed_too(api: httpx.Client, settings: Settings):
    told = stream(api, bearer(settings), question="How long is the warranty of the CR-310?", top_k=6)
    assert [event["text"] for name, event in told if name == "token"] == [told[-1][1]["answer"]]
    assert not told[-1][1]["grounded"]


def test_a_refusal_is_no_stream(api: httpx.Client, settings: Settings):
    accept = {"Accept": "text/event-stream"}
    body = {"question": "What does E421 mean?"}
    assert api.post("/ask", json=body, headers=accept).status_code == 401
    wrong = api.post("/ask", json={"question": ""}, headers=bearer(settings) | accept)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_request")


def test_a_stream_that_is_left_is_not_written_to_its_end(api: httpx.Client, settings: Settings, worst: str):
    def body(top_k: int) -> dict[str, Any]:
        return {"question": f"What is wrong with {worst}?", "top_k": top_k}

    whole_s = ask(api, bearer(settings), **body(7))["timings_ms"]["total"] / 1000
    wanted = bearer(settings) | {"Accept": "text/event-stream"}
    with api.stream("POST", "/ask", json=body(8), headers=wanted) as response:
        assert any(name == "token" for name, _ in events(response.iter_lines()))
    time.sleep(1.25 * whole_s)  # had it been written meanwhile, it would be in the cache
    assert not ask(api, bearer(settings), **body(8))["cached"]


def test_a_follow_up_is_about_the_machine_before_it_for_its_own_user_alone(
    api: httpx.Client, settings: Settings, worst: str
):
    follow_up: dict[str, Any] = {"question": "And what should I do about it?", "conversation_id": "pump-talk"}
    mine = bearer(settings)
    ask(api, mine, question=f"What is wrong with {worst}?", conversation_id="pump-talk")

    other = ask(api, bearer(settings, subject="bert"), **follow_up)
    assert other["tools"] == []
    assert worst not in other["answer"] + str(other["citations"])

    answer = ask(api, mine, **follow_up)
    assert not answer["cached"], "the same words of another conversation are another question"
    assert {tool["name"] for tool in answer["tools"]} == RECORDS
    assert f"/insights/{worst}" in {citation["uri"] for citation in answer["citations"]}

    alone = ask(api, mine, question="What does E421 mean on an HX-200?", conversation_id="pump-talk")
    found = {tool["name"]: tool["arguments"] for tool in alone["tools"]}
    assert found == {"fetch_related_docs": {"error_code": "E421"}}, "it is not about the machine"


def test_a_follow_up_about_a_code_gets_the_steps_of_its_runbook(api: httpx.Client, settings: Settings):
    caller = bearer(settings)
    first = ask(api, caller, question="What does E421 mean on the HX-200?")
    answer = ask(api, caller, question="How do I fix it?", conversation_id=first["conversation_id"])
    assert answer["grounded"]
    assert re.search(r"^1\. ", answer["answer"], re.M)
    assert any(citation["doc_id"].startswith("e421") for citation in answer["citations"])


def test_the_same_question_at_once_is_computed_once(api: httpx.Client, settings: Settings):
    questions = ["When is E310 raised on the CR-110?", "when is E310 raised on the  CR-110"] * 3
    with ThreadPoolExecutor(len(questions)) as pool:
        answers = list(pool.map(lambda each: ask(api, bearer(settings), question=each, top_k=4), questions))
    assert len({answer["answer"] for answer in answers}) == 1
    assert sum(not answer["cached"] for answer in answers) == 1


@pytest.fixture(scope="module")
def chat(api: httpx.Client, settings: Settings) -> openai.OpenAI:
    """OpenAI's own client."""
    token = bearer(settings)["Authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{settings.serve.url}/v1", api_key=token, max_retries=0)


def test_openais_client_gets_the_same_answer_at_once_and_streamed(
    api: httpx.Client, settings: Settings, chat: openai.OpenAI
):
    question = "What does E421 mean on the HX-200?"
    answer = ask(api, bearer(settings), question=question)
    served = chat.models.list().data[0].id
    assert served == "HuggingFaceTB/SmolLM2-135M-Instruct"

    completion = chat.chat.completions.create(
        model="gpt-4o", temperature=0.3, messages=[{"role": "user", "content": question}]
    )
    content = completion.choices[0].message.content
    assert content
    assert (completion.model, completion.choices[0].finish_reason) == (served, "stop")
    assert content.startswith(answer["answer"])
    assert all(f"- {each['marker']} {each['title']}" in content for each in answer["citations"])
    assert completion.model_extra
    assert completion.model_extra["citations"] == answer["citations"]

    chunks = list(
        chat.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": question}], stream=True
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]


def test_the_users_earlier_messages_are_the_conversation(chat: openai.OpenAI, worst: str):
    chunks = chat.chat.completions.create(
        model="any",
        stream=True,
        messages=[
            {"role": "user", "content": f"What is wrong with {worst}?"},
            {"role": "assistant", "content": "See machine-999."},
            {"role": "user", "content": "And what should I do about it?"},
        ],
    )
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert f"Device {worst}" in content.partition("Sources:")[2]
