"""The stages of the pipelines: what a flow, a backfill or an analyst has done on the cluster, by name."""

from pipelines.stages.running import STAGES, run_stage
from pipelines.stages.stage import Counts, Parameters, Progress, Stage, StageResult

__all__ = ["STAGES", "Counts", "Parameters", "Progress", "Stage", "StageResult", "run_stage"]
