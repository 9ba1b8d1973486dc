"""The command: a failure that is known is told in a line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "list"],
        ["ask", "Is it hot?", "--tenant", "acme"],
        ["docs", "list", "--tenant", "acme"],  # which nobody may have
    ],
)
def test_a_database_that_does_not_answer_is_named(arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from iotops.cli import main; main()", *arguments],
        env={**os.environ, "IOTOPS_DATABASE__PORT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "the database at 127.0.0.1:1 does not answer" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
