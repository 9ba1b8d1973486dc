"""What the language model's completions cost, and the metrics of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from iotops.metrics import CITED_ANSWERS, LLM_COST, LLM_SPEED, LLM_SPENT, LLM_TOKENS, LLM_TTFT
from iotops.models.catalogue import Catalogue
from iotops.tenancy import Tenant
from ray_apps.chat import Completion


@dataclass(frozen=True)
class Usage:
    """What a request used of a model; `cost` is in the currency of the catalogue's prices."""

    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


def used(completions: Iterable[Completion], catalogue: Catalogue) -> Usage:
    """The sums over a request's completions; the model is that of the last one."""
    total = Usage()
    for each in completions:
        price = catalogue.spec(each.model).price
        total = Usage(
            each.model,
            total.prompt_tokens + each.prompt_tokens,
            total.completion_tokens + each.completion_tokens,
            total.cost + price.of(each.prompt_tokens, each.completion_tokens),
        )
    return total


def measure_model(tenant: Tenant, completions: Iterable[Completion], usage: Usage) -> None:
    """Record the speed of each completion, and what the request cost, where it used a model."""
    if usage.model is None:
        return
    for each in completions:
        if each.ttft_s is not None:
            LLM_TTFT.observe(each.ttft_s, tags={"model": each.model})
        if each.tokens_per_second:
            LLM_SPEED.observe(each.tokens_per_second, tags={"model": each.model})
    tags = {"tenant": tenant.id, "model": usage.model}
    LLM_COST.observe(usage.cost, tags=tags)
    if usage.cost:
        LLM_SPENT.inc(usage.cost, tags=tags)
    for kind, tokens in (("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)):
        if tokens:
            LLM_TOKENS.inc(tokens, tags={**tags, "kind": kind})


def measure_answer(tenant: Tenant, cited: bool) -> None:
    """Record whether an answer rests on sources."""
    CITED_ANSWERS.observe(tenant.id, cited)
