"""The text of bronze objects, whole and damaged, and since when they are looked at."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.lake.bronze_objects import lines_of
from pipelines.lake.bronze_to_silver import REVISIT, look_from
from pipelines.lake.loads import OWED

LINES = [f'{{"offset": {n}, "value": "{random.Random(n).randbytes(40).hex()}"}}' for n in range(400)]
CONTENT = "\n".join(LINES).encode() + b"\n"
PACKED = gzip.compress(CONTENT)


def test_a_whole_object_is_its_lines() -> None:
    assert lines_of(PACKED) == CONTENT
    assert lines_of(PACKED + gzip.compress(b"more\n")) == CONTENT + b"more\n"


def test_of_one_that_is_cut_short_the_lines_before_the_cut_are_kept() -> None:
    *kept, last = lines_of(PACKED[: len(PACKED) // 2]).decode().split("\n")
    assert 100 < len(kept) < 300
    assert kept == LINES[: len(kept)]
    problem, _, rest = last.partition("; at the damage: ")
    assert problem == "unreadable object: it is cut short"
    assert LINES[len(kept)].startswith(rest)


def test_a_cut_in_the_last_bytes_costs_no_line() -> None:
    assert lines_of(PACKED[:-4]).decode().split("\n") == [*LINES, "unreadable object: it is cut short"]


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")])
def test_an_empty_one_says_so(content: bytes) -> None:
    assert lines_of(content) == b"unreadable object: it is empty"


@pytest.mark.parametrize("content", [b"PAR1\x15\x04", PACKED[:-8] + b"\0" * 8])
def test_of_one_that_is_no_gzip_or_fails_its_checksum_nothing_is_trusted(content: bytes) -> None:
    assert lines_of(content).startswith(b"unreadable object: Error -3")
    assert b"\n" not in lines_of(content)


def test_hours_that_lie_ahead_hide_none_of_those_that_come() -> None:
    now = datetime(2026, 11, 2, 15, 20, tzinfo=UTC)
    newest, ahead = datetime(2026, 11, 2, 15, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    assert look_from({ahead: "a"}, now) is None
    assert look_from({newest: "a", ahead: "b"}, now) == newest - REVISIT
    owed = newest - timedelta(days=30)
    assert look_from({newest: "a", ahead: "b", owed: OWED}, now) == owed
