"""Embedding on a cluster with a GPU, as Ray counts them: no kernel runs on it, so that none need be here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
import time

import numpy as np
import pyarrow as pa
import ray

from pipelines.knowledge.embedding import embed_chunks

HIDDEN, GIVEN, SEEN = range(3)


class Looks:
    def encode(self, texts):
        given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        return np.full((len(texts), 1), GIVEN if given else HIDDEN if hidden else SEEN, np.float32)


@ray.remote(num_gpus=1)
class LanguageModel:
    def ready(self):
        pass


def found():
    tables = list(embed_chunks(chunks, Looks))
    seen = {vector[0] for table in tables for vector in table["vector"].to_pylist()}
    return sum(table.num_rows for table in tables), seen


ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
numbers = [str(number) for number in range(300)]
chunks = pa.table(dict.fromkeys(("title", "section", "text", "content_hash"), numbers))
assert found() == (300, {GIVEN}), "of a free GPU an actor has a share"
model = LanguageModel.remote()
ray.get(model.ready.remote())
while ray.available_resources().get("GPU", 0):  # told with some delay
    time.sleep(0.1)
assert found() == (300, {HIDDEN}), "one that is taken is not seen"
"""


def test_an_actor_has_a_share_of_a_free_gpu_and_sees_none_that_is_taken(tmp_path: Path) -> None:
    others = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, str(program)],
        env={**others, "PYTHONPATH": root}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
