"""A sink killed with SIGKILL between its write and its commit, until its budget of crashes is spent."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import event

from iotops.database import engine
from iotops.settings import get_settings
from pipelines.ingest.members import SINKS


def crash_while_budget_lasts(budget: Path) -> None:
    """Take one file; the process is gone before the next line, if there was one."""
    for file in sorted(budget.iterdir()):
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def run(name: str, budget: Path, environment: Mapping[str, str]) -> None:
    """Run the sink that the platform runs, with a crash in front of its commit.

    Each crash takes one file from the folder `budget`.
    """
    os.environ.update(environment)
    get_settings.cache_clear()
    settings = get_settings()
    sink = SINKS[name](settings)
    commit_to_group = sink.commit

    def commit(partition, next_offset):
        crash_while_budget_lasts(budget)
        commit_to_group(partition, next_offset)

    if name == "bronze":
        sink.commit = commit
    else:
        # Every second crash comes before the transaction's commit, the others before the group's.
        write = sink.write

        def on_commit(connection):
            if writing and len(list(budget.iterdir())) % 2:
                crash_while_budget_lasts(budget)

        def write_in_danger(batch):
            writing.append(batch.partition)
            write(batch)
            writing.clear()

        writing: list[object] = []
        sink.write = write_in_danger
        sink.commit = commit
        event.listen(engine(settings.database), "commit", on_commit)
    sink.run()
