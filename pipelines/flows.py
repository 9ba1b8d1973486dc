"""The Prefect flows: each has its stage done as a job on the Ray cluster, for one tenant or for every one.

Prefect reads its settings as it is imported: `flow_commands.run_flow` sets them before it imports this, a
scheduled run gets them from its worker. The flows read the platform's own settings where they run, so that
no secret is a parameter that Prefect would store.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from datetime import date, datetime
from threading import Event
from typing import Any

from prefect import State, flow, get_client, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.runtime import flow_run, task_run
from prefect.tasks import exponential_backoff

from iotops.errors import IotOpsError
from iotops.provisioning import list_tenants
from iotops.settings import get_settings
from iotops.tenancy import SHARED_PREFIX
from pipelines.jobs.client import job_client, submit
from pipelines.jobs.protocol import JobRefused, JobStopped, attend
from pipelines.notices import notify_failure
from pipelines.stages import STAGES, Counts, StageResult

on_progress: ContextVar[Callable[[str], None] | None] = ContextVar("on_progress", default=None)
"""Told of each step by a flow that runs in this process; Prefect's log has the steps in any case."""
stopping: ContextVar[Event | None] = ContextVar("stopping", default=None)
"""Set when the run for every tenant ends early: what it waits for ends too."""


def _run_name() -> str:
    return f"{flow_run.flow_name}-{flow_run.parameters.get('tenant') or 'every-tenant'}"


def _worth_retrying(task: Any, run: Any, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return not isinstance(error, JobRefused | JobStopped)


FLOW: dict[str, Any] = {
    "flow_run_name": _run_name,
    "on_failure": [notify_failure],
    "on_crashed": [notify_failure],
}


@task(
    task_run_name="{stage}-{tenant}",
    retry_jitter_factor=0.5,
    retry_condition_fn=_worth_retrying,
    cache_policy=NO_CACHE,
)
def stage_job(stage: str, tenant: str, hours: list[datetime], days: list[date]) -> StageResult:
    """Submit the stage to the cluster and wait for it; however this ends, the job ends with it.

    The job's id follows from the run and the attempt, so that a task that is started again finds its job.
    """
    settings, log, follow = get_settings(), get_run_logger(), on_progress.get()
    arguments = [stage, "--tenant", tenant]
    arguments += ["--hours", *(f"{hour:%Y-%m-%dT%H}" for hour in hours)] if hours else []
    arguments += ["--days", *map(str, days)] if days else []
    job_id = f"{stage}-{tenant}-{flow_run.id}-{flow_run.run_count}-{task_run.run_count}"
    client = job_client(settings)
    submit(
        client, "pipelines.jobs.stage", arguments, job_id, {"tenant": tenant, "flow_run": str(flow_run.id)}
    )
    log.info("Ray job %s: %s", job_id, settings.ray.dashboard_url)

    def report(message: str) -> None:
        log.info(message)
        if follow:
            follow(message)

    # Not Prefect's own time limit: the exception that it sends into a thread may be lost in a callback.
    limit_s = settings.prefect.stage_timeout_s
    result = StageResult(**attend(client, job_id, report, stopping.get(), limit_s))
    for warning in result.warnings:
        log.warning(warning)
    return result


@flow(name="bronze-to-silver", **FLOW)
def bronze_to_silver(tenant: str | None = None, hours: list[datetime] | None = None) -> Counts:
    """Bring the silver tables of a tenant, or of every one, to the state of bronze."""
    return _stage(bronze_to_silver, tenant, hours=hours)


@flow(name="silver-to-gold", **FLOW)
def silver_to_gold(tenant: str | None = None, days: list[date] | None = None) -> Counts:
    """Score the devices of a tenant, or of every one, on the days that changed, or on `days`."""
    return _stage(silver_to_gold, tenant, days=days)


@flow(name="lake-maintenance", **FLOW)
def lake_maintenance(tenant: str | None = None) -> Counts:
    """Remove what silver no longer needs and the audit no longer keeps, of a tenant or of every one."""
    return _stage(lake_maintenance, tenant)


@flow(name="doc-ingestion", **FLOW)
def doc_ingestion(tenant: str | None = None) -> Counts:
    """Bring the index of a tenant, of `shared`, or of all of them, up to date with its documents."""
    return _stage(doc_ingestion, tenant)


@flow(name="enrichment", **FLOW)
def enrichment(tenant: str | None = None) -> Counts:
    """Explain the error codes in the fleet of a tenant, or of every one, with its articles."""
    return _stage(enrichment, tenant)


@flow(name="rag-evaluation", **FLOW)
def rag_evaluation(tenant: str | None = None) -> Counts:
    """Measure how well retrieval finds what the shelves of a tenant, or of every one, hold."""
    return _stage(rag_evaluation, tenant)


FLOWS = {
    each.name: each
    for each in (
        bronze_to_silver,
        silver_to_gold,
        lake_maintenance,
        enrichment,
        doc_ingestion,
        rag_evaluation,
    )
}


def _stage(
    flow: Any, tenant: str | None, hours: list[datetime] | None = None, days: list[date] | None = None
) -> Counts:
    """Have the flow's stage done for the tenant, while no more than a few flows work for it; or for each."""
    if tenant is None:
        limits = {name: value for name, value in (("hours", hours), ("days", days)) if value}
        return _for_every_tenant(flow, limits)
    settings = get_settings().prefect
    slot = f"tenant-{tenant}"
    set_limit(slot, settings.tenant_runs)
    job = stage_job.with_options(
        retries=settings.retries,
        retry_delay_seconds=exponential_backoff(settings.retry_delay_s),
    )
    # A run outlives the server: the slot is for fairness, and no reason to break off.
    with concurrency(slot, strict=True, raise_on_lease_renewal_failure=False):
        result: StageResult = job(flow.name, tenant, hours or [], days or [])
    _publish(flow.name, tenant, result)
    return result.counts


def set_limit(slot: str, runs: int) -> None:
    """Make a slot that so many runs may have at once.

    Prefect looks and then writes: of the first two runs of a tenant that begin together, one fails to.
    """
    with get_client(sync_client=True) as client:
        try:
            client.upsert_global_concurrency_limit_by_name(slot, runs)
        except (ObjectAlreadyExists, PrefectHTTPStatusError):
            client.upsert_global_concurrency_limit_by_name(slot, runs)


def _for_every_tenant(flow: Any, limits: dict[str, Any]) -> Counts:
    """A run for each tenant, some at a time; one that fails stops none of the others.

    Raises `IotOpsError` at the end, naming those that failed.
    """
    settings = get_settings()
    tenants = [tenant.id for tenant in list_tenants(settings)]
    if STAGES[flow.name].for_shared:
        tenants.append(SHARED_PREFIX)
    stop = Event()
    stopping.set(stop)
    pool = ThreadPoolExecutor(settings.prefect.parallel_tenants)
    try:
        runs = {tenant: pool.submit(_prepared(flow, tenant, limits)) for tenant in tenants}
        states: dict[str, State] = {tenant: run.result() for tenant, run in runs.items()}
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    failed = {tenant: state.message for tenant, state in states.items() if not state.is_completed()}
    if failed:
        reasons = "; ".join(f"{tenant}: {message}" for tenant, message in failed.items())
        raise IotOpsError(f"{flow.name} failed for {len(failed)} of {len(tenants)} tenants: {reasons}")
    totals: Counts = {"tenants": len(tenants)}
    for state in states.values():
        for name, value in state.result().items():
            if isinstance(value, int):
                totals[name] = int(totals.get(name, 0)) + value
    return totals


def _prepared(flow: Any, tenant: str, limits: dict[str, Any]) -> Callable[[], State]:
    """The tenant's run, to be started in another thread as a part of this one."""
    context = copy_context()
    return lambda: context.run(flow, tenant=tenant, return_state=True, **limits)


def _publish(name: str, tenant: str, result: StageResult) -> None:
    """Keep the tables with the run; an artifact's key has no underscore, a tenant's id may."""
    key = tenant.replace("_", "-")
    rows = [{column: str(value) for column, value in row.items()} for row in result.rows] or [
        {column: str(value) for column, value in result.counts.items()}
    ]
    said = [
        f"{STAGES[name].description} Tenant {tenant}.",
        *(f"**Warning:** {each}" for each in result.warnings),
    ]
    create_table_artifact(rows, key=f"{name}-{key}", description="\n\n".join(said))
    if name == "bronze-to-silver":
        create_table_artifact(
            result.quarantine,
            key=f"quarantine-{key}",
            description=f"What went into quarantine, by reason, with one record of each. Tenant {tenant}.",
        )
