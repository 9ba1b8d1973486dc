"""The deployments of `prefect.yaml` beside the stages that their flows run."""

from __future__ import annotations

from pipelines.deployments import deployments
from pipelines.stages import STAGES


def test_every_stage_has_its_deployment() -> None:
    starts = {each["flow"]: each.get("schedules", []) for each in deployments()}
    assert starts.keys() == STAGES.keys()
    assert [each["cron"] for each in starts["rag-evaluation"]] == ["40 2 * * 1"], "on Mondays"
    assert [each["cron"] for each in starts["doc-ingestion"]] == ["20 3 * * *"], "the net under its trigger"
