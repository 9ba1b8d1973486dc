"""`python -m benchmarks.copilot.engine_process MODEL KWARGS`: one vLLM engine, set up as the served one but
for the arguments given in JSON.

Each line of stdin has it answer prompts (lists of chat messages) one after the other; it answers in JSON
lines: of each prompt the milliseconds to the first token and to the last, the tokens and the text.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

TOKENS = 64
WARM_UP = [{"role": "user", "content": "Are you ready? Are you ready?"}]


def main() -> None:
    """Start the engine, say so, and answer until stdin ends."""
    model, given = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    started = time.perf_counter()
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    from iotops.models.hardware import decoding_dtype
    from ray_apps.llm import CPU_ENGINE, set_engine_environment

    set_engine_environment(on_cpu=True)
    dtype = str(decoding_dtype()).removeprefix("torch.")
    engine = LLMEngine.from_engine_args(EngineArgs(model=model, **{"dtype": dtype, **CPU_ENGINE, **given}))
    answered(engine, WARM_UP, "warm-up")
    ready = {
        "ready_s": time.perf_counter() - started,
        "prefix_caching": bool(engine.vllm_config.cache_config.enable_prefix_caching),
        "quantization": engine.vllm_config.model_config.quantization,
    }
    print(json.dumps(ready), file=answers, flush=True)
    for number, line in enumerate(sys.stdin):
        found = [answered(engine, prompt, f"{number}-{at}") for at, prompt in enumerate(json.loads(line))]
        print(json.dumps({"answers": found}), file=answers, flush=True)
    engine.engine_core.shutdown()


def answered(engine: Any, messages: list[dict[str, str]], name: str) -> dict[str, Any]:
    """One answer, and what it took."""
    from vllm import SamplingParams

    tokenizer = engine.get_tokenizer()
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    started, first = time.perf_counter(), 0.0
    engine.add_request(name, {"prompt_token_ids": prompt}, SamplingParams(temperature=0, max_tokens=TOKENS))
    tokens, text = 0, ""
    while engine.has_unfinished_requests():
        for output in engine.step():
            written = output.outputs[0]
            tokens, text = len(written.token_ids), written.text
            first = first or (time.perf_counter() if tokens else 0.0)
    ended = time.perf_counter()
    return {
        "first_ms": (first - started) * 1000,
        "whole_ms": (ended - started) * 1000,
        "read": len(prompt),
        "tokens": tokens,
        "text": text,
    }


if __name__ == "__main__":
    main()
