"""What some answers took: percentiles, the stages' shares, tokens, cost and errors, with stable keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.copilot.asking import Outcome
from benchmarks.copilot.questions import KINDS
from benchmarks.figures import cells, latencies
from iotops.models.catalogue import Catalogue

NO_STAGES = ("total", "first_token")
REST = "rest"
"""What no stage counts: HTTP, admission, the guard's look at the question, device records, the cache."""
COLUMNS = ("p50 / p95 / p99 in ms", "asked", "first token", "whole answer", "tokens/s", "errors")


def summary(outcomes: Sequence[Outcome], catalogue: Catalogue) -> dict[str, Any]:
    """The figures of some answers; those that need one are missing where there is none."""
    answered = [outcome for outcome in outcomes if outcome.status == "200"]
    errors = Counter(outcome.status for outcome in outcomes if outcome.status != "200")
    found: dict[str, Any] = {"asked": len(outcomes), "errors": dict(errors)}
    if not answered:
        return found
    computed = [outcome for outcome in answered if not outcome.answer["cached"]]
    found |= {
        "first_token": latencies([outcome.first_ms for outcome in answered]),
        "whole": latencies([outcome.whole_ms for outcome in answered]),
        "from_cache": 1 - len(computed) / len(answered),
        "grounded": float(np.mean([outcome.answer["grounded"] for outcome in answered])),
        "cost": sum(_cost(outcome, catalogue) for outcome in answered),
    }
    if written := [outcome for outcome in computed if outcome.llm_ms]:
        found["without_model"] = latencies([outcome.whole_ms - outcome.llm_ms for outcome in written])
        rates = [_tokens(outcome) / outcome.llm_ms * 1000 for outcome in written]
        found["tokens_per_s"] = float(np.median(rates))
        found["tokens_written"] = float(np.mean([_tokens(outcome) for outcome in written]))
    if computed:
        found["stages_ms"] = stages(computed)
    return found


def by_kind(outcomes: Sequence[Outcome], catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """The figures of each kind of question that was asked, and of all together."""
    found = {}
    for kind in KINDS:
        if some := [outcome for outcome in outcomes if outcome.question.kind == kind]:
            found[str(kind)] = summary(some, catalogue)
    return {**found, "all": summary(outcomes, catalogue)}


def stages(computed: Sequence[Outcome]) -> dict[str, float]:
    """Mean milliseconds of each stage, by which they add up to the whole, seen from the client."""
    spent: Counter[str] = Counter()
    for outcome in computed:
        timings = outcome.answer["timings_ms"]
        own = {
            name: float(value)
            for name, value in timings.items()
            if name not in NO_STAGES and isinstance(value, float | int)
        }
        spent.update({**own, REST: outcome.whole_ms - sum(own.values())})
    return {name: value / len(computed) for name, value in spent.items()}


def row(name: str, found: dict[str, Any]) -> list[str]:
    """A summary in the columns of `COLUMNS`."""
    errors = ", ".join(f"{count} x {status}" for status, count in found["errors"].items())
    if "whole" not in found:
        return [name, str(found["asked"]), "", "", "", errors]
    speed = f"{found['tokens_per_s']:.0f}" if "tokens_per_s" in found else ""
    times = (percentiles(found["first_token"]), percentiles(found["whole"]))
    return [name, str(found["asked"]), *times, speed, errors or "none"]


def percentiles(found: dict[str, float]) -> str:
    """As a table shows them together."""
    return " / ".join(cells(found, 0))


def stage_table(found: dict[str, Any], title: str) -> Table:
    """What each stage costs of an answer that is computed."""
    whole = sum(found["stages_ms"].values())
    shown = Table("stage", "mean ms", "of the whole", title=title)
    for name, spent in sorted(found["stages_ms"].items(), key=lambda each: -each[1]):
        shown.add_row(name, f"{spent:.1f}", f"{spent / whole:.1%}")
    return shown


def _tokens(outcome: Outcome) -> int:
    return int(outcome.answer["usage"]["completion_tokens"])


def _cost(outcome: Outcome, catalogue: Catalogue) -> float:
    usage = outcome.answer["usage"]
    price = catalogue.spec(outcome.answer["model"]).price
    return price.of(usage["prompt_tokens"], usage["completion_tokens"])
