"""A language model elsewhere that is away, over HTTP: the one that is served here writes instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from iotops.auth import issue_token
from iotops.serving import COPILOT, deploy, wait_until_running
from iotops.settings import Settings
from pipelines.demo.run import TENANT
from ray_apps.circuit import FAILURES
from tests.embedded import free_ports

AWAY = "elsewhere"
ASKED = ("What does E421 mean?", "What causes E421 on an HX-200?", "What does E425 mean?")


@pytest.fixture(scope="module")
def served(settings: Settings, demo: str) -> Iterator[str]:
    """Name of the demo's model while it is the fallback of one whose server is away."""
    models, applications = settings.configs / "models.yaml", settings.configs / "serve.yaml"
    before = {file: file.read_text() for file in (models, applications)}
    catalogue = yaml.safe_load(before[models])
    here, (port,) = catalogue["roles"]["llm"], free_ports(1)
    endpoint = {"api": "openai", "url": f"http://127.0.0.1:{port}/v1"}
    catalogue["roles"]["llm"], catalogue["fallbacks"] = AWAY, [here]
    catalogue["models"][AWAY] = {"endpoint": endpoint, "context_tokens": 180, "answer_s": 60}
    models.write_text(yaml.safe_dump(catalogue))
    config = yaml.safe_load(before[applications])
    [copilot] = [each for each in config["applications"] if each["name"] == COPILOT]
    [front] = [each for each in copilot["deployments"] if each["name"] == "Copilot"]
    front["ray_actor_options"]["num_cpus"] /= 2  # a replica that is made anew reads its configs anew
    applications.write_text(yaml.safe_dump(config))
    wait_until_running(settings, deploy(settings))
    yield here
    for file, text in before.items():
        file.write_text(text)
    wait_until_running(settings, deploy(settings))


def test_the_model_served_here_answers_is_named_and_its_answers_are_kept(settings: Settings, served: str):
    bearer = {"Authorization": f"Bearer {issue_token(settings.auth, TENANT, 'o', 'operator')}"}
    with httpx.Client(base_url=settings.serve.url, headers=bearer, timeout=120) as api:

        def ask(question: str) -> dict[str, Any]:
            response = api.post("/ask", json={"question": question})
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            return answer

        def circuits() -> dict[str, str]:
            told: dict[str, str] = api.get("/readyz").json()["parts"]["llm"]["circuits"]
            return told

        assert circuits() == {AWAY: "closed", served: "closed"}
        assert len(ASKED) == FAILURES
        for question in ASKED:
            answer = ask(question)
            assert (answer["model"], answer["cached"]) == (served, False)
            assert answer["usage"]["completion_tokens"] > 0
        assert circuits() == {AWAY: "open", served: "closed"}
        assert [ask(ASKED[0])["cached"] for _ in range(2)] == [False, True]
