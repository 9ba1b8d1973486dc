"""What a question names is looked up: devices in any case, models, codes; it is read as that alone."""

from __future__ import annotations

import pytest

from indexes.codes import code_key
from tests.unit.test_tools import Eventful, Runbooks, gathered


@pytest.mark.parametrize("device", ["machine-006", "P-101", "CNC-07", "V2", "E-12", "E421-A"])
@pytest.mark.parametrize(
    ("question", "beside", "codes"),
    [
        ("{} is offline since E421, what should I do?", False, ["E421"]),
        ("What is wrong with {} and what should I do?", False, []),
        ("What is wrong and what should I do?", True, []),
        ("errors on {} today", False, []),
        ("{} had errors but no alerts", False, []),
    ],
)
def test_the_name_of_a_device_is_no_code(device: str, question: str, beside: bool, codes: list[str]):
    records, heard = Eventful(device), []
    spelt = question.format(device.lower())
    found = gathered(records, spelt, device if beside else None, Runbooks(hangs=False), heard.append)
    assert (records.read, records.codes) == ([device], codes)
    assert found.focus - {"p"} == {*map(code_key, codes)}, "but for its model"
    documents = [tool.arguments for tool in found.tools if tool.name == "fetch_related_docs"]
    assert documents == [{"error_code": code} for code in codes]
    searched = [each.arguments["query"] for each in heard if each.tool == "search_documents"]
    assert device not in searched[-1], "of what its trouble means"


@pytest.mark.parametrize(
    ("question", "device", "read"),
    [
        ("What errors happened yesterday?", None, ["fleet"]),
        ("What errors did machine-999 have yesterday?", None, []),
        ("What errors did machine 999 have yesterday?", None, []),
        ("What errors did press_a.3 have yesterday?", None, []),
        ("Which errors happened yesterday?", "machine-999", []),
        ("What errors did machine-006 have yesterday?", None, ["machine-006"]),
        ("Are machines 6 and 7 ok?", None, ["machine-006", "machine-007"]),
        ("p-101 errors today", None, ["P-101"]),
        ("is it ok?", "p-101", ["P-101"]),
        ("m6 errors today", None, []),
        ("M-006 errors last night", None, []),
        ("who had E421 or m6 today?", None, []),
        ("e-421 errors today", None, ["fleet"]),
        ("E310 errors today", None, ["fleet"]),
        ("E311 errors today", None, []),
    ],
)
def test_a_device_that_is_not_known_is_never_answered_for_by_the_fleet(
    question: str, device: str | None, read: list[str]
):
    records = Eventful("machine-006", "machine-007", "P-101")
    found = gathered(records, question, device)
    assert records.read == read
    assert bool(found.lead) == bool(read)
