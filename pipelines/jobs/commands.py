"""`iotops job`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from iotops.commands.console import print_columns, print_json
from iotops.commands.tenant import Json
from iotops.errors import IotOpsError
from iotops.settings import get_settings
from pipelines.jobs.backfill import backfill
from pipelines.jobs.batch_ask import batch_ask
from pipelines.jobs.batch_embedding import batch_embedding
from pipelines.jobs.client import follow, job_client
from pipelines.jobs.client import submit as submit_module
from pipelines.jobs.fleet_report import fleet_report
from pipelines.jobs.tune_reranker import tune_reranker

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

JOBS: dict[str, Callable[..., None]] = {
    "fleet-report": fleet_report,
    "batch-ask": batch_ask,
    "batch-embedding": batch_embedding,
    "backfill": backfill,
    "tune-reranker": tune_reranker,
}
"""A job is a function of the module of its name, with the options of `python -m`."""
JobId = Annotated[str, typer.Argument(help="Id, as `iotops job list` shows it.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print the log until the job ends.")]


@dataclass(frozen=True)
class ListedJob:
    """A job of the cluster; `seconds` counts on while it runs."""

    id: str
    job: str
    tenant: str | None
    state: str
    started: datetime | None
    seconds: float | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    jobs = typer.Typer(help="Submit jobs to the Ray cluster, and manage them.", no_args_is_help=True)
    submits = typer.Typer(help="Check a job's arguments and submit it.", no_args_is_help=True)
    for name, job in JOBS.items():
        submits.command(name, help=job.__doc__)(_submitting(name, job))
    jobs.add_typer(submits, name="submit")
    jobs.command("list")(list_all)
    jobs.command("logs")(logs)
    jobs.command("stop")(stop)
    app.add_typer(jobs, name="job")
    models = typer.Typer(help="Models that the platform trains.", no_args_is_help=True)
    models.command("tune-reranker", help=tune_reranker.__doc__)(_submitting("tune-reranker", tune_reranker))
    app.add_typer(models, name="models")


def list_all(as_json: Json = False) -> None:
    """List the cluster's jobs, the newest first.

    Example: iotops job list --json
    """
    listed = [listed_job(job) for job in job_client(get_settings()).list_jobs() if job.submission_id]
    listed.sort(key=lambda job: job.started or datetime.now(UTC), reverse=True)
    if as_json:
        print_json(listed)
        return
    rows = [("state", "started (UTC)", "ran", "job", "tenant", "id")]
    rows += [
        (
            job.state,
            f"{job.started:%m-%d %H:%M:%S}" if job.started else "",
            str(timedelta(seconds=round(job.seconds))) if job.seconds is not None else "",
            job.job,
            job.tenant or "",
            job.id,
        )
        for job in listed
    ]
    print_columns(*rows)


def logs(job_id: JobId, following: Follow = False) -> None:
    """Print a job's log; with --follow it exits 1 where the job does not succeed.

    Example: iotops job logs raysubmit_Y5wwvGT9rh2pjqFL --follow
    """
    client = job_client(get_settings())
    known(client, job_id)
    if following:
        attend(client, job_id)
    else:
        print(client.get_job_logs(job_id), end="")


def stop(job_id: JobId) -> None:
    """End a job; submitting it again with the same arguments does what is left.

    Example: iotops job stop raysubmit_Y5wwvGT9rh2pjqFL
    """
    client = job_client(get_settings())
    state = known(client, job_id).status
    if state.is_terminal():
        raise IotOpsError(f"job {job_id} has ended already: {state.value}")
    client.stop_job(job_id)
    print(f"{job_id} is being stopped")


def attend(client: JobSubmissionClient, job_id: str) -> None:
    """Print a job's log until it ends; raises `IotOpsError` where it does not succeed."""
    state = follow(client, job_id, lambda line: print(line, flush=True))
    if state.value != "SUCCEEDED":
        raise IotOpsError(f"job {job_id} {state.value.lower()}: `iotops job logs {job_id}` shows why")


def known(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """A job by its id; raises `IotOpsError` where the cluster has none."""
    found = next((job for job in client.list_jobs() if job.submission_id == job_id), None)
    if found is None:
        raise IotOpsError(f"job {job_id!r} is unknown: `iotops job list` shows all")
    return found


def listed_job(job: JobDetails) -> ListedJob:
    """A job as the list shows it."""
    metadata = job.metadata or {}
    module = metadata.get("module", "").rpartition(".")[2].replace("_", "-")
    started = datetime.fromtimestamp(job.start_time / 1000, UTC) if job.start_time else None
    ended = datetime.fromtimestamp(job.end_time / 1000, UTC) if job.end_time else datetime.now(UTC)
    return ListedJob(
        id=job.submission_id or "",
        job=module or job.entrypoint[:40],
        tenant=metadata.get("tenant"),
        state=job.status.value,
        started=started,
        seconds=(ended - started).total_seconds() if started else None,
    )


def _submitting(name: str, job: Callable[..., None]) -> Callable[..., None]:
    """A command with the job's own options that checks them here and then submits it."""

    def submit(context: typer.Context, following: bool, **arguments: Any) -> None:
        job(**arguments, check=True)
        words = [
            word
            for option in context.command.params
            if (value := arguments.get(option.name or "")) is not None
            for word in ([option.opts[0]] if option.param_type_name == "option" else []) + [str(value)]
        ]
        client = job_client(get_settings())
        job_id = submit_module(
            client,
            job.__module__,
            words,
            metadata={"tenant": arguments["tenant"]},
        )
        print(f"{name} is job {job_id}: `iotops job logs {job_id} --follow`")
        if following:
            attend(client, job_id)

    hints = get_type_hints(job, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(job).parameters.values()
        if parameter.name != "check"
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        inspect.Parameter("following", keyword, annotation=Follow, default=False),
    ]
    vars(submit)["__signature__"] = inspect.Signature([*added, *own])
    submit.__annotations__ = {each.name: each.annotation for each in (*added, *own)}
    return submit
