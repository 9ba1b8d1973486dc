"""The served language model behind OpenAI's chat completions, for as long as a peer asks it.

What the copilot reaches through a handle a peer reaches over HTTP; both then wait for the same engine.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from iotops.ray_cluster import connect
from iotops.serving import COPILOT, LANGUAGE_MODEL
from iotops.settings import Settings
from ray_apps.chat import ServedModel, Writing

NAME = "benchmark-model"
_ROOT = Path(__file__).parents[2]


# Serve's workers do not know this folder of their own.
@serve.deployment(ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {"PYTHONPATH": str(_ROOT)}}})
class ModelServer:
    """Streams what the copilot's model writes to whoever has the key."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._model = ServedModel(NAME, serve.get_deployment_handle(LANGUAGE_MODEL, COPILOT))

    async def __call__(self, request: Request) -> Response:
        """A chat completion as a stream of chunks."""
        if request.headers.get("authorization") != f"Bearer {self._key}":
            return JSONResponse({"error": {"message": "this is not the key of the benchmark"}}, 401)
        return StreamingResponse(self._chunks(await request.json()), media_type="text/event-stream")

    async def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        head = {"id": NAME, "object": "chat.completion.chunk", "created": int(time.time())}
        head["model"] = body["model"]
        writing = Writing(self._model.pieces(body["messages"], body["max_tokens"]))
        async for text in writing.pieces():
            delta = {"role": "assistant", "content": text}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
        reason = writing.completion.finish_reason if writing.completion else "stop"
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"


@contextmanager
def model_server(settings: Settings) -> Iterator[tuple[str, str]]:
    """Its URL and key, while it is served at a prefix of its own."""
    connect(settings.ray)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    key, prefix = secrets.token_urlsafe(), f"/{NAME}"
    try:
        serve.run(ModelServer.bind(key), name=NAME, route_prefix=prefix)
        yield f"{settings.serve.url}{prefix}", key
    finally:
        serve.delete(NAME)
