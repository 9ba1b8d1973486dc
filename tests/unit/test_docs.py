"""The documentation says what the code does: settings, calls, commands and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from iotops.cli import build
from iotops.commands.settings import page

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
INTERNAL = re.compile("/(docs|openapi.json|redoc)")


def titled(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_settings_page_is_what_the_command_writes():
    assert (ROOT / "docs" / "settings.md").read_text() == page(), "run: iotops settings --markdown"


def test_the_http_page_lists_every_route():
    from pipelines.ingest.gateway import app as gateway
    from ray_apps.copilot.http.api import app as copilot

    served = {
        f"{method} {prefix}{route.path}"
        for prefix, app in (("", copilot), ("/v1", gateway))
        for route in app.routes
        if not INTERNAL.search(route.path)
        for method in getattr(route, "methods", ())  # a mount of files has none
    }
    listed = re.findall(r"^\| `((?:GET|POST) [^`]+)` \|", (ROOT / "docs" / "http-api.md").read_text(), re.M)
    assert sorted(listed) == sorted(served)


@pytest.mark.parametrize("path", PAGES, ids=titled)
def test_links_lead_somewhere(path: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=titled)
def test_commands_and_their_options_exist(path: Path):
    code = re.findall(r"^```[a-z]*\n(.*?)^```|`([^`\n]+)`", path.read_text(), re.S | re.M)
    lines = chain.from_iterable("".join(found).replace("\\\n", " ").splitlines() for found in code)
    for line in lines:
        for words in re.findall(r"\biotops ([a-z][^#|`\")]*)", line):
            assert_command(words.split())


def test_every_command_has_an_example_of_itself():
    for path, command in leaves(get_command(build())):
        _, _, example = (command.help or "").partition("Example: iotops ")
        assert example, path
        assert_command(re.sub('"[^"]*"', "TEXT", example).split())


def leaves(command: Any, path: str = "iotops") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, each in (inner or {}).items():
        yield from leaves(each, f"{path} {name}")


def assert_command(words: list[str]) -> None:
    command = get_command(build())
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not getattr(command, "commands", None), f"`iotops` has no {words}"
    options = set(chain.from_iterable(each.opts + each.secondary_opts for each in command.params))
    assert {word for word in words if word.startswith("--")} <= options, words
