"""Jobs on the real cluster through `iotops job`: refused early, listed, followed, stopped and resumed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from indexes.encoder import SentenceEncoder
from iotops.cli import build
from iotops.database import engine, tenant_transaction
from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.backfill import Range, backfill
from pipelines.jobs.batch_embedding import batch_embedding
from pipelines.jobs.client import job_client
from pipelines.jobs.commands import JOBS
from tests.integration.test_lake import put_object, readings
from tests.waiting import eventually

TENANT = Tenant("jobs_east")
OUTPUT = f"lake://{TENANT.id}/exports/vectors"
PARTS, PART_ROWS = 24, 30
FIRST_HOUR = datetime(2026, 11, 1, tzinfo=UTC)
HOURS = 30
LOADED = text("SELECT arrival_hour, loaded_at FROM ingest.lake_hours WHERE listing <> '' ORDER BY 1")


@pytest.fixture(scope="module")
def notes(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenant, and a file of notes on its machines."""
    create_tenant(settings, TENANT)
    folder = tmp_path_factory.mktemp("jobs")
    texts = [
        f"machine {number % 97} hums at {number} Hz, bearing warm" for number in range(PARTS * PART_ROWS)
    ]
    pq.write_table(pa.table({"note": texts, "hertz": range(len(texts))}), folder / "notes.parquet")
    (folder / "questions.csv").write_text("id,question\n1,What does E421 mean?\n2,x\n")
    return folder / "notes.parquet"


def iotops(*words: str) -> Result:
    return CliRunner().invoke(build(), words)


def listed(job_id: str) -> dict[str, Any]:
    return next(job for job in orjson.loads(iotops("job", "list", "--json").stdout) if job["id"] == job_id)


@pytest.mark.parametrize("job", JOBS)
def test_each_job_says_how_it_is_called(settings: Settings, job: str) -> None:
    shown = iotops("job", "submit", job, "--help")
    assert shown.exit_code == 0
    assert "Example:" in shown.stdout
    assert "--tenant" in shown.stdout


EMBED = ("batch-embedding", "--output", OUTPUT, "--column", "note", "--input")
BACKFILL = ("backfill", "--from", "2026-11-02", "--to", "2026-11-01")


@pytest.mark.parametrize(
    ("tenant", "words", "told"),
    [
        ("jobs_no_one", (*EMBED, "NOTES"), "there is no tenant 'jobs_no_one'; `iotops tenant list` shows"),
        (TENANT.id, (*EMBED, "/tmp/is-not-there.parquet"), "input /tmp/is-not-there.parquet does not exist"),
        (TENANT.id, (*EMBED, "notes.parquet"), "notes.parquet is relative"),
        (TENANT.id, (*EMBED, "lake://rival/exports/x.csv"), "lake://rival/exports/x.csv is not a place of"),
        (TENANT.id, (*EMBED, "NOTES", "--column", "words"), "has no column 'words'; its columns are: note"),
        (TENANT.id, (*EMBED, "NOTES", "--column", "hertz"), "holds int64, not text"),
        (TENANT.id, (*EMBED, "NOTES", "--output", "/tmp/vectors"), "name a lake:// place"),
        (TENANT.id, (*EMBED, "NOTES", "--output", f"lake://{TENANT.id}/bronze/x"), "a job writes to"),
        (TENANT.id, ("batch-ask", "--output", OUTPUT, "--input", "QUESTIONS"), "question 2: 1 characters"),
        (TENANT.id, ("batch-ask", "--output", OUTPUT, "--input", "NOTES"), "a .txt, .csv or .jsonl file"),
        (TENANT.id, (*BACKFILL, "bronze-to-silver"), "--from 2026-11-02 is after --to 2026-11-01"),
        (TENANT.id, (*BACKFILL, "enrichment"), "these can: bronze-to-silver, silver-to-gold"),
        ("jobs_no_one", (*BACKFILL, "bronze-to-silver"), "there is no tenant 'jobs_no_one'"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_anything_is_submitted(
    settings: Settings, notes: Path, tenant: str, words: tuple[str, ...], told: str
) -> None:
    files = {"NOTES": str(notes), "QUESTIONS": str(notes.with_name("questions.csv"))}
    before = len(job_client(settings).list_jobs())
    refused = iotops("job", "submit", *(files.get(word, word) for word in words), "--tenant", tenant)
    assert isinstance(refused.exception, IotOpsError), refused.output
    assert refused.exit_code == 1
    assert told in str(refused.exception)
    assert len(job_client(settings).list_jobs()) == before


@pytest.mark.parametrize("command", ["stop", "logs"])
def test_an_unknown_job_is_named(settings: Settings, command: str) -> None:
    failed = iotops("job", command, "nobody-submitted-this")
    assert "'nobody-submitted-this' is unknown: `iotops job list` shows all" in str(failed.exception)


def test_embedding_stopped_halfway_goes_on_where_it_was(settings: Settings, notes: Path) -> None:
    lake, folder = lake_filesystem(settings.lake), OUTPUT.removeprefix("lake://")
    words = ("job", "submit", *EMBED, str(notes), "--tenant", TENANT.id, "--part-rows", str(PART_ROWS))

    def parts() -> dict[str, Any]:
        found = lake.get_file_info(pa.fs.FileSelector(folder, allow_not_found=True))
        return {info.base_name: info.mtime_ns for info in found if info.base_name.endswith(".parquet")}

    submitted = iotops(*words)
    job_id = re.findall(r"raysubmit_\w+", submitted.stdout)[0]
    eventually(parts)
    running = listed(job_id)
    assert (running["job"], running["tenant"], running["state"]) == (
        "batch-embedding", TENANT.id, "RUNNING",
    )  # fmt: skip
    assert "is being stopped" in iotops("job", "stop", job_id).stdout
    eventually(lambda: listed(job_id)["state"] == "STOPPED")
    assert "has ended already: STOPPED" in str(iotops("job", "stop", job_id).exception)
    kept = parts()
    assert 0 < len(kept) < PARTS

    resumed = iotops(*words, "--follow")
    assert resumed.exit_code == 0, resumed.output
    assert f"{len(kept)} of {PARTS} parts are there from an earlier run" in resumed.stdout
    assert f"part {PARTS} of {PARTS}, {(PARTS - len(kept)) * PART_ROWS:,} texts" in resumed.stdout
    done = parts()
    assert len(done) == PARTS
    assert {name: done[name] for name in kept} == kept, "what was there is not written again"

    rows, texts = pq.read_table(folder, filesystem=lake), pq.read_table(notes)["note"]
    assert rows["id"].to_pylist() == [str(number) for number in range(len(texts))]
    assert rows["text"].to_pylist() == texts.to_pylist()
    some = slice(None, None, 41)  # of every part
    vectors = np.stack(rows["vector"].to_numpy()[some])
    expected = SentenceEncoder(resolve_role(settings, "embedder")).encode(texts.to_pylist()[some])
    assert (vectors * expected).sum(axis=1).min() > 0.999, "an undisturbed run's, but for rounding"


def test_another_jobs_output_is_not_mixed_with(settings: Settings, notes: Path) -> None:
    with pytest.raises(IotOpsError, match="another job's work, which differs in part rows: name another"):
        batch_embedding(TENANT.id, str(notes), OUTPUT, column="note", part_rows=7)


def test_a_killed_backfill_does_only_what_is_left(settings: Settings, notes: Path) -> None:
    sent = readings([FIRST_HOUR.date()])
    for number in range(HOURS):
        hour = FIRST_HOUR + timedelta(hours=number)
        put_object(settings, TENANT.telemetry_topic, hour, [sent[number % len(sent)]], number)
    days = Range(FIRST_HOUR.date(), FIRST_HOUR.date() + timedelta(days=1))
    job = [sys.executable, "-m", "pipelines.jobs.backfill", "bronze-to-silver", "--tenant", TENANT.id]
    driver = subprocess.Popen(
        [*job, "--from", str(days.first), "--to", str(days.last)], stdout=subprocess.DEVNULL
    )

    def loaded() -> dict[datetime, datetime]:
        with tenant_transaction(engine(settings.database), TENANT) as connection:
            return {row.arrival_hour: row.loaded_at for row in connection.execute(LOADED)}

    try:
        eventually(loaded)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    kept = loaded()
    assert 0 < len(kept) < HOURS

    steps: list[str] = []
    report = backfill(settings, TENANT.id, "bronze-to-silver", days, steps.append)
    assert (report.total, report.found_done) == (HOURS, len(kept))
    assert f"{len(kept)} of {HOURS} hours" in steps
    after = loaded()
    assert len(after) == HOURS
    assert {hour: after[hour] for hour in kept} == kept

    again = backfill(settings, TENANT.id, "bronze-to-silver", days, steps.append)
    assert again.found_done == 0, "a finished range is done anew"
