"""A file of questions through the served copilot, stopped on the way and resumed."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from iotops.settings import Settings
from pipelines.demo.run import TENANT
from pipelines.jobs.batch_ask import PART_QUESTIONS
from pipelines.jobs.client import follow, job_client, submit

QUESTIONS = (
    "What does E421 mean on an HX-200 and what should I do first?",
    "How long is the warranty of the CR-310?",
)
PARTS = 4


@pytest.mark.timeout(600)
def test_a_batch_of_questions_stopped_halfway_asks_only_what_is_left(
    settings: Settings, demo: str, tmp_path: Path
):
    source, output = tmp_path / "questions.csv", tmp_path / "answers"
    with source.open("w", newline="") as file:  # most are answered from the cache: what counts is the batch
        rows = [(f"q{number}", QUESTIONS[number % 2]) for number in range(PARTS * PART_QUESTIONS)]
        csv.writer(file).writerows([("id", "question"), *rows])
    client = job_client(settings)
    arguments = ["--tenant", TENANT.id, "--input", str(source), "--output", str(output)]

    def parts() -> dict[str, int]:
        return {part.name: part.stat().st_mtime_ns for part in output.glob("*.parquet")}

    stopped = submit(client, "pipelines.jobs.batch_ask", arguments)
    deadline = time.monotonic() + 180
    while not parts():
        assert time.monotonic() < deadline, client.get_job_logs(stopped)
        time.sleep(0.02)
    client.stop_job(stopped)
    while not client.get_job_status(stopped).is_terminal():
        time.sleep(0.05)
    kept = parts()
    assert 0 < len(kept) < PARTS

    lines: list[str] = []
    resumed = submit(client, "pipelines.jobs.batch_ask", arguments)
    assert follow(client, resumed, lines.append) == "SUCCEEDED", "\n".join(lines)
    left = (PARTS - len(kept)) * PART_QUESTIONS
    assert any(f"{len(kept)} of {PARTS} parts are there from an earlier run" in line for line in lines)
    assert any(f"{left:,} of {left:,} questions" in line and "0 without an answer" in line for line in lines)
    assert {name: when for name, when in parts().items() if name in kept} == kept

    answers = pq.read_table(output).to_pylist()
    assert [(answer["id"], answer["question"]) for answer in answers] == rows
    for answer in answers:
        assert (answer["status"], answer["error"]) == (200, None)
        assert answer["grounded"] == (answer["question"] == QUESTIONS[0])
        assert answer["citations"] or not answer["grounded"]
