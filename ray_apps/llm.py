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

from iotops.models import ModelSpec, resolve
from iotops.models.hardware import decoding_dtype
from iotops.serving import LANGUAGE_MODEL
from iotops.settings import get_settings
from ray_apps.chat import (
    Completion,
    EngineError,
    Messages,
    Piece,
    Proposal,
    ProposedCall,
    RequestRefused,
    Schemas,
)

STREAM_EVERY_MS = 20
"""Tokens that are ready within this time travel together: each trip through Ray costs about a millisecond."""
KV_CACHE_GIB = 1
WARM_UP_TOKENS = 8
REQUESTS_AT_ONCE = 64
"""Of one replica: the engine batches them, and more wait at the caller, where Serve counts them."""
REQUESTS_WAITING = 64
"""At each caller; one more is refused, and its answer written from the sources alone."""
GPU_ENGINE = {"gpu_memory_utilization": 0.85}
"""vLLM's own 0.92 leaves 1.3 GB of 16; embedder and reranker take about one each, more with tuned ones."""
CPU_ENGINE = {"enforce_eager": True, "distributed_executor_backend": "mp"}
REFUSALS = (400, 413, 422)
"""Statuses, in HTTP's words, of a request that is at fault itself."""


class LanguageModel(LLMServer):
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

    async def complete(self, messages: Messages, max_tokens: int) -> dict[str, Any]:
        """The whole answer, as the fields of `Completion`."""
        started, first = time.perf_counter(), 0.0
        pieces: list[str] = []
        finish, usage = "", {"prompt_tokens": 0, "completion_tokens": 0}
        async for event in self._events(messages, max_tokens):
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

    async def stream(self, messages: Messages, max_tokens: int) -> AsyncGenerator[dict[str, Any], None]:
        """The answer piece by piece, each as the fields of `Piece`."""
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        async for event in self._events(messages, max_tokens):
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                yield Piece(
                    text=choice["delta"].get("content") or "",
                    prompt_tokens=usage["prompt_tokens"],
                    completion_tokens=usage["completion_tokens"],
                    finish_reason=choice.get("finish_reason") or "",
                    model=self._model.name,
                ).model_dump()

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> dict[str, Any]:
        """The tools that the model would call before it answers, as the fields of `Proposal`."""
        started = time.perf_counter()
        request = ChatCompletionRequest(
            model=self._llm_config.model_id,
            messages=messages,
            tools=tools,
            tool_choice="auto",
            max_completion_tokens=max_tokens,
            temperature=0,
        )
        (answer,) = [each async for each in self._told(request)]
        (choice,) = answer.choices
        called = [call.function for call in choice.message.tool_calls or ()]
        return Proposal(
            calls=[ProposedCall(name=each.name, arguments=each.arguments) for each in called],
            completion=Completion(
                text=choice.message.content or "",
                prompt_tokens=answer.usage.prompt_tokens,
                completion_tokens=answer.usage.completion_tokens,
                ttft_s=None,
                total_s=time.perf_counter() - started,
                finish_reason=choice.finish_reason or "",
                model=self._model.name,
            ),
        ).model_dump()

    def describe(self) -> dict[str, Any]:
        """Which model it is: name, source, revision, checksum, device, max_tokens (prompt and answer)."""
        model = self._model.model_dump(exclude={"path"})
        window = self._llm_config.engine_kwargs.get("max_model_len")
        return {**model, "device": self._device, "max_tokens": window}

    async def _events(self, messages: Messages, max_tokens: int) -> AsyncGenerator[dict[str, Any], None]:
        """The engine's chat events."""
        request = ChatCompletionRequest(
            model=self._llm_config.model_id,
            messages=messages,
            max_completion_tokens=max_tokens,
            temperature=0,
            stream=True,
            # With every event, so that the cost of an answer that is broken off is known too.
            stream_options={"include_usage": True, "continuous_usage_stats": True},
        )
        async for item in self._told(request):
            for line in item.split("\n"):  # only there: what is told may hold other ends of lines
                data = line.removeprefix("data: ")
                if not line or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise self._failure(event["error"].get("code"), event["error"]["message"])
                yield event

    async def _told(self, request: ChatCompletionRequest) -> AsyncGenerator[Any, None]:
        """What the engine tells: texts of server-sent events, or the whole answer as an object."""
        async for batch in await self.chat(request):
            for item in batch if isinstance(batch, list) else [batch]:
                if error := getattr(item, "error", None):  # Ray has two classes of that name
                    raise self._failure(error.code, error.message)
                yield item

    def _failure(self, code: Any, message: str) -> EngineError:
        if code in REFUSALS:
            return RequestRefused(f"{self._model.name} refused the request: {message}")
        return EngineError(f"{self._model.name} failed: {message}")


def llm_deployment(name: str, spec: ModelSpec) -> Application:
    """The Serve application of a model; needs a running Ray."""
    app: Application = build_llm_deployment(
        llm_config(name, spec),
        deployment_cls=LanguageModel,
        override_serve_options={"name": LANGUAGE_MODEL},
    )
    return app


def llm_config(name: str, spec: ModelSpec) -> LLMConfig:
    """Ray's configuration of a model: on GPUs vLLM's defaults but for one, on the CPU what is right there."""
    on_gpu = spec.hardware == "gpu" or (spec.hardware == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    placement = {} if on_gpu else {"placement_group_config": {"bundles": [{"CPU": 1}]}}
    tools = (
        {"enable_auto_tool_choice": True, "tool_call_parser": spec.tool_parser} if spec.tool_parser else {}
    )
    replicas = (
        {"autoscaling_config": spec.autoscaling.model_dump()} if spec.autoscaling else {"num_replicas": 1}
    )
    return LLMConfig(
        model_loading_config={"model_id": name},
        accelerator_type=spec.gpu_type if on_gpu else None,
        engine_kwargs={**(GPU_ENGINE if on_gpu else CPU_ENGINE), **tools, **spec.engine_kwargs},
        deployment_config={
            **replicas,
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
