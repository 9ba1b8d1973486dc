"""Open-loop load: questions come when they come, whatever becomes of the others; and several operators."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import islice

import httpx
from rich.table import Table

from benchmarks.copilot.asking import Outcome, ask, asker, in_turn, within
from benchmarks.copilot.questions import Question
from benchmarks.copilot.session import Session
from benchmarks.copilot.summary import COLUMNS, by_kind, row, stage_table

SOON_S = 0.2


def run(session: Session, rates: Sequence[float], seconds: float, operators: Sequence[int]) -> None:
    """Offer each rate, then let some operators ask without a pause; print and keep what was measured."""
    shown = Table(*COLUMNS, "most at once", title=f"The mix of questions, {seconds:.0f} s of each")
    for rate in rates:
        with session.console.status(f"{rate:g} questions/s"):
            outcomes = asyncio.run(at_rate(session, rate, seconds))
        found = by_kind(outcomes, session.catalogue)
        found["all"]["most_at_once"] = most_at_once(outcomes)
        session.figures.add("load", f"{rate:g} per s", found)
        for kind, each in found.items():
            shown.add_row(*row(f"{rate:g}/s, {kind}", each), str(each.get("most_at_once", "")))
    for count in operators:
        with session.console.status(f"{count} operators"):
            outcomes = asyncio.run(_by_operators(session, count, seconds))
        found = by_kind(outcomes, session.catalogue)
        taken = max(each.due + each.whole_ms / 1000 for each in outcomes) - min(each.due for each in outcomes)
        found["all"]["per_s"] = per_s = sum(each.status == "200" for each in outcomes) / taken
        session.figures.add("load", f"{count} operators", found)
        shown.add_row(*row(f"{count} operators, {per_s:.1f}/s", found["all"]), str(count))
    session.console.print(shown)
    if "stages_ms" in found["all"]:
        session.console.print(stage_table(found["all"], "What the last ones waited for"))


async def at_rate(session: Session, rate: float, seconds: float) -> list[Outcome]:
    """The mix, offered at a rate."""
    times = arrivals(rate, seconds, session.seed)
    async with asker(session.settings, session.tenant) as client:
        questions = session.mix.endless(await session.asked_before(client))
        return await offered(client, list(islice(questions, len(times))), times)


async def _by_operators(session: Session, count: int, seconds: float) -> list[Outcome]:
    async with asker(session.settings, session.tenant) as client:
        questions = session.mix.endless(await session.asked_before(client))
        return await in_turn(client, within(seconds, questions), count)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """When questions come in (s): gaps of exponential length, `rate` of them a second on average."""
    gaps, times, now = random.Random(seed), [], 0.0
    while (now := now + gaps.expovariate(rate)) < seconds:
        times.append(now)
    return times


async def offered(
    client: httpx.AsyncClient, questions: Sequence[Question], times: Sequence[float]
) -> list[Outcome]:
    """Ask each question at its time; its latency counts from there, the wait of a late start included."""
    start = time.perf_counter() + SOON_S
    asked = zip(questions, times, strict=True)
    return await asyncio.gather(*(ask(client, question, start + at) for question, at in asked))


def most_at_once(outcomes: Sequence[Outcome]) -> int:
    """How many answered questions were under way at the same time at most."""
    changes = [(outcome.due, 1) for outcome in outcomes if outcome.whole_ms]
    changes += [(outcome.due + outcome.whole_ms / 1000, -1) for outcome in outcomes if outcome.whole_ms]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
