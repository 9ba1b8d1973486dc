"""A file of questions through the served copilot, to Parquet with an answer or an error for each.

    ray job submit -- python -m pipelines.jobs.batch_ask --tenant acme \
        --input lake://acme/exports/questions.csv --output lake://acme/exports/answers
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Annotated

import httpx
import pyarrow as pa
import typer

from iotops.auth import issue_token
from iotops.commands.tenant import TenantOption
from iotops.errors import IotOpsError
from iotops.provisioning import known_tenant
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from pipelines.jobs.arguments import Check, Input, Output, main, say
from pipelines.jobs.parts import Parts, part_names
from pipelines.jobs.places import Place, input_place, output_place
from pipelines.jobs.questions import Question, ask, parse_questions

PART_QUESTIONS = 50
TOKEN_TTL_S = 900
CITATION = pa.struct(
    [(name, pa.string()) for name in ("marker", "doc_id", "title", "uri", "section", "quote")]
    + [("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())]
)
ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("id", "question", "device_id")]
    + [("status", pa.int32()), ("error", pa.string()), ("answer", pa.string()), ("grounded", pa.bool_())]
    + [("citations", pa.list_(CITATION)), ("model", pa.string()), ("cached", pa.bool_())]
    + [("request_id", pa.string()), ("attempts", pa.int32()), ("seconds", pa.float64())]
)
"""One row per question; `status` is the last answer's HTTP status, null where there was none."""


@dataclass(frozen=True)
class BatchAsk:
    """What is to be asked, checked."""

    settings: Settings
    tenant: Tenant
    questions: list[Question]
    digest: str
    output: Place
    concurrency: int

    def __str__(self) -> str:
        return (
            f"{len(self.questions):,} questions of {self.tenant.id} to {self.settings.serve.url}, "
            f"{self.concurrency} at a time, answers to {self.output}"
        )


def batch_ask(
    tenant: TenantOption,
    source: Input,
    output: Output,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Questions that are asked at once.")] = 4,
    check: Check = False,
) -> None:
    """Ask the copilot every question of a file (.txt, .csv or .jsonl) and keep the answers as Parquet.

    A question that the copilot is too busy for is asked again, later; one that fails for good has its error
    in its row. A run after a kill asks only what has no row yet.

    Example: iotops job submit batch-ask --tenant acme --input lake://acme/exports/questions.csv
    --output lake://acme/exports/answers
    """
    settings = get_settings()
    planned = plan(settings, known_tenant(settings, tenant), source, output, concurrency)
    say(str(planned))
    if not check:
        asyncio.run(run(planned))


def plan(settings: Settings, tenant: Tenant, source: str, output: str, concurrency: int) -> BatchAsk:
    """Read and check the questions; raises `IotOpsError` for the first thing that is wrong."""
    content = input_place(settings.lake, tenant, source).read()
    questions = parse_questions(source.rpartition("/")[2], content)
    place = output_place(settings.lake, tenant, output)
    return BatchAsk(settings, tenant, questions, hashlib.sha256(content).hexdigest(), place, concurrency)


async def run(batch: BatchAsk) -> None:
    """Ask part by part; raises `IotOpsError` where not one question of a part was heard."""
    parts = Parts(batch.output)
    parts.claim({"job": "batch-ask", "tenant": batch.tenant.id, "questions": batch.digest})
    names = part_names(-(-len(batch.questions) // PART_QUESTIONS))
    left = parts.left(names)
    if len(left) < len(names):
        say(f"{len(names) - len(left)} of {len(names)} parts are there from an earlier run")
    asked = failed = 0
    started = time.monotonic()
    total = sum(len(_slice(batch.questions, names.index(name))) for name in left)
    async with httpx.AsyncClient(base_url=batch.settings.serve.url) as client:
        for name in left:
            rows = await _ask_all(batch, client, _slice(batch.questions, names.index(name)))
            if all(row["status"] is None for row in rows):
                raise IotOpsError(
                    f"the copilot at {batch.settings.serve.url} does not answer: {rows[0]['error']}. "
                    "`iotops serve` starts it; then run this again: it resumes where it stopped"
                )
            parts.write(name, pa.Table.from_pylist(rows, schema=ANSWERS))
            asked += len(rows)
            failed += sum(row["status"] != 200 for row in rows)
            rate = asked / (time.monotonic() - started)
            say(f"{asked:,} of {total:,} questions, {rate:.2f}/s, {failed:,} without an answer")
    say(f"{len(batch.questions):,} rows in {len(names):,} parts in {batch.output}")


async def _ask_all(
    batch: BatchAsk, client: httpx.AsyncClient, questions: list[Question]
) -> list[dict[str, object]]:
    """The rows of a part, in the order of its questions."""
    slots = asyncio.Semaphore(batch.concurrency)

    def bearer() -> str:
        return issue_token(batch.settings.auth, batch.tenant, "batch-ask", "analyst", ttl_s=TOKEN_TTL_S)

    async def one(question: Question) -> dict[str, object]:
        async with slots:
            return await ask(client, question, bearer)

    return await asyncio.gather(*(one(question) for question in questions))


def _slice(questions: list[Question], part: int) -> list[Question]:
    return questions[part * PART_QUESTIONS : (part + 1) * PART_QUESTIONS]


if __name__ == "__main__":
    main(batch_ask)
