"""The demo documents: complete front matter, a runbook per code, and facts that agree with one another."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipelines.demo
from pipelines.demo.fleet import FAULT_MODES, METRICS, MODELS, NOMINAL

DOCUMENTS = sorted((Path(pipelines.demo.__file__).parent / "documents").glob("*.md"))
CODES = {"E101", "E102", "E204", "E207", "E310", "E313", "E421", "E425", "E501", "E502"}
CODE = re.compile(r"\bE\d{3}\b")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Front matter and body of a document."""
    _, front_matter, body = path.read_text().split("---\n", 2)
    return yaml.safe_load(front_matter), body


def of_type(doc_type: str) -> list[tuple[dict[str, Any], str]]:
    return [(fields, body) for fields, body in map(read, DOCUMENTS) if fields["doc_type"] == doc_type]


def reference_body() -> str:
    return next(body for fields, body in of_type("reference") if fields["title"] == "Error code reference")


def test_there_are_enough_documents() -> None:
    assert len(DOCUMENTS) >= 22


@each_document
def test_front_matter_is_complete_and_true(path: Path) -> None:
    fields, body = read(path)
    assert set(fields) == {"title", "doc_type", "models", "error_codes", "version", "updated", "language"}
    assert fields["doc_type"] in {"manual", "runbook", "schedule", "reference", "notes"}
    assert set(fields["models"]) <= set(MODELS)
    assert fields["models"]
    assert set(fields["error_codes"]) == set(CODE.findall(body))
    assert isinstance(fields["version"], str)
    assert isinstance(fields["updated"], date)
    assert fields["updated"].year == 2026
    assert fields["language"] == "en"
    assert body.startswith(f"# {fields['title']}\n")


@each_document
def test_length_name_and_sections(path: Path) -> None:
    _, body = read(path)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem)
    assert 400 <= len(body.split()) <= 1100
    assert len(re.findall(r"^## ", body, flags=re.MULTILINE)) >= 4


@each_document
def test_every_code_named_is_in_the_reference_table(path: Path) -> None:
    table = set(re.findall(r"^\| (E\d{3}) \|", reference_body(), flags=re.MULTILINE))
    assert table == CODES
    assert set(CODE.findall(read(path)[1])) <= table


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_one_runbook_with_all_its_parts(code: str) -> None:
    (body,) = (body for fields, body in of_type("runbook") if fields["title"].startswith(f"{code}: "))
    sections = re.findall(r"^## (.+)$", body, flags=re.MULTILINE)
    assert sections == [
        "What it means",
        "Likely causes",
        "Immediate actions",
        "How to confirm",
        "What clears the code",
        "When to escalate",
    ]
    assert re.search(rf"\b{code} (clears|does not clear) by itself", body)


@pytest.mark.parametrize("doc_type", ["manual", "schedule"])
def test_every_model_has_its_own(doc_type: str) -> None:
    assert sorted(fields["models"] for fields, _ in of_type(doc_type)) == sorted([model] for model in MODELS)


def test_manuals_state_the_nominal_readings_of_the_fleet() -> None:
    for fields, body in of_type("manual"):
        for metric, nominal in zip(METRICS, NOMINAL[MODELS.index(fields["models"][0])], strict=True):
            assert re.search(rf"^\| {metric} \| [^|]+ \| {nominal:g} \|", body, flags=re.MULTILINE)


def test_runbooks_and_manuals_state_the_limits_of_the_fleet() -> None:
    for mode in FAULT_MODES:
        (runbook,) = (
            body for fields, body in of_type("runbook") if fields["title"].startswith(mode.limit_code)
        )
        manuals = {fields["models"][0]: body for fields, body in of_type("manual")}
        for model, limit in zip(MODELS, mode.limits, strict=True):
            stays = rf"stays (above|below) {limit:g}\b.* for (two|three) hours\.$"
            assert re.search(
                rf"^- On the {model}, {mode.limit_code} is raised .*{stays}", runbook, re.MULTILINE
            )
            assert re.search(
                rf"^- {mode.limit_code}: on the {model}, .*{stays}", manuals[model], re.MULTILINE
            )
