"""Following a job: what ends the wait for it, whatever else fails to."""

from __future__ import annotations

from typing import cast

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from pipelines.jobs.protocol import RESULT, Heard, JobFailed, attend, progress, reported


class Endless:
    """A cluster whose job goes on for ever."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def get_job_status(self, job_id: str) -> JobStatus:
        return JobStatus.RUNNING

    def get_job_logs(self, job_id: str) -> str:
        return "progress: reading\n"

    def stop_job(self, job_id: str) -> bool:
        self.stopped.append(job_id)
        return True


def test_a_job_that_takes_too_long_is_stopped_and_has_failed():
    cluster = Endless()
    with pytest.raises(JobFailed, match="timeout: job j-1 had not ended"):
        attend(cast(JobSubmissionClient, cluster), "j-1", timeout_s=0.2)
    assert cluster.stopped == ["j-1"]


def test_a_result_is_heard_whole_whatever_ends_of_lines_its_texts_hold(capsys: pytest.CaptureFixture[str]):
    titles = ["pump\u2028guide", "pump\u0085guide", "pump\x0bguide", "pump\r\nguide"]
    progress("reading")
    reported(lambda: titles)
    passed_on: list[str] = []
    heard = Heard(passed_on.append)
    heard.listen(capsys.readouterr().out)
    assert (passed_on, heard.end) == (["reading"], (RESULT, titles))
