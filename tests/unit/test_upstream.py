"""The tree of runs that led to a table."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from pipelines.lineage.datasets import Dataset
from pipelines.lineage.runs import Run, State
from pipelines.lineage.upstream import upstream

START = datetime(2026, 11, 2, tzinfo=UTC)


def run(hours: int, job: str, inputs: list[str], outputs: list[str], state: State = "COMPLETE") -> Run:
    return Run(
        "acme", job, uuid4(), START + timedelta(hours=hours), "abc", state,
        inputs=[Dataset(name) for name in inputs], outputs=[Dataset(name, hours) for name in outputs],
    )  # fmt: skip


def test_a_table_leads_back_to_what_no_run_wrote() -> None:
    load = run(1, "bronze-to-silver", ["acme/bronze/raw"], ["acme.telemetry"])
    gold = run(2, "silver-to-gold", ["acme.telemetry"], ["gold.device_health"])
    later = run(3, "bronze-to-silver", ["acme/bronze/raw"], ["acme.telemetry"])
    failed = run(4, "silver-to-gold", [], ["gold.device_health"], "FAIL")
    tree = upstream([failed, later, gold, load], Dataset("gold.device_health"))
    assert (tree.run, tree.dataset.rows) == (gold, 2), "a failed run wrote nothing that counts"
    (telemetry,) = tree.inputs
    assert telemetry.run == load, "what was written later was not read"
    (bronze,) = telemetry.inputs
    assert (bronze.dataset.name, bronze.run, bronze.inputs) == ("acme/bronze/raw", None, [])
