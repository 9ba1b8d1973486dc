"""What vLLM offers on this machine, one thing at a time beside the engine as it is served."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.table import Table

from benchmarks.contender import Contender, ContenderError
from benchmarks.copilot.asking import headers
from benchmarks.copilot.int8 import write_int8
from benchmarks.copilot.questions import Question
from benchmarks.copilot.session import Session
from indexes.tokens import Tokens
from iotops.models import resolve_role
from ray_apps.copilot.answer.prompt import messages
from ray_apps.copilot.evidence.passages import Passage

SERVED = "as served"
INT8 = "int8 weights and activations"
VARIANTS: dict[str, dict[str, Any]] = {
    "no prefix caching": {"enable_prefix_caching": False},
    "no n-gram speculation": {"speculative_config": None},
    INT8: {},
    "int8 made while loading": {"quantization": "int8_per_channel_weight_only"},
}
ROUNDS, PROMPTS = 3, 4
"""No prompt comes twice, or the prefix cache would have all of it."""
ENOUGH_TOKENS = 8
"""Of an answer, to tell how fast it was written."""
REFUSAL_CHARACTERS = 300


def run(session: Session) -> None:
    """Run each variant in turn with the served engine's arguments; print and keep speeds and ratios."""
    name, model = session.catalogue.name("llm"), resolve_role(session.settings, "llm")
    served = session.catalogue.spec(name).engine_kwargs
    shown = Table(
        "", "first token ms", "tokens/s", "first token, of served", "tokens/s, of served", "same texts",
        title=f"{ROUNDS} rounds of {PROMPTS} of the copilot's prompts, one at a time, medians",
    )  # fmt: skip
    prompts = real_prompts(session)
    with (
        tempfile.TemporaryDirectory(prefix="engine-") as folder,
        session.console.status("starting engines") as status,
    ):
        place = Path(folder)
        write_int8(model.path, place / "int8")
        with _engine(SERVED, model.path, served, place) as usual:
            for variant, change in VARIANTS.items():
                status.update(f"{variant} beside {SERVED}")
                path = place / "int8" if variant == INT8 else model.path
                try:
                    with _engine(variant, path, {**served, **change}, place) as changed:
                        found = compared(usual, changed, prompts)
                except ContenderError as error:
                    reason = _reason(str(error))
                    session.figures.add("engine", variant, {"refused": reason})
                    shown.add_row(variant, f"refused: {reason}")
                    continue
                session.figures.add("engine", variant, found)
                for title, key in ((f"{SERVED}, in turn", "served"), (variant, "changed")):
                    each = found[key]
                    cells = [f"{each['first_ms']:.0f}", f"{each['tokens_per_s']:.0f}"]
                    if key == "changed":
                        cells += [f"{found['first_of_served']:.2f}", f"{found['speed_of_served']:.2f}"]
                        cells.append(f"{found['same_texts']:.0%}")
                    shown.add_row(title, *cells)
    session.console.print(shown)


def real_prompts(session: Session) -> Iterator[list[dict[str, str]]]:
    """What the copilot would give the model for new questions."""
    settings = session.settings
    model = session.catalogue.spec(session.catalogue.name("llm"))
    tokens = Tokens.of(resolve_role(settings, "embedder"))
    with httpx.Client(
        base_url=settings.serve.url, headers=headers(settings, session.tenant), timeout=60
    ) as client:
        while True:
            (question,) = session.mix.take("new", 1)
            passages = _found(client, question)
            yield messages(question.text, passages, model.context_tokens, tokens)


def compared(usual: Contender, changed: Contender, prompts: Iterator[list[dict[str, str]]]) -> dict[str, Any]:
    """Rounds of the same prompts by both, now the one first and now the other; the first warms up."""
    told: dict[str, list[dict[str, Any]]] = {"served": [], "changed": []}
    for number in range(ROUNDS + 1):
        given = [next(prompts) for _ in range(PROMPTS)]
        turns = [("served", usual), ("changed", changed)]
        for key, engine in turns[:: 1 if number % 2 else -1]:
            answers = engine.asked(given)["answers"]
            told[key] += answers if number else []
    pairs = list(zip(told["served"], told["changed"], strict=True))
    long = [(a, b) for a, b in pairs if min(a["tokens"], b["tokens"]) >= ENOUGH_TOKENS]
    return {
        **usual_and_changed(told),
        "first_of_served": float(np.median([b["first_ms"] / a["first_ms"] for a, b in pairs])),
        "speed_of_served": float(np.median([_speed(b) / _speed(a) for a, b in long])),
        "same_texts": float(np.mean([a["text"] == b["text"] for a, b in pairs])),
        "about": changed.ready,
    }


def usual_and_changed(told: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians of each."""
    return {
        key: {
            "first_ms": float(np.median([each["first_ms"] for each in answers])),
            "tokens_per_s": float(
                np.median([_speed(each) for each in answers if each["tokens"] >= ENOUGH_TOKENS])
            ),
            "tokens_read": float(np.mean([each["read"] for each in answers])),
        }
        for key, answers in told.items()
    }


def _speed(answer: dict[str, Any]) -> float:
    """Tokens a second after the first."""
    return float((answer["tokens"] - 1) / (answer["whole_ms"] - answer["first_ms"]) * 1000)


def _found(client: httpx.Client, question: Question) -> list[Passage]:
    response = client.post("/search", json={"query": question.text, "top_k": 5})
    response.raise_for_status()
    return [
        Passage(hit["doc_id"], hit["title"], hit["uri"], hit["section"], hit["text"], 0)
        for hit in response.json()["hits"]
    ]


def _engine(name: str, model: Path, kwargs: dict[str, Any], place: Path) -> Contender:
    command = [
        sys.executable, "-m", "benchmarks.copilot.engine_process", str(model), json.dumps(kwargs),
    ]  # fmt: skip
    return Contender(name, command, place / "log")


def _reason(said: str) -> str:
    """The last line of what an engine said as it ended."""
    return said.strip().splitlines()[-1][-REFUSAL_CHARACTERS:]
