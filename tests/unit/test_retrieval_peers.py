"""The comparison with peers: what is counted, and what is told of it."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from benchmarks.figures import Figures
from benchmarks.retrieval.beir import Corpus
from benchmarks.retrieval_speed.peers import ROUNDS, Searcher, Task, quality, take_turns, tell

LABELLED = Corpus(
    "three",
    documents=[],
    queries={"a": "one?", "b": "two?", "c": "three?"},
    qrels={"a": {"first": 1}, "b": {"second": 1}, "c": {"third": 1}},
)
DOC_IDS = ["first", "first", "second", "third"]
CONTENDER = """
import json, sys
print(json.dumps({"ready_s": 1.0}), flush=True)
for line in sys.stdin:
    asked = range(*json.loads(line))
    print(json.dumps({"ms": [float(sys.argv[1])] * len(asked), "rows": [[at] for at in asked]}), flush=True)
"""


def test_quality_is_that_of_the_questions_that_were_asked() -> None:
    assert quality({0: [0, 1], 1: [2]}, LABELLED, DOC_IDS) == 1
    assert quality({0: [0, 1], 1: [3]}, LABELLED, DOC_IDS) == 0.5


def test_the_first_round_warms_up_and_peers_are_told_by_our_time(tmp_path: Path) -> None:
    task = Task("peers_reranked", [], pa.table({"doc_id": DOC_IDS}), pa.table({"text": ["?"] * 3}), turn=2)
    file = tmp_path / "figures.json"
    with ExitStack() as running:
        contenders = [
            running.enter_context(
                Searcher(name, [sys.executable, "-c", CONTENDER, took], tmp_path / f"{name}.log", {})
            )
            for name, took in (("iotops", "5"), ("other_peer", "20"))
        ]
        take_turns(contenders, task)
    assert [len(each.milliseconds) for each in contenders] == [3 * ROUNDS] * 2
    tell(task, contenders, None, "", Figures(file), Console(quiet=True))
    found = json.loads(file.read_text())["peers_reranked"]
    assert {name: each["of_ours"] for name, each in found.items()} == {"iotops": 1, "other_peer": 0.25}
    assert found["other_peer"]["per_s"] == pytest.approx(50)
    assert "ndcg_10" not in found["iotops"]
    tell(task, contenders, LABELLED, "", Figures(file), Console(quiet=True))
    assert json.loads(file.read_text())["peers_reranked"]["iotops"]["ndcg_10"] == pytest.approx(1 / 3)
