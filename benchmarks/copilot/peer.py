"""A peer over the same documents with the same model server, each question to both in turn."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.contender import HAYSTACK, SILENT, Contender, ContenderError, installed
from benchmarks.copilot.asking import Outcome, ask, asker, within
from benchmarks.copilot.haystack_peer import DOCUMENTS, SETUP
from benchmarks.copilot.model_server import model_server
from benchmarks.copilot.questions import CODE, Question
from benchmarks.copilot.session import Session
from benchmarks.copilot.summary import percentiles
from benchmarks.figures import latencies
from iotops.lake import get, lake_filesystem
from iotops.models import resolve_role
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.knowledge.documents import read_document
from pipelines.knowledge.store import list_documents, shelf_object
from ray_apps.copilot.contracts import AskRequest
from ray_apps.copilot.language.facts import figures

NAME, OURS = "haystack", "iotops"
WARM_UP, FEWEST = 2, 4
NOTATION = re.compile(r"\[\d+\]|^\d+\. ", re.M)
"""The marks of citations and the numbers of steps, which are no facts of an answer's."""
UNKNOWING = re.compile(r"\bI (?:don't|do not) know\b", re.I)


@dataclass(frozen=True)
class Answered:
    """An answer, what it took, and the documents that it rests on: titles, and what stands in them."""

    question: Question
    first_ms: float
    whole_ms: float
    text: str
    titles: list[str]
    sources: list[str]


def run(session: Session, seconds: float) -> None:
    """Ask both the same new questions; print and keep speed and a plain measure of quality."""
    settings = session.settings
    with tempfile.TemporaryDirectory(prefix="peer-") as folder, session.console.status("peer") as status:
        try:
            status.update(f"{NAME}: installing")
            python = installed(settings.home / "benchmarks" / "peers", *HAYSTACK)
            with model_server(settings) as (url, key):
                prepare(settings, session.tenant, Path(folder), url, session.catalogue.name("llm"))
                status.update(f"{NAME}: indexing")
                command = [str(python), "-m", "benchmarks.copilot.haystack_peer", folder]
                environment = {**SILENT, "OPENAI_API_KEY": key}
                with Contender(NAME, command, Path(folder) / "log", environment) as peer:
                    status.update("each question to both in turn")
                    answers = asyncio.run(_in_turn(session, peer, seconds))
        except ContenderError as error:
            session.console.print(f"without {NAME}: {error}")
            session.figures.add("peer", NAME, {"missing": str(error)})
            return
    found = {name: measured(answers[name]) for name in (OURS, NAME)}
    ratios = {
        key: float(np.median([getattr(ours, key) / getattr(peer, key) for ours, peer in _pairs(answers)]))
        for key in ("first_ms", "whole_ms")
    }
    session.figures.add("peer", "documents", peer.ready)
    session.figures.add("peer", "of_the_peer", ratios)
    shown = Table(
        "p50 / p95 / p99 in ms", "first token", "whole answer", "answered", "right document",
        "facts in no source", "characters",
        title=f"{len(answers[OURS])} new questions about error codes, each to both in turn",
    )  # fmt: skip
    for name, each in found.items():
        session.figures.add("peer", name, each)
        shares = (each["answered"], each["right_document"], each["unsupported"])
        times = (percentiles(each["first_token"]), percentiles(each["whole"]))
        shown.add_row(name, *times, *(f"{share:.0%}" for share in shares), f"{each['characters']:.0f}")
    session.console.print(shown)
    session.console.print(
        f"Of the peer's time, median of the pairs: first token {ratios['first_ms']:.2f}, whole answer "
        f"{ratios['whole_ms']:.2f}. Ours includes HTTP, sign-in, limits, guardrails and the audit."
    )


def prepare(settings: Settings, tenant: Tenant, folder: Path, url: str, model: str) -> None:
    """Write down for the peer the tenant's documents and what it shall work with."""
    lake = lake_filesystem(settings.lake)
    lines = []
    for entry in list_documents(lake, tenant.id):
        document = read_document(tenant.id, entry.path, get(lake, shelf_object(tenant.id, entry.path)))
        text = document.source[document.body_start :]
        lines.append(json.dumps({"title": document.about.title, "text": text}))
    (folder / DOCUMENTS).write_text("\n".join(lines))
    setup = {
        "embedder": str(resolve_role(settings, "embedder").path),
        "top_k": AskRequest.model_fields["top_k"].default,
        "max_tokens": settings.copilot.answer_tokens,
        "url": url,
        "model": model,
    }
    (folder / SETUP).write_text(json.dumps(setup))


def measured(answers: Sequence[Answered]) -> dict[str, Any]:
    """Latencies and shares of some answers."""
    return {
        "asked": len(answers),
        "first_token": latencies([answer.first_ms for answer in answers]),
        "whole": latencies([answer.whole_ms for answer in answers]),
        "answered": float(np.mean([not UNKNOWING.search(answer.text) for answer in answers])),
        "right_document": float(np.mean([_right(answer) for answer in answers])),
        "unsupported": float(np.mean([bool(unsupported(answer)) for answer in answers])),
        "characters": float(np.mean([len(answer.text) for answer in answers])),
    }


def unsupported(answer: Answered) -> set[str]:
    """Numbers and codes of an answer that stand neither in its sources nor in the question."""
    known = figures(" ".join([answer.question.text, *answer.titles, *answer.sources]))
    return figures(NOTATION.sub(" ", answer.text)) - known


def _right(answer: Answered) -> bool:
    """Whether it answers, and one of its sources is the document whose title names the code."""
    named = any(answer.question.code in CODE.findall(title) for title in answer.titles)
    return named and not UNKNOWING.search(answer.text)


def _pairs(answers: dict[str, list[Answered]]) -> zip[tuple[Answered, Answered]]:
    return zip(answers[OURS], answers[NAME], strict=True)


async def _in_turn(session: Session, peer: Contender, seconds: float) -> dict[str, list[Answered]]:
    """New questions to both, now the one first and now the other; the first ones warm up."""
    answers: dict[str, list[Answered]] = {OURS: [], NAME: []}
    async with asker(session.settings, session.tenant) as client:
        fresh = (session.mix.take("new", 1)[0] for _ in count())
        for number, question in enumerate(within(seconds, fresh, WARM_UP + FEWEST)):
            for name in (OURS, NAME)[:: 1 if number % 2 else -1]:
                if name == OURS:
                    outcome = await ask(client, question)
                    session.only_new([outcome])
                    answered = _ours(outcome)
                else:
                    answered = _theirs(question, await asyncio.to_thread(peer.asked, question.text))
                if number >= WARM_UP:
                    answers[name].append(answered)
    return answers


def _ours(outcome: Outcome) -> Answered:
    if outcome.status != "200":
        raise ContenderError(f"the copilot answered {outcome.question.text!r} with {outcome.status}")
    citations = outcome.answer["citations"]
    return Answered(
        outcome.question,
        outcome.first_ms,
        outcome.whole_ms,
        outcome.answer["answer"],
        [citation["title"] for citation in citations],
        [f"{citation['quote']} {citation['section']}" for citation in citations],
    )


def _theirs(question: Question, told: dict[str, Any]) -> Answered:
    documents = told["documents"]
    titles, sources = ([each[name] for each in documents] for name in ("title", "content"))
    return Answered(question, told["first_ms"], told["whole_ms"], told["answer"], titles, sources)
