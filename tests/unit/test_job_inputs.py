"""What jobs read: columns of text, and files of questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from iotops.errors import IotOpsError
from pipelines.jobs.places import Place
from pipelines.jobs.questions import parse_questions
from pipelines.jobs.texts import check_columns, parts_of, text_files

MANY = 200_000
"""Rows of more than one block of Arrow's."""


def read(path: Path) -> list[dict[str, str]]:
    place = Place(str(path), LocalFileSystem(), str(path))
    texts = text_files(place)
    check_columns(texts, place, "text", "id")
    return [row for part in parts_of(texts, "text", "id", MANY) for row in part.to_pylist()]


def test_an_id_in_csv_is_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n00123,1\n" + "7,some words\n" * MANY + "x-1,two\n")
    rows = read(tmp_path / "a.csv")
    assert rows[0] == {"id": "00123", "text": "1"}
    assert rows[-1] == {"id": "x-1", "text": "two"}


def test_ids_of_two_kinds_in_jsonl_are_refused(tmp_path: Path) -> None:
    rows = '{"id": 1, "text": "some words"}\n' * MANY
    (tmp_path / "a.jsonl").write_text(rows + '{"id": "x", "text": "two"}\n')
    with pytest.raises(IotOpsError, match=r"cannot be read to its end: .*id"):
        read(tmp_path / "a.jsonl")


def test_an_id_of_a_question_may_be_zero() -> None:
    rows = b'{"id": 0, "question": "Why?"}\n{"id": "", "question": "How?"}\n{"question": "When?"}\n'
    assert [each.id for each in parse_questions("q.jsonl", rows)] == ["0", "2", "3"]


def test_a_question_may_hold_any_line_separator_but_a_newline() -> None:
    (question,) = parse_questions("q.jsonl", '{"question": "Why\u2028now?"}\r\n'.encode())
    assert question.question == "Why\u2028now?"
