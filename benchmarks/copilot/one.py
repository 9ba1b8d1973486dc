"""One operator, who asks in turn: what an answer takes on an idle machine, beside what is aimed at."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.table import Table

from benchmarks.copilot.asking import Outcome, asker, in_turn, within
from benchmarks.copilot.questions import MIX
from benchmarks.copilot.session import Session
from benchmarks.copilot.summary import COLUMNS, by_kind, row, stage_table

AIMS = (
    ("whole answer", "computed", "whole", 2000),
    ("first token", "computed", "first_token", 700),
    ("from the cache, whole", "cached", "whole", 30),
    ("all but the model", "computed", "without_model", 250),
)
"""What is aimed at, of which questions, the key of its figures, and the milliseconds."""
COMPUTED = "computed"


def run(session: Session, seconds: float) -> None:
    """Ask the mix; print and keep the figures of each kind, the stages, and what became of the aims."""
    with session.console.status("one operator asks"):
        outcomes = asyncio.run(_asked(session, seconds))
    session.only_new(outcomes)
    found = by_kind(outcomes, session.catalogue)
    computed = [each for each in outcomes if each.question.kind != "cached"]
    found[COMPUTED] = by_kind(computed, session.catalogue)["all"]
    found["aims"] = met = aims(found)
    session.figures.add("one", session.tenant.id, found)
    shown = Table(*COLUMNS, title="One operator, asking in turn")
    for kind in ("cached", "new", "tools", COMPUTED):
        if kind in found:
            shown.add_row(*row(kind, found[kind]))
    session.console.print(shown)
    if "stages_ms" in found[COMPUTED]:
        session.console.print(stage_table(found[COMPUTED], "What a computed answer waits for"))
    table = Table("aim", "under ms", "p50", "p95 ms", "p50 is", "p95 is")
    for name, each in met.items():
        figures = (f"{each['under_ms']}", f"{each['p50_ms']:.0f}", f"{each['p95_ms']:.0f}")
        table.add_row(name, *figures, *("met" if each[f"{at}_met"] else "missed" for at in ("p50", "p95")))
    session.console.print(table)
    session.console.print(f"Cost of these answers by the prices of models.yaml: {found['all']['cost']:.6g}")


def aims(found: dict[str, Any]) -> dict[str, Any]:
    """What is aimed at, beside what was measured."""
    met = {}
    for name, kind, key, under in AIMS:
        if measured := found.get(kind, {}).get(key):
            p50, p95 = measured["p50_ms"], measured["p95_ms"]
            met[name] = {
                "under_ms": under,
                "p50_ms": p50,
                "p95_ms": p95,
                "p50_met": p50 < under,
                "p95_met": p95 < under,
            }
    return met


async def _asked(session: Session, seconds: float) -> list[Outcome]:
    async with asker(session.settings, session.tenant) as client:
        before = await session.asked_before(client)  # which warms up as well
        return await in_turn(client, within(seconds, session.mix.endless(before), len(MIX)))
