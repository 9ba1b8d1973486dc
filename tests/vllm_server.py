"""vLLM's own server with the demo's model, for tests of a language model elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from iotops.models import resolve_role
from iotops.models.catalogue import ModelSpec
from iotops.settings import get_settings
from iotops.stack.process import shared_memory
from ray_apps.chat import LanguageModelClient, Messages, Writing
from ray_apps.routing import remote_model
from tests.embedded import free_ports
from tests.waiting import eventually

PATIENCE_S = 60.0
ASKING: Messages = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "Why does a pump with a worn bearing vibrate?"},
]
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
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    segments: set[Path] = field(default_factory=set)
    """Shared memory that nobody else removes once it is killed."""

    def wait(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self.process.poll() is not None or _healthy(self.port), timeout_s=240)
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        self.segments = shared_memory(psutil.Process(self.process.pid).children(recursive=True))

    def running(self) -> float:
        """Requests that it works on."""
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))

    def kill(self) -> None:
        """End it at once, with all that it started; nothing is done where it has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def endpoint(api: str, port: int) -> dict[str, Any]:
    """Where such a server would listen, as the catalogue of models has it."""
    url = f"http://127.0.0.1:{port}" + ("/v1" if api == "openai" else "")
    return {"api": api, "url": url, "model": "tiny", "temperature": 0, "tools": True}


@contextmanager
def vllm_server(log: Path, *arguments: str) -> Iterator[Server]:
    """The server as it starts, which is killed in the end; `arguments` go to its command line too."""
    path, (port,) = resolve_role(get_settings(), "llm").path, free_ports(1)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={path}"]
    command += ["--served-model-name=tiny", "--host=127.0.0.1", f"--port={port}", "--max-model-len=2048"]
    command += ["--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser=hermes", *arguments]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True
        ) as process,
    ):
        server = Server(process, port, log)
        try:
            yield server
        finally:
            server.kill()  # asked to end while it starts, it does not
            for segment in server.segments:
                segment.unlink(missing_ok=True)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def chat_template(folder: Path, device: str) -> Path:
    """A chat template for a model that has learnt to look `device` up for the question `UNNAMED`."""
    file = folder / "tools.jinja"
    file.write_text(TEMPLATE.replace("QUESTION", UNNAMED).replace("CALL", CALL.format(device)).lstrip())
    return file


def far_model(api: str, port: int) -> LanguageModelClient:
    """A client of the server, as patient as a busy machine asks for."""
    spec = ModelSpec.model_validate({"endpoint": endpoint(api, port), "first_token_s": PATIENCE_S})
    assert spec.endpoint
    return remote_model(api, spec, spec.endpoint)


async def read(writing: Writing, at_first: Callable[[], Awaitable[None]] | None = None) -> tuple[str, str]:
    """The answer and who wrote it; `at_first` is done when its first text is there."""
    text = ""
    async for piece in writing.pieces():
        if at_first and piece and not text:
            await at_first()
        text += piece
    assert writing.completion
    return text, writing.completion.model
