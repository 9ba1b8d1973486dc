"""The command: a failure that is known is told in a line, and what is to be copied stays whole."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from iotops.commands.console import cell, print_columns
from tests.listening import listening

NOBODY = "127.0.0.1:1"
DATABASE, LAKE, RAY = f"the database at {NOBODY}", f"the object store at http://{NOBODY}", f"Ray at {NOBODY}"
DASHBOARD, GATEWAY = f"Ray's dashboard at http://{NOBODY}", f"no gateway answers at http://{NOBODY}"

CREDENTIALS = "ID", "DATABASE_ROLE", "DATABASE_PASSWORD", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"


def failure(arguments: list[str], **environment: str) -> str:
    """What a command that fails tells, which is one message and no traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", "from iotops.cli import main; main()", *arguments],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    before, _, told = ended.stderr.partition("error: ")  # a bar of progress may stand before it
    assert (ended.returncode, "Traceback" in before) == (1, False), ended.stderr
    return told


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (["tenant", "list"], DATABASE),
        (["ask", "Is it hot?", "--tenant", "acme"], DATABASE),
        (["docs", "list", "--tenant", "acme"], DATABASE),  # which nobody may have
        (["sql", "SELECT 1"], DATABASE),
        (["docs", "list", "--shared"], LAKE),
        (["serve"], DASHBOARD),
        (["ingest", "status"], RAY),
        (["flow", "list"], f"Prefect at http://{NOBODY}"),
    ],
)
def test_a_server_that_does_not_answer_is_named_with_the_home(
    arguments: list[str], server: str, tmp_path: Path
) -> None:
    away = {"DATABASE__PORT": "1", "LAKE__ENDPOINT": f"http://{NOBODY}", "RAY__ADDRESS": NOBODY}
    away |= {"RAY__DASHBOARD_URL": f"http://{NOBODY}", "PREFECT__API_URL": f"http://{NOBODY}"}
    away |= {f"TENANT_{name}": "acme" for name in CREDENTIALS}
    told = failure(
        arguments, IOTOPS_HOME=str(tmp_path), **{f"IOTOPS_{name}": value for name, value in away.items()}
    )
    assert f"{server} does not answer" in told
    assert f"`iotops up` starts the embedded one, with its home in {tmp_path};" in told


def test_a_dashboard_that_refuses_says_why() -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403, "you may not")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    url = f"http://127.0.0.1:{server.server_port}"
    with listening(server):
        told = failure(["job", "list"], IOTOPS_RAY__DASHBOARD_URL=url)
    assert told.startswith(f"Ray's dashboard at {url} answers: Authentication failed")


@pytest.mark.parametrize("command", [["replay", "pdm", "."], ["simulate", "--for", "1s"]])
def test_a_gateway_that_does_not_answer_is_named(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "PdM_machines.csv").write_text("machineID,model\n1,model3\n")
    (tmp_path / "PdM_telemetry.csv").write_text(
        "datetime,machineID,volt,rotate,pressure,vibration\n2026-11-01 06:00:00,1,176.2,418.5,113.1,45.1\n"
    )
    arguments = [str(tmp_path) if word == "." else word for word in command]
    settings = {"IOTOPS_SERVE__PORT": "1", "IOTOPS_RAY__ADDRESS": NOBODY, "IOTOPS_AUTH__JWT_SECRET": "s" * 40}
    assert failure([*arguments, "--tenant", "acme"], **settings).startswith(GATEWAY)


def test_an_error_is_told_as_it_is_and_on_one_line() -> None:
    file = f"[draft]/{'folder/' * 20}[/old].json"
    told = failure(["sql", "SELECT 1", "--credentials", file])
    assert told.startswith(f"the credentials in {file} cannot be read: ")


def test_what_is_to_be_copied_is_neither_cut_nor_folded(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(("device", "password"), ("pump-1", "x" * 200), ("a-longer-name", ""))
    assert capsys.readouterr().out.splitlines() == [
        "device         password",
        f"pump-1         {'x' * 200}",
        "a-longer-name",
    ]


def test_progress_tells_names_as_they_are() -> None:
    program = "from iotops.commands.console import progress\nwith progress('a') as say: say('[/old].md')"
    terminal = os.environ | {"FORCE_COLOR": "1"}
    shown = subprocess.run([sys.executable, "-c", program], env=terminal, capture_output=True, check=True)
    assert b"[/old].md" in shown.stderr


def test_names_in_a_table_are_no_markup_and_are_folded() -> None:
    table, console = Table(box=None, padding=0), Console(width=10)
    table.add_row(cell("[draft]/manual.md[/old]"))
    with console.capture() as shown:
        console.print(table)
    assert "".join(shown.get().split()) == "[draft]/manual.md[/old]"
