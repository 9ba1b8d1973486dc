"""Jobs on the Ray cluster through its job API: submitted, followed, found again, ended.

The driver runs on the cluster, so a caller needs the dashboard's address and nothing else: the embedded node
and a remote cluster are reached the same way.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from iotops.ray_cluster import dashboard_client, prepare_environment
from iotops.settings import Settings

if TYPE_CHECKING:
    from ray.job_submission import JobStatus, JobSubmissionClient


def job_client(settings: Settings) -> JobSubmissionClient:
    """A client of the cluster's job API; raises `Unanswered` where the dashboard does not answer."""
    prepare_environment(settings.ray)
    from ray.job_submission import JobSubmissionClient

    return dashboard_client(JobSubmissionClient, settings.ray)


def submit(
    client: JobSubmissionClient,
    module: str,
    arguments: Sequence[str],
    job_id: str | None = None,
    metadata: dict[str, str] | None = None,
) -> str:
    """Start `python -m <module> <arguments>`; its id. A job of that `job_id` that exists is left as it is."""
    if job_id and any(job.submission_id == job_id for job in client.list_jobs()):
        return job_id
    started: str = client.submit_job(
        entrypoint=shlex.join(["python", "-m", module, *arguments]),
        submission_id=job_id,
        metadata={"module": module, **(metadata or {})},
    )
    return started


def follow(client: JobSubmissionClient, job_id: str, on_line: Callable[[str], None]) -> JobStatus:
    """Pass on each line of the job's log until it ends; how it ended."""

    async def tail() -> None:
        rest = ""
        async for text in client.tail_job_logs(job_id):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                on_line(line)
        if rest:
            on_line(rest)

    asyncio.run(tail())
    return client.get_job_status(job_id)
