"""Questions that a tenant's own documents and devices answer, each unlike any before it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, product
from typing import Literal

import httpx

from iotops.errors import IotOpsError

Kind = Literal["cached", "new", "tools"]
KINDS: tuple[Kind, ...] = ("cached", "new", "tools")
MIX: tuple[Kind, ...] = ("cached", "new", "cached", "new", "tools")
"""Of five questions two were asked before, two are new, and one needs a device's records or the fleet's."""
CACHED = 5
"""Questions that those who ask what was asked before take turns with."""
SECTIONS = re.compile(r" [>/] ")
CODE = re.compile(r"\b[A-Z]{1,5}[-_]?\d{2,5}\b")
SEARCHES = (
    "error code", "what the code means", "likely causes", "immediate actions", "how to confirm",
    "what clears the code", "when to escalate",
)  # fmt: skip
# Only words that carry no meaning: what a question is about must be what its sources are about.
OPENERS = ("", "Please tell me: ", "Tell me: ", "Please show me: ", "I need this: ", "Can you say this: ")
CODE_TEMPLATES = (
    "What does {code} mean on the {model}, {section}?",
    "{section} for {code} on the {model}?",
    "What about {code} on the {model}: {section}?",
)
DEVICE_TEMPLATES = (
    "What is wrong with {device}?",
    "What is the health score of {device}?",
    "Which error codes has {device} had?",
    "What should I do about {device}?",
)
FLEET = ("Which machines have the worst health score?", "Which devices have the worst health?")
FLEET_EVERY = 6


@dataclass(frozen=True)
class Question:
    """A question, what it takes to answer it, and the code that it is about, where it is about one."""

    text: str
    kind: Kind
    code: str = ""


@dataclass
class Known:
    """What a tenant can be asked about; of a code the models and the sections that its documents have."""

    devices: list[str] = field(default_factory=list)
    models: dict[str, set[str]] = field(default_factory=dict)
    sections: dict[str, set[str]] = field(default_factory=dict)


def known(client: httpx.Client) -> Known:
    """Ask the copilot for the tenant's devices, and search for documents whose titles name a code."""
    response = client.get("/insights", params={"limit": 100})
    response.raise_for_status()
    devices = response.json()["devices"]
    models = {device["model"] for device in devices if device["model"]}
    found = Known(sorted(device["device_id"] for device in devices))
    for query in SEARCHES:
        response = client.post("/search", json={"query": query, "top_k": 50})
        response.raise_for_status()
        for hit in response.json()["hits"]:
            for code in {*CODE.findall(hit["title"])} - models:
                named = {model for model in models if model in hit["text"]}
                found.models.setdefault(code, set()).update(named)
                found.sections.setdefault(code, set()).add(SECTIONS.split(hit["section"])[-1].lower())
    if not found.devices or not any(found.models.values()):
        raise IotOpsError(
            "the tenant has no devices with a health score, or no documents with an error code in their "
            "title that name a model of these devices: `iotops demo` brings both"
        )
    return found


class Mix:
    """The questions of one run, by a seed; none comes twice unless it is meant to."""

    def __init__(self, known: Known, seed: int) -> None:
        about = [
            (code, model, section)
            for code in sorted(known.models)
            for model, section in product(sorted(known.models[code]), sorted(known.sections[code]))
        ]
        fresh = [
            Question(opener + template.format(code=code, model=model, section=section), "new", code)
            for opener, template, (code, model, section) in product(OPENERS, CODE_TEMPLATES, about)
        ]
        devices = [
            Question(opener + template.format(device=device), "tools")
            for opener, template, device in product(OPENERS, DEVICE_TEMPLATES, known.devices)
        ]
        fleet = [Question(opener + template, "tools") for opener, template in product(OPENERS, FLEET)]
        order = random.Random(seed)
        for each in (fresh, devices, fleet):
            order.shuffle(each)
        for number, question in enumerate(fleet):
            devices.insert(number * FLEET_EVERY, question)
        self._left: dict[Kind, list[Question]] = {"new": fresh[::-1], "tools": devices[::-1]}

    def take(self, kind: Kind, count: int) -> list[Question]:
        """The next ones of a kind; raises `IotOpsError` where all were taken."""
        left = self._left[kind]
        if count > len(left):
            raise IotOpsError(f"only {len(left)} questions of the kind {kind!r} are left: ask for less")
        return [left.pop() for _ in range(count)]

    def endless(self, asked_before: Sequence[Question]) -> Iterator[Question]:
        """Questions of all kinds in the proportions of `MIX`, as long as there are any."""
        again = cycle(replace(question, kind="cached") for question in asked_before)
        for kind in cycle(MIX):
            yield next(again) if kind == "cached" else self.take(kind, 1)[0]
