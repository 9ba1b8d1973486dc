"""A model's tool calls: which are run, as whom, and what becomes of what they find."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import pytest

from indexes.codes import code_key
from iotops.http import ApiError
from iotops.tenancy import Tenant
from ray_apps.chat import ProposedCall
from ray_apps.copilot.contracts import ToolCall, Trace
from ray_apps.copilot.events import unheard
from ray_apps.copilot.evidence.devices import Scope
from ray_apps.copilot.evidence.evidence import Evidence
from ray_apps.copilot.evidence.lookup import MOST_DEVICES, Lookup
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.evidence.passages import Passage
from ray_apps.copilot.evidence.tools import (
    MOST_CALLS,
    TOOLS,
    DeviceMetrics,
    IncidentHistory,
    RelatedDocs,
    accepted,
    name_of,
    schemas,
)
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.leaving_out import LeftOut
from ray_apps.copilot.question.period import EVER, Period
from ray_apps.copilot.question.planner import plan
from tests.unit.guards import alike

ACME = Tenant("acme")


def call(name: str, **arguments: Any) -> ProposedCall:
    return ProposedCall(name=name, arguments=json.dumps(arguments))


def test_the_schemas_have_the_tools_and_no_tenant():
    told = {each["function"]["name"]: each["function"]["parameters"] for each in schemas()}
    assert told.keys() == TOOLS.keys()
    assert {name: parameters["required"] for name, parameters in told.items()} == {
        "get_device_metrics": ["device_id"], "get_incident_history": [], "fetch_related_docs": ["error_code"],
    }  # fmt: skip
    assert "tenant" not in json.dumps(told)


def test_good_calls_are_accepted_and_a_tenant_in_them_is_not_read():
    wanted, dropped = accepted(
        [
            call("get_device_metrics", device_id="press-1", tenant_id="rival"),
            call("get_incident_history", tenant_id="rival"),
            call("fetch_related_docs", error_code="E421"),
        ],
        [],
    )
    assert wanted == [DeviceMetrics(device_id="press-1"), IncidentHistory(), RelatedDocs(error_code="E421")]
    assert dropped == []
    assert all("rival" not in str(each.model_dump()) for each in wanted)


@pytest.mark.parametrize(
    ("proposed", "reason"),
    [
        (call("drop_table", device_id="x"), "no tool is called 'drop_table'"),
        (call("get_device_metrics"), "device_id Field required"),
        (call("get_device_metrics", device_id="../etc"), "device_id"),
        (call("fetch_related_docs", error_code="E421' OR 1=1"), "error_code"),
        (ProposedCall(name="get_device_metrics", arguments="{not json"), "Invalid JSON"),
        (ProposedCall(name="get_device_metrics", arguments="[]"), "get_device_metrics"),
        (call("get_device_metrics", device_id="press-9"), "done already"),
        (call("get_incident_history", device_id="press-9"), "done already"),
    ],
)
def test_calls_that_do_not_hold_are_dropped_with_their_reason(proposed: ProposedCall, reason: str):
    done = [
        ToolCall(name="get_device_metrics", arguments={"device_id": "press-9"}, result={}),
        ToolCall(name="get_incident_history", arguments={"device_id": "press-9", "since": "x"}, result={}),
    ]
    wanted, (told,) = accepted([proposed], done)
    assert wanted == []
    assert reason in told


def test_too_many_calls_and_the_same_twice_are_dropped():
    proposed = [call("get_device_metrics", device_id=f"press-{n}") for n in range(MOST_CALLS + 2)]
    wanted, dropped = accepted([proposed[0], *proposed], [])
    assert len(wanted) == MOST_CALLS
    assert len(dropped) == 3


def record(device: str, codes: Sequence[str] = ()) -> dict[str, Any]:
    """The records of a device that never reported any code."""
    never = [{"error_code": code, "times": 0, "latest": None} for code in codes]
    return {
        "device_id": device, "model": "P", "day": "2026-11-24", "score": 41.0, "components": [],
        "trend": [], "events": [], "codes": [], "alerts": [], "open_alerts": 0, "asked_codes": never,
    }  # fmt: skip


class Records:
    """Devices by tenant, and who asked for which."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.together = asyncio.Event()

    def insights(
        self, tenant: Tenant, device: str, period: Period = EVER, codes: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        self.asked.append((tenant.id, device))
        if (tenant.id, device) != ("acme", "press-1"):
            return None
        return record(device, codes)


class Shelf:
    """A retriever that fails, or hangs."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs
        self.search = self

    def options(self, *, multiplexed_model_id: str) -> Shelf:
        return self

    async def remote(self, *asked: Any) -> dict[str, Any]:
        if self.hangs:
            await asyncio.Event().wait()
        raise RuntimeError("the index is gone")


DOCUMENT = Passage("d", "Press", "lake://d", "Meaning", "A press presses.", 0)
RECORD = Passage("device:press-7", "Device press-7", "/insights/press-7", "Health", "It is well.", 0)


@pytest.mark.parametrize("hangs", [False, True])
def test_calls_run_as_the_caller_and_one_that_fails_or_hangs_costs_only_itself(hangs: bool):
    records, heard = Records(), []
    lookup = Lookup(Shelf(hangs), None, alike(), records, tool_timeout_s=0.2)
    found = Evidence([RECORD, DOCUMENT], lead=1)
    wanted, _ = accepted(
        [
            call("fetch_related_docs", error_code="E421"),
            call("get_device_metrics", device_id="press-1", tenant_id="rival"),
            call("get_incident_history", device_id="press-1"),
            call("get_device_metrics", device_id="press-2"),
        ],
        [],
    )
    asyncio.run(lookup.call(ACME, wanted, found, plan("What is wrong?"), heard.append))
    assert {tenant for tenant, _ in records.asked} == {"acme"}
    assert [(tool.name, tool.arguments["device_id"], bool(tool.result)) for tool in found.tools] == [
        ("get_device_metrics", "press-1", True),
        ("get_incident_history", "press-1", True),
        ("get_device_metrics", "press-2", False),
    ]
    assert [passage.doc_id for passage in found.passages] == ["device:press-7", "device:press-1", "d"]
    assert found.lead == 1, "what a model asked for does not open the answer"
    traces = [event for event in heard if isinstance(event, Trace)]
    assert {trace.tool for trace in traces if trace.duration_ms is not None} == {
        "get_device_metrics", "get_incident_history",
    }  # fmt: skip
    begun = [trace.tool for trace in traces if trace.duration_ms is None and "failed" not in trace.message]
    assert begun == [name_of(each) for each in wanted], "each is shown as it begins"
    assert [trace.message for trace in traces if "failed" in trace.message] == ["fetch related docs failed"]


class Stuck:
    """A database that answers nobody until it is `over`, and what it was asked for."""

    def __init__(self) -> None:
        self.over, self.asked = threading.Event(), list[str]()

    def known(self, tenant: Tenant, names: Collection[str]) -> list[str]:
        return self._hang("known")

    def fleet(
        self,
        tenant: Tenant,
        about: Collection[str] = (),
        period: Period = EVER,
        left_out: LeftOut = LeftOut(),
        best: bool = False,
    ) -> dict[str, Any]:
        return {"worst": self._hang("fleet")}

    def _hang(self, asked: str) -> list[str]:
        self.asked.append(asked)
        self.over.wait(60)
        return []


class Manual(Shelf):
    """A retriever that has one passage, which declares E310, and for one query a part that fails."""

    failing = ""

    async def remote(
        self, tenant: str, query: str, top_k: int, filters: dict[str, list[str]], *vector: Any
    ) -> dict[str, Any]:
        hit = {"doc_id": "d", "chunk_id": "d-1", "title": "Press", "uri": "lake://d", "section": "Health"}
        about = {"models": [], "firmware": [], "error_codes": ["E310"]}
        failed = ["reranker"] if query == self.failing else []
        found = filters.get("error_codes", ["e310"]) == ["e310"]
        hits = [{**hit, **about, "text": "Machines age.", "start": 0}] * found
        return {"hits": hits, "timings_ms": {}, "failed": failed, "indexes": f"for {query}"}


def gathered(
    records: Healthy, question: str, device: str | None = None, shelf: Shelf | None = None, tell=unheard
) -> Evidence:
    """What is found for a question, once it is known which devices it names."""

    async def find() -> Evidence:
        documents = shelf or Manual(hangs=False)
        asked = await Names(records, documents).placed(ACME, resolve(question, device, []))
        return await Lookup(documents, None, alike(), records, 0.1, 0.1).gather(ACME, asked, 5, tell)

    return asyncio.run(find())


@pytest.mark.parametrize("failing", ["", "How do I fix E1?", "How do I fix E1? immediate actions", "E1"])
def test_a_search_in_which_a_part_fails_leaves_the_evidence_incomplete(failing: str):
    manual = Manual(hangs=False)
    manual.failing = failing
    found = gathered(Eventful(), "How do I fix E1?", shelf=manual)
    assert found.passages
    assert found.incomplete is bool(failing)
    queries = ("How do I fix E1?", "How do I fix E1? immediate actions", "E1")
    assert found.indexes == {f"for {query}" for query in queries}


@pytest.mark.parametrize("hangs", [False, True])
def test_a_search_that_does_not_end_costs_an_answer_from_records_nothing(hangs: bool):
    heard = []
    shelf = Shelf(hangs)
    found = gathered(Healthy(), "Which machines have the worst health?", shelf=shelf, tell=heard.append)
    assert [passage.title for passage in found.passages] == ["Fleet health"]
    assert found.incomplete
    assert "searching the documents failed" in [event.message for event in heard]
    with pytest.raises(ApiError, match="cannot be searched now") as refused:
        gathered(Healthy(), "What does E421 mean?", shelf=shelf)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)


def test_records_that_do_not_come_cost_an_answer_only_themselves():
    stuck, shelf, heard = Stuck(), Manual(hangs=False), []

    async def gathered() -> Evidence:
        asked = resolve("Which machines have the worst health?", None, [])
        asked = await Names(stuck, shelf, timeout_s=0.1).placed(ACME, asked)
        lookup = Lookup(shelf, None, alike(), stuck, tool_timeout_s=0.1)
        try:
            return await lookup.gather(ACME, asked, 5, heard.append)
        finally:
            stuck.over.set()

    found = asyncio.run(gathered())
    assert stuck.asked == ["known", "fleet"]
    assert [passage.title for passage in found.passages] == ["Press"]
    assert found.incomplete
    failed = [event.message for event in heard if "failed" in event.message]
    assert failed == ["looking the devices up failed", "reading the health of the fleet failed"]


class Healthy:
    """Records of a fleet of one model, that has reported E421."""

    def known(self, tenant: Tenant, names: Collection[str]) -> list[str]:
        return []

    def models(self, tenant: Tenant, about: Collection[str]) -> list[str]:
        return ["HX-200"] if "hx200" in about else []

    def reported(self, tenant: Tenant, codes: Collection[str]) -> set[str]:
        return {"e421"} & {*map(code_key, codes)}

    def fleet(self, tenant: Tenant, *asked: Any) -> dict[str, Any]:
        day = date(2026, 11, 24)
        worst = {"device_id": "m-1", "day": day, "model": "HX-200", "score": 91.0, "detail": "worn"}
        scope = asdict(Scope(["HX-200"]))
        return {**scope, "day": day, "worst": [worst], "distribution": [0] * 9 + [1]}


@pytest.mark.parametrize(
    ("question", "focus"),
    [
        ("How many HX-200 machines are critical?", set()),
        ("Which HX-200 machines have the worst seals?", {"hx200"}),
    ],
)
def test_no_document_need_tell_of_a_model_whose_devices_are_asked_for(question: str, focus: set[str]):
    found = gathered(Healthy(), question)
    assert (found.of_fleet, found.focus) == (True, focus)


class Eventful(Healthy):
    """Records of a fleet that reported an error, and of few devices, and which of them were read for what."""

    def __init__(self, *devices: str) -> None:
        self.devices, self.read, self.codes = devices, list[str](), list[str]()

    def known(self, tenant: Tenant, names: Collection[str]) -> list[str]:
        wanted = {name.lower() for name in names}
        return [device for device in self.devices if device.lower() in wanted]

    def insights(self, tenant: Tenant, device: str, period: Period, codes: Sequence[str]) -> dict[str, Any]:
        self.read.append(device)
        self.codes += codes
        return record(device, codes)

    def incidents(self, tenant: Tenant, *asked: Any) -> dict[str, Any]:
        self.read.append("fleet")
        return {**asdict(Scope([])), "codes": [], "events": [], "alerts": [], "open_alerts": 0}


class Runbooks(Shelf):
    """A retriever that finds steps below the chunks that are read."""

    async def remote(self, tenant: str, query: str, top_k: int, *asked: Any) -> dict[str, Any]:
        about = {"models": [], "firmware": [], "error_codes": [], "uri": "lake://d", "start": 0}
        hits = [
            {**about, "doc_id": "d", "chunk_id": f"d-{n}", "title": "Press", "section": section, "text": text}
            for n, (section, text) in enumerate(
                [("Meaning", "A press ages.")] * 6
                + [("Immediate actions", f"1. Stop press {n}.\n2. Wait.") for n in range(2)]
            )
        ]
        return {"hits": hits[:top_k], "timings_ms": {}, "failed": [], "indexes": ""}


def test_steps_to_take_are_found_below_the_chunks_that_are_read():
    for question, steps in (
        ("How do I stop a press?", ["1. Stop press 0.\n2. Wait."]),
        ("What is a press?", []),
    ):
        found = gathered(Eventful(), question, shelf=Runbooks(hangs=False))
        assert [each.text for each in found.passages if each.section == "Immediate actions"] == steps


def test_devices_beyond_the_most_are_said_to_be_left_out():
    devices = [f"machine-00{number}" for number in range(1, 7)]
    heard = []
    found = gathered(Eventful(*devices), f"Are {', '.join(devices)} ok?", tell=heard.append)
    assert found.devices == {*devices[:MOST_DEVICES]}
    assert found.passages[found.lead - 1].text == (
        "machine-005 and machine-006 are left out: 4 devices are the most that are told of at once."
    )
    assert f"leaving out machine-005, machine-006: {MOST_DEVICES} devices are the most at once" in [
        event.message for event in heard
    ]
