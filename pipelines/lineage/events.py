"""Runs as OpenLineage events."""

from __future__ import annotations

from datetime import UTC
from importlib.metadata import version
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent, RunState
from openlineage.client.event_v2 import Run as EventRun
from openlineage.client.facet_v2 import (
    base_subset_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
    symlinks_dataset,
    tags_run,
)

from iotops.settings import Settings
from pipelines.lineage.datasets import Dataset, openlineage_name
from pipelines.lineage.runs import Run

EVENT_TYPES = {
    "RUNNING": RunState.START,
    "COMPLETE": RunState.COMPLETE,
    "FAIL": RunState.FAIL,
    "ABORT": RunState.ABORT,
}


def run_event(run: Run, settings: Settings) -> RunEvent:
    """The event of the run's present state: START, COMPLETE, FAIL or ABORT."""
    return RunEvent(
        eventType=EVENT_TYPES[run.state],
        eventTime=(run.ended_at or run.started_at).astimezone(UTC).isoformat(),
        run=EventRun(runId=str(run.run_id), facets=_run_facets(run)),
        job=Job(
            namespace=f"iotops.{run.owner}",
            name=run.job,
            facets={"jobType": job_type_job.JobTypeJobFacet("BATCH", "IOTOPS", "JOB")},
        ),
        inputs=[_input(dataset, settings) for dataset in run.inputs],
        outputs=[_output(dataset, settings) for dataset in run.outputs],
        producer=f"urn:iotops:{run.code_version}",
    )


def _run_facets(run: Run) -> dict[str, Any]:
    code = tags_run.TagsRunFacetFields("code_version", run.code_version, "IOTOPS")
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(version("ray"), "Ray"),
        "tags": tags_run.TagsRunFacet([code]),
    }
    if run.message:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(run.message, "PYTHON")
    return facets


def _input(dataset: Dataset, settings: Settings) -> InputDataset:
    facets: dict[str, Any] = {}
    if dataset.rows is not None or dataset.files is not None:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=dataset.rows, fileCount=dataset.files
        )
    if dataset.parts:
        facets["subset"] = base_subset_dataset.InputSubsetInputDatasetFacet(_parts(dataset))
    namespace, name = openlineage_name(dataset, settings)
    return InputDataset(namespace, name, facets, facets=_facets(dataset, settings))


def _output(dataset: Dataset, settings: Settings) -> OutputDataset:
    facets: dict[str, Any] = {}
    if dataset.rows is not None or dataset.files is not None:
        facets["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=dataset.rows, fileCount=dataset.files
        )
    if dataset.parts:
        facets["subset"] = base_subset_dataset.OutputSubsetOutputDatasetFacet(_parts(dataset))
    namespace, name = openlineage_name(dataset, settings)
    return OutputDataset(namespace, name, facets, facets=_facets(dataset, settings))


def _parts(dataset: Dataset) -> base_subset_dataset.LocationSubsetCondition:
    return base_subset_dataset.LocationSubsetCondition([f"{dataset.name}/{part}" for part in dataset.parts])


def _facets(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if dataset.fields:
        columns = [
            schema_dataset.SchemaDatasetFacetFields(name, kind, ordinal_position=position)
            for position, (name, kind) in enumerate(dataset.fields, start=1)
        ]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(columns)
    if dataset.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(dataset.version)
    if dataset.store == "iceberg":
        catalog = f"postgres://{settings.database.host}:{settings.database.port}"
        table = symlinks_dataset.Identifier(catalog, dataset.name, "TABLE")
        facets["symlinks"] = symlinks_dataset.SymlinksDatasetFacet([table])
    return facets
