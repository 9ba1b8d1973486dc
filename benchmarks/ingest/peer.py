"""What a user would pick instead: Quix Streams with its own sinks, as its documentation uses them.

It needs other versions of shared packages than this project, so it runs in an environment of its own, as a
script: arguments as JSON on stdin, records per second on the last line of stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

REQUIREMENTS = ("quixstreams[postgresql,s3]==3.28.1",)
COMMIT_EVERY = 5000


def rate(task: str, folder: Path, **options: Any) -> float:
    """Records per second of the peer's `bronze` or `silver`, in its own environment under `folder`."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run([python, "-m", "pip", "install", "-qq", *REQUIREMENTS], check=True, env=quiet)
    done = subprocess.run(
        [python, __file__],
        input=json.dumps({"task": task, **options}),
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        raise SystemExit(f"the peer failed: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Run one task of the peer; only its own environment has these packages."""
    from quixstreams import Application

    given = json.load(sys.stdin)
    started: list[float] = []

    def first(*_: object) -> None:
        if not started:
            started.append(time.perf_counter())

    application = Application(
        broker_address=given["kafka"],
        consumer_group=f"peer-{time.time_ns()}",
        auto_offset_reset="earliest",
        commit_every=COMMIT_EVERY,
        commit_interval=60,
        loglevel="ERROR",
        auto_create_topics=False,
        on_message_processed=first,
        max_partition_buffer_size=50_000,
    )
    kind = "json" if given["task"] == "silver" else "str"
    topic = application.topic(given["topic"], value_deserializer=kind)
    frame = application.dataframe(topic)
    if given["task"] == "silver":
        frame = frame.apply(row, metadata=True)
    frame.sink(SINKS[given["task"]](given))
    application.run(count=given["records"], timeout=60)
    print(given["records"] / (time.perf_counter() - started[0]))


def row(reading: dict[str, Any], key: Any, _timestamp: int, _headers: Any) -> dict[str, Any]:
    """A reading as the columns of a table."""
    names = ("device_id", "ts", "seq", "metrics", "model", "firmware")
    return {name: reading.get(name) for name in names}


def bronze(given: dict[str, Any]) -> Any:
    """Compressed JSON lines to the object store."""
    from quixstreams.sinks.community.file.formats import JSONFormat
    from quixstreams.sinks.community.file.s3 import S3FileSink

    return S3FileSink(
        bucket=given["bucket"],
        directory="peer",
        format=JSONFormat(compress=True),
        aws_access_key_id=given["access_key"],
        aws_secret_access_key=given["secret_key"],
        region_name="us-east-1",
        endpoint_url=given["endpoint"],
    )


def silver(given: dict[str, Any]) -> Any:
    """Rows to Postgres, a repeat of a device's reading ignored."""
    from quixstreams.sinks.community.postgresql import PostgreSQLSink

    return PostgreSQLSink(
        **given["postgres"],
        schema_name="peer",
        table_name="peer_telemetry",  # it looks for the key of any table of the name, in every schema
        primary_key_columns=["device_id", "ts", "seq"],
        on_conflict_do_nothing=True,
    )


SINKS = {"bronze": bronze, "silver": silver}

if __name__ == "__main__":
    main()
