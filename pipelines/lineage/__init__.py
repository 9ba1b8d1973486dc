"""Which run read what and wrote what: kept in `gold.pipeline_runs` and sent as OpenLineage events."""

from pipelines.lineage.datasets import Dataset
from pipelines.lineage.recording import recorded
from pipelines.lineage.runs import Run

__all__ = ["Dataset", "Run", "recorded"]
