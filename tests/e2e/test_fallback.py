"""A language model elsewhere, over HTTP: it calls tools, and when it is gone the one served here writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
from ray_apps.circuit import FAILURES
from tests.vllm_server import Server, endpoint, vllm_server

ELSEWHERE, STRANGER = "elsewhere", Tenant("stranger")
ASKED = ("What does E421 mean?", "What causes E421 on an HX-200?")
UNNAMED = "What are the latest error codes where vibration averaged above the past?"
"""Names no device, so that nobody but a model that knows which one that is can look it up."""
CALL = '<tool_call>\n{{"name": "get_incident_history", "arguments": {{"device_id": "{}"}}}}\n</tool_call>'
# A model of this size calls no tool by itself, but goes on as a conversation went.
TEMPLATE = """
{%- if tools %}{% for _ in range(3) %}<|im_start|>user
QUESTION<|im_end|>
<|im_start|>assistant
CALL<|im_end|>
{% endfor %}{% endif %}
{%- for message in messages if not (tools and message.role == "system") %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
"""


@dataclass
class Served:
    """The demo while its language model is on another server and the one served here is the fallback."""

    here: str
    server: Server
    worst: str


@pytest.fixture(scope="module")
def served(settings: Settings, demo: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models, applications = settings.configs / "models.yaml", settings.configs / "serve.yaml"
    before = {file: file.read_text() for file in (models, applications)}
    with client(settings, TENANT) as api:
        worst = api.get("/insights").json()["devices"][0]["device_id"]
    folder = tmp_path_factory.mktemp("vllm")
    with vllm_server(folder / "server.log", f"--chat-template={template(folder, worst)}") as server:
        catalogue = yaml.safe_load(before[models])
        here = catalogue["roles"]["llm"]
        catalogue["roles"]["llm"], catalogue["fallbacks"] = ELSEWHERE, [here]
        catalogue["models"][ELSEWHERE] = {
            "endpoint": endpoint("openai", server.port),
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
        server.wait()
        yield Served(here, server, worst)
    for file, text in before.items():
        file.write_text(text)
    wait_until_running(settings, deploy(settings))


def template(folder: Path, device: str) -> Path:
    """A chat template for a model that has learnt to look `device` up for the question `UNNAMED`."""
    file = folder / "tools.jinja"
    file.write_text(TEMPLATE.replace("QUESTION", UNNAMED).replace("CALL", CALL.format(device)).lstrip())
    return file


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
