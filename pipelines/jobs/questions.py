"""The questions of a batch: read from a file, and asked one by one with patience."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from iotops.errors import IotOpsError

SUFFIXES = ("txt", "csv", "jsonl")
LIMITS = (3, 2000)
"""Characters of a question that the API takes."""
ATTEMPTS = 6
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TIMEOUT_S = 180.0
AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Question:
    """A question with its id in the file."""

    id: str
    question: str
    device_id: str | None = None


def parse_questions(name: str, content: bytes) -> list[Question]:
    """Questions of a file: `.txt` one per line, `.csv` or `.jsonl` with `question`, and `id` and `device_id`.

    Without an id it is the question's number, from 1. Raises `IotOpsError` naming the first line that is
    wrong.
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix not in SUFFIXES:
        raise IotOpsError(f"{name} is refused: questions are a .txt, .csv or .jsonl file")
    try:
        text = content.decode("utf-8-sig")
        rows: list[Any]
        if suffix == "txt":
            rows = [{"question": line} for line in text.splitlines() if line.strip()]
        elif suffix == "csv":
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = [orjson.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise IotOpsError(f"{name} cannot be read as .{suffix}: {error}") from None
    questions = [_question(name, number, row) for number, row in enumerate(rows, start=1)]
    if not questions:
        raise IotOpsError(f"{name} holds no question")
    twice, times = Counter(question.id for question in questions).most_common(1)[0]
    if times > 1:
        raise IotOpsError(f"{name}: id {twice!r} appears twice")
    return questions


def _question(name: str, number: int, row: Any) -> Question:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str):
        raise IotOpsError(f"{name}, question {number}: there is no `question`")
    words = row["question"].strip()
    if not LIMITS[0] <= len(words) <= LIMITS[1]:
        raise IotOpsError(
            f"{name}, question {number}: {len(words)} characters; a question has {LIMITS[0]} to {LIMITS[1]}"
        )
    given = row.get("id")
    return Question(str(number if given in (None, "") else given), words, row.get("device_id") or None)


def pause(attempt: int, retry_after: str | None, chance: float) -> float:
    """Seconds before the next attempt: what the server asks for, else doubling with jitter (`chance` 0-1).

    "Full jitter" of M. Brooker, Exponential Backoff And Jitter, 2015, with half of it kept as a floor.
    """
    if retry_after and retry_after.isdigit():
        return min(LONGEST_PAUSE_S, float(retry_after)) + chance
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1)) * (0.5 + 0.5 * chance)


async def ask(client: httpx.AsyncClient, question: Question, bearer: Callable[[], str]) -> dict[str, Any]:
    """The row of a question: its answer, or the error that it ended with after `ATTEMPTS`."""
    body = {"question": question.question}
    if question.device_id:
        body["device_id"] = question.device_id
    row: dict[str, Any] = {
        "id": question.id, "question": question.question, "device_id": question.device_id,
        "status": None, "error": None,
    }  # fmt: skip
    started = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        retry_after = None
        row["attempts"] = attempt
        try:
            response = await client.post(
                "/ask", json=body, headers={"Authorization": f"Bearer {bearer()}"}, timeout=TIMEOUT_S
            )
        except httpx.TransportError as error:
            row |= {"status": None, "error": f"{type(error).__name__}: {error}"}
        else:
            row["status"] = response.status_code
            if response.status_code == 200:
                answer = response.json()
                names = ("answer", "grounded", "citations", "model", "cached", "request_id")
                row |= {name: answer[name] for name in names} | {"error": None}
                break
            row["error"] = response.text[:500]
            if response.status_code not in AGAIN:
                break
            retry_after = response.headers.get("retry-after")
        if attempt < ATTEMPTS:
            await asyncio.sleep(pause(attempt, retry_after, random.random()))
    row["seconds"] = time.monotonic() - started
    return row
