"""A language model elsewhere, over HTTP: it calls tools, and when it is gone the one served here writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from iotops.auth import issue_token
from iotops.provisioning import create_tenant
from iotops.serving import COPILOT, deploy, wait_until_running
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.demo.run import TENANT
from ray_apps.chat import EngineError
from ray_apps.circuit import FAILURES
from ray_apps.routing import ChatModel, Route
from tests.vllm_server import ASKING, UNNAMED, Server, endpoint, far_model, read

ELSEWHERE, STRANGER = "elsewhere", Tenant("stranger")
ASKED = ("What does E421 mean?", "What causes E421 on an HX-200?")


@dataclass
class Served:
    """The demo while its language model is on another server and the one served here is the fallback."""

    here: str
    server: Server
    worst: str


@pytest.fixture(scope="module")
def served(settings: Settings, elsewhere: Server, worst: str) -> Iterator[Served]:
    models, applications = settings.configs / "models.yaml", settings.configs / "serve.yaml"
    before = {file: file.read_text() for file in (models, applications)}
    catalogue = yaml.safe_load(before[models])
    here = catalogue["roles"]["llm"]
    catalogue["roles"]["llm"], catalogue["fallbacks"] = ELSEWHERE, [here]
    catalogue["models"][ELSEWHERE] = {
        "endpoint": endpoint("openai", elsewhere.port),
        "context_tokens": 180,
        "first_token_s": 60,
        "answer_s": 60,
        "tools_s": 60,
    }
    models.write_text(yaml.safe_dump(catalogue))
    config = yaml.safe_load(before[applications])
    [copilot] = [each for each in config["applications"] if each["name"] == COPILOT]
    [front] = [each for each in copilot["deployments"] if each["name"] == "Copilot"]
    front["ray_actor_options"]["num_cpus"] /= 2  # a replica that is made anew reads its configs anew
    applications.write_text(yaml.safe_dump(config))
    wait_until_running(settings, deploy(settings))
    elsewhere.wait()
    yield Served(here, elsewhere, worst)
    for file, text in before.items():
        file.write_text(text)
    wait_until_running(settings, deploy(settings))


def client(settings: Settings, tenant: Tenant) -> httpx.Client:
    bearer = {"Authorization": f"Bearer {issue_token(settings.auth, tenant, 'o', 'operator')}"}
    return httpx.Client(base_url=settings.serve.url, headers=bearer, timeout=120)


def ask(api: httpx.Client, question: str) -> dict[str, Any]:
    response = api.post("/ask", json={"question": question})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_tools_that_the_model_calls_are_run_as_the_callers_tenant(settings: Settings, served: Served):
    create_tenant(settings, STRANGER)

    def told(tenant: Tenant) -> dict[str, Any]:
        with client(settings, tenant) as api:
            return ask(api, UNNAMED)

    answer, foreign = told(TENANT), told(STRANGER)
    [tool], [same] = answer["tools"], foreign["tools"]
    for each in (tool, same):
        assert (each["name"], each["arguments"]) == ("get_incident_history", {"device_id": served.worst})
    codes = [row["error_code"] for row in tool["result"]["codes"]]
    assert codes
    assert (answer["grounded"], answer["model"]) == (True, ELSEWHERE)
    assert codes[0] in answer["answer"]
    assert same["result"] == {}
    assert not foreign["grounded"]
    assert codes[0] not in str(foreign)


def test_a_server_that_is_killed_in_the_middle_leaves_what_it_wrote(served: Served):
    async def kill() -> None:
        served.server.kill()

    async def run() -> None:
        chat = ChatModel([Route(far_model("openai", served.server.port), 60)])
        writing = chat.stream(ASKING, 1500)
        with pytest.raises(EngineError):
            await read(writing, kill)
        assert writing.completion
        assert writing.completion.text
        with pytest.raises(EngineError, match="no language model answers"):
            await read(chat.stream(ASKING, 12))

    asyncio.run(run())


def test_the_model_served_here_answers_is_named_and_its_answers_are_kept(settings: Settings, served: Served):
    served.server.kill()
    with client(settings, TENANT) as api:

        def circuits() -> dict[str, str]:
            told: dict[str, str] = api.get("/readyz").json()["parts"]["llm"]["circuits"]
            return told

        assert circuits() == {ELSEWHERE: "closed", served.here: "closed"}
        assert len(ASKED) < FAILURES < 2 * len(ASKED), "for each it is asked for tools, then for an answer"
        for question in ASKED:
            answer = ask(api, question)
            assert (answer["model"], answer["cached"]) == (served.here, False)
            assert answer["usage"]["completion_tokens"] > 0
        assert circuits() == {ELSEWHERE: "open", served.here: "closed"}
        assert [ask(api, ASKED[0])["cached"] for _ in range(2)] == [False, True]
