"""The language model: vLLM through `ray.serve.llm`, on GPUs where the cluster has them, else on the CPU.

Importing this module loads vLLM; a deployment that only asks the model uses `ray_apps.chat`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator
from typing import Any

import ray
from ray.serve import Application
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest

from iotops.models import ModelSpec, load_catalogue, resolve
from iotops.models.hardware import decoding_dtype
from iotops.serving import LANGUAGE_MODEL
from iotops.settings import Settings, get_settings
from ray_apps.chat import Completion, EngineError, Messages, Piece

STREAM_EVERY_MS = 20
"""Tokens that are ready within this time travel together: each trip through Ray costs about a millisecond."""
KV_CACHE_GIB = 1
WARM_UP_TOKENS = 8
REQUESTS_AT_ONCE = 64
"""Of one replica: the engine batches them, and more wait at the caller, where Serve counts them."""
REQUESTS_WAITING = 64
"""At each caller; one more is refused, and its answer written from the sources alone."""
CPU_ENGINE = {"enforce_eager": True, "distributed_executor_backend": "mp"}


class LanguageModel(LLMServer):  # type: ignore[misc]
    """`ray.serve.llm`'s server with weights from `iotops.models` and answers free of OpenAI's envelope."""

    async def __init__(self, llm_config: LLMConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        on_cpu = llm_config.accelerator_config.kind == "cpu"
        set_engine_environment(on_cpu)
        self._model = await asyncio.to_thread(resolve, get_settings(), llm_config.model_id)
        self._device = llm_config.accelerator_config.kind
        if on_cpu and "dtype" not in llm_config.engine_kwargs:  # the replica's own node decides
            llm_config.update_engine_kwargs(dtype=str(decoding_dtype()).removeprefix("torch."))
        llm_config.get_engine_config().hf_model_id = str(self._model.path)
        # The weights are here already: without this Ray starts a worker that imports vLLM to look for them.
        llm_config.get_or_create_callback().ctx.run_init_node = False
        await super().__init__(llm_config)
        # The first request compiles what later ones use, which takes seconds: let no user wait for it.
        await self.complete([{"role": "user", "content": "Are you ready? Are you ready?"}], WARM_UP_TOKENS)

    async def _start_engine(self) -> None:
        # Ray's own adds an actor that holds 230 MB to report which models are used; nothing here reports.
        await self.engine.start()

    async def complete(self, messages: Messages, max_tokens: int, temperature: float = 0) -> dict[str, Any]:
        """The whole answer, as the fields of `Completion`."""
        started, first = time.perf_counter(), 0.0
        pieces: list[str] = []
        finish, usage = "", {"prompt_tokens": 0, "completion_tokens": 0}
        async for event in self._events(messages, max_tokens, temperature):
            for choice in event["choices"]:
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter()
                    pieces.append(piece)
                finish = choice.get("finish_reason") or finish
            usage = event.get("usage") or usage
        ended = time.perf_counter()
        return Completion(
            text="".join(pieces),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            ttft_s=(first or ended) - started,
            total_s=ended - started,
            finish_reason=finish,
            model=self._model.name,
        ).model_dump()

    async def stream(
        self, messages: Messages, max_tokens: int, temperature: float = 0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The answer piece by piece, each as the fields of `Piece`."""
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        async for event in self._events(messages, max_tokens, temperature):
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                yield Piece(
                    text=choice["delta"].get("content") or "",
                    prompt_tokens=usage["prompt_tokens"],
                    completion_tokens=usage["completion_tokens"],
                    finish_reason=choice.get("finish_reason") or "",
                    model=self._model.name,
                ).model_dump()

    def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, max_tokens (prompt and answer)."""
        model = self._model.model_dump(exclude={"path"})
        window = self._llm_config.engine_kwargs.get("max_model_len")
        return {**model, "device": self._device, "max_tokens": window}

    async def _events(
        self, messages: Messages, max_tokens: int, temperature: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The engine's chat events, from its lists of server-sent events; a refusal comes as an object."""
        request = ChatCompletionRequest(
            model=self._llm_config.model_id,
            messages=messages,
            max_completion_tokens=max_tokens,
            temperature=temperature,
            stream=True,
            # With every event, so that the cost of an answer that is broken off is known too.
            stream_options={"include_usage": True, "continuous_usage_stats": True},
        )
        async for batch in await self.chat(request):
            for item in batch if isinstance(batch, list) else [batch]:
                if not isinstance(item, str):
                    raise EngineError(f"{self._model.name} refused the request: {item.error.message}")
                for line in item.splitlines():
                    data = line.removeprefix("data: ")
                    if not line or data == "[DONE]":
                        continue
                    event = json.loads(data)
                    if "error" in event:
                        raise EngineError(f"{self._model.name} failed: {event['error']['message']}")
                    yield event


def llm_deployment(settings: Settings) -> Application:
    """The Serve application of the model that `models.yaml` names; needs a running Ray."""
    catalogue = load_catalogue(settings)
    name = catalogue.name("llm")
    app: Application = build_llm_deployment(
        llm_config(name, catalogue.spec(name)),
        deployment_cls=LanguageModel,
        override_serve_options={"name": LANGUAGE_MODEL},
    )
    return app


def llm_config(name: str, spec: ModelSpec) -> LLMConfig:
    """Ray's configuration of a model: on GPUs vLLM's own defaults, on the CPU those that are right there."""
    on_gpu = spec.hardware == "gpu" or (spec.hardware == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    placement = {} if on_gpu else {"placement_group_config": {"bundles": [{"CPU": 1}]}}
    return LLMConfig(
        model_loading_config={"model_id": name},
        accelerator_type=spec.gpu_type if on_gpu else None,
        engine_kwargs={**({} if on_gpu else CPU_ENGINE), **spec.engine_kwargs},
        deployment_config={
            "num_replicas": 1,
            "max_ongoing_requests": REQUESTS_AT_ONCE,
            "max_queued_requests": REQUESTS_WAITING,
            "health_check_timeout_s": 30,
            "ray_actor_options": {"num_cpus": 0},
        },
        experimental_configs={"stream_batching_interval_ms": STREAM_EVERY_MS},
        **placement,
    )


def set_engine_environment(on_cpu: bool) -> None:
    """Environment of the engine's processes, which this one starts; what is set already stays."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if on_cpu:
        wanted["VLLM_CPU_KVCACHE_SPACE"] = str(KV_CACHE_GIB)
        # Left to itself vLLM keeps one core free, which is half of a small machine.
        wanted["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    for variable, value in wanted.items():
        os.environ.setdefault(variable, value)
