"""The demo's own platform: the fleet that the project ships, served by vLLM."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console

from iotops.auth import issue_token
from iotops.settings import CONFIGS, Settings
from pipelines.demo.run import TENANT
from tests.embedded import embedded_stack
from tests.vllm_server import Server, chat_template, vllm_server


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The whole stack, with a language model that may take its time: what it writes is looked at, and the
    machine may be a slow one."""
    configs = shutil.copytree(CONFIGS, tmp_path_factory.mktemp("configs"), dirs_exist_ok=True)
    models = configs / "models.yaml"
    patient, changed = re.subn(r"answer_s: .*", "answer_s: 60", models.read_text())
    assert changed == 1
    models.write_text(patient)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOTOPS_CONFIGS", str(configs))
        patch.setenv("IOTOPS_COPILOT__ANSWER_TOKENS", "48")  # more than users see of this model
        with embedded_stack(tmp_path_factory.mktemp("home")) as settings:
            yield settings


@pytest.fixture(scope="session")
def demo(settings: Settings) -> str:
    """What `iotops demo` printed; afterwards everything that it started runs."""
    from pipelines.demo.run import run
    from pipelines.demo.steps import Steps

    console = Console(file=io.StringIO(), width=200)
    run(console, Steps(console))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.fixture(scope="session")
def worst(settings: Settings, demo: str) -> str:
    """The least healthy device of the demo."""
    bearer = {"Authorization": f"Bearer {issue_token(settings.auth, TENANT, 'o', 'operator')}"}
    [device] = httpx.get(f"{settings.serve.url}/insights?limit=1", headers=bearer).json()["devices"]
    return str(device["device_id"])


@pytest.fixture(scope="session")
def elsewhere(worst: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second language model, which looks the worst device up; it starts while others are tested."""
    folder = tmp_path_factory.mktemp("vllm")
    with vllm_server(folder / "server.log", f"--chat-template={chat_template(folder, worst)}") as server:
        yield server
