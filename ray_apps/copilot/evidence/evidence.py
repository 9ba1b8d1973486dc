"""Evidence for an answer: what the device's records and the documents say, as passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from indexes.vector import Vectors
from ray_apps.copilot.contracts import Citation, ToolCall
from ray_apps.copilot.evidence import sentences
from ray_apps.copilot.evidence.passages import Passage, Quote
from ray_apps.copilot.question.lacking import ALERTS, Lack
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.planner import INCIDENTS, RISK, Plan

MOST_ALERTS, MOST_LINES = 5, 6
HEALTH = "Health, status and problems"
WHOLE_STATE = re.compile(
    r"\b(?:wrong|problems?|issues?|troubles?|status|state|summary|overview|report on|ok|okay|fine|matter|why|"
    r"health\w*|unhealthy|incidents?|errors?|alarms?|alerts?|faults?|events?|happen\w*|codes|going on|other|"
    r"else|check|diagnos\w*|attention|everything)\b",
    re.I,
)
"""Asks for more of a device's record than one thing."""
SENDS_NOTHING = "the device sends no telemetry, gap of readings, connection lost"
DEVICE, FLEET = "device:", "fleet:"
APART = Passage(
    f"{FLEET}conditions", "Fleet devices", "/insights", "Conditions",
    "This does not tell which devices meet every condition of the question.", 0,
)  # fmt: skip
"""Comes before records that tell some of several conditions, or of none, each for itself."""


@dataclass(frozen=True)
class Result:
    """A tool as the answer reports it, and what the answer may rest on because of it."""

    tool: ToolCall
    passages: list[Passage]
    failed: bool = False
    """Whether a part of the search failed: with it there might be others."""
    indexes: frozenset[str] = frozenset()
    """Those searched."""


@dataclass
class Evidence:
    """What an answer may rest on. The first `lead` passages are the records asked for; they open the answer.

    Of the first `read` passages `sources` are the sentences and `vectors` (n, d) theirs; `question` (d,) is
    the question's.
    """

    passages: list[Passage] = field(default_factory=list)
    lead: int = 0
    focus: frozenset[str] = frozenset()
    tools: list[ToolCall] = field(default_factory=list)
    timings_ms: dict[str, float | str | None] = field(default_factory=dict)
    unreported: frozenset[str] = frozenset()
    """Error codes that the question names and its device never reported."""
    incomplete: bool = False
    """Whether a look-up, or a part of one, failed or took too long: the next time there may be more."""
    indexes: frozenset[str] = frozenset()
    """All that were searched: a replica may know of a newer one than another."""
    read: int = 0
    sources: list[Quote] = field(default_factory=list)
    question: Vectors = field(default_factory=lambda: np.empty(0, np.float32))
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def devices(self) -> set[str]:
        """Those whose records open the answer."""
        opening = (passage.doc_id for passage in self.passages[: self.lead])
        return {doc_id.removeprefix(DEVICE) for doc_id in opening if doc_id.startswith(DEVICE)}

    @property
    def of_fleet(self) -> bool:
        """Whether records of the fleet alone open the answer."""
        return bool(self.lead) and not self.devices

    @property
    def cosines(self) -> Vectors:
        """Of every source sentence with the question (n,)."""
        return self.vectors @ self.question if len(self.vectors) else np.empty(0, np.float32)

    def add(self, result: Result, place: int) -> None:
        """Take in what a tool found, its new passages at a place; none of them opens the answer by that."""
        new = [passage for passage in result.passages if passage not in self.passages]
        self.passages[place:place] = new
        self.tools.append(result.tool)

    def take(self, sources: Sequence[Quote], question: Vectors, vectors: Vectors, read: int) -> None:
        """Add the sentences of the passages up to `read`, with their vectors and the question's."""
        self.vectors = np.vstack([self.vectors, vectors]) if self.sources else vectors
        self.sources = [*self.sources, *sources]
        self.question, self.read = question, read

    def leave_out(self, places: Collection[int]) -> None:
        """Forget some passages, with all that was quoted from them."""
        kept = [place for place in range(len(self.passages)) if place not in places]
        moved = {old: new for new, old in enumerate(kept)}
        rows = [row for row, quote in enumerate(self.sources) if quote.passage in moved]
        self.sources = [replace(self.sources[row], passage=moved[self.sources[row].passage]) for row in rows]
        self.vectors = self.vectors[rows]
        self.lead, self.read = (sum(place < end for place in kept) for end in (self.lead, self.read))
        self.passages = [self.passages[place] for place in kept]


def citation(passages: Sequence[Passage], quote: Quote, marker: str, score: float) -> Citation:
    """Where a quote stands, to the character, and how well it supports what it is cited for (0-1)."""
    passage = passages[quote.passage]
    return Citation(
        marker=marker,
        doc_id=passage.doc_id,
        title=passage.title,
        uri=passage.uri,
        section=passage.section,
        quote=quote.text,
        start=passage.start + quote.start,
        end=passage.start + quote.end,
        score=round(min(max(score, 0.0), 1.0), 3),
    )


def cleaned(cited: Citation, clean: Callable[[str], str]) -> Citation:
    """A citation without what no answer may carry."""
    told = {name: clean(getattr(cited, name)) for name in ("title", "uri", "section", "quote")}
    return cited.model_copy(update=told)


def device_passage(insights: dict[str, Any], question: str = "", period: Period | None = None) -> Passage:
    """A device's record in sentences, as a source that can be cited like a document.

    Metrics that the question names are told too; alerts and error codes are those of the period, if it names
    one, and come first where they are asked for, after the model; before all, how often it reported the codes
    that the question names. One that asks for a single thing, such as the model, is told that and the score.
    """
    device = insights["device_id"]
    alerts = sentences.alerts(insights, question, period)
    incidents = sentences.incidents(insights["codes"], device, period)
    health = [*sentences.health(insights, question), *sentences.metrics(insights, question)]
    lines = sentences.reported(insights["asked_codes"], device, period)
    lines += sentences.last_reading(insights, question, period)
    lines += [*sentences.model(insights, question), *sentences.risk(insights, question)]
    if lines and not (WHOLE_STATE.search(question) or RISK.search(question)):
        lines += [*sentences.health(insights)[:1], *sentences.metrics(insights, question)]
    elif ALERTS.search(question):
        lines += [*alerts, *health, *incidents]
    elif INCIDENTS.search(question):
        lines += [*incidents, *alerts, *health]
    else:
        lines += [*health, *alerts, *incidents]
    return record_passage(
        insights["device_id"],
        "\n\n".join(lines or [f"No health score has been computed for {insights['device_id']} yet."]),
    )


def record_passage(device: str, text: str) -> Passage:
    """Something that a device's record says, as a source."""
    return Passage(f"{DEVICE}{device}", f"Device {device}", f"/insights/{device}", HEALTH, text, 0)


def left_out_passage(devices: Sequence[str], most: int) -> Passage:
    """That a question names other devices than the `most` that are told of."""
    text = sentences.left_out(devices, most)
    return Passage(f"{FLEET}left out", "Fleet devices", "/insights", "Devices that are left out", text, 0)


def device_codes(insights: dict[str, Any]) -> list[str]:
    """The codes that a device's trouble is about: its model and its error codes."""
    return [code for code in (insights["model"], *trouble_codes(insights)) if code]


def trouble_codes(insights: dict[str, Any]) -> list[str]:
    """The error codes that a question about a device names, or else the last two that it reported."""
    return asked_codes(insights) or latest_codes(insights)[:2]


def asked_codes(insights: dict[str, Any]) -> list[str]:
    """The error codes that a question about a device names."""
    return [row["error_code"] for row in insights["asked_codes"]]


def latest_codes(insights: dict[str, Any]) -> list[str]:
    """The error codes that a device reported, of late or in the time asked for, the latest first."""
    return [row["error_code"] for row in sorted(insights["codes"], key=lambda row: row["latest"])[::-1]]


def trouble_query(question: str, insights: list[dict[str, Any]], plan: Plan) -> str:
    """What to look up beside a question: what the trouble of the devices means, or what to do about it.

    The model is left out of what to do about a code: it would draw to each chunk that spells it, away from
    the actions, which few runbooks tell for one model alone.
    """
    about = []
    for insight in insights:
        codes = trouble_codes(insight) if plan.action else []
        about += [*(codes or device_codes(insight)), _worst(insight)]
    if plan.silent and insights:
        about = [SENDS_NOTHING]
    return " ".join([*(about or [question]), "immediate actions" if plan.action else "meaning"])


def _worst(insights: dict[str, Any]) -> str:
    if asked_codes(insights):
        return ""
    return next((part["detail"] for part in insights["components"] if part["penalty"] > 0), "")


def device_metrics(insights: dict[str, Any]) -> dict[str, Any]:
    """What `get_device_metrics` returns of a device's record."""
    latest = insights["trend"][-1] if insights["trend"] else None
    return {**{name: insights[name] for name in ("model", "day", "score", "components")}, "latest": latest}


def device_incidents(insights: dict[str, Any]) -> dict[str, Any]:
    """What `get_incident_history` returns of a device's record."""
    return {name: insights[name] for name in ("codes", "events", "alerts")}


def device_tools(insights: dict[str, Any], period: Period | None = None) -> list[ToolCall]:
    """The look-ups that were made for a device, as the answer reports them."""
    device = {"device_id": insights["device_id"]}
    return [
        ToolCall(name="get_device_metrics", arguments=device, result=device_metrics(insights)),
        ToolCall(
            name="get_incident_history",
            arguments={**device, **within(period)},
            result=device_incidents(insights),
        ),
    ]


def within(period: Period | None) -> dict[str, str]:
    """A period, as a tool's arguments tell it."""
    return {name: moment.isoformat() for name, moment in asdict(period).items()} if period else {}


def unread_passage(plan: Plan) -> Passage:
    """That words for a time were not read, before records that tell of another time, or of any."""
    told = f"of the time {plan.period}" if plan.period else "not limited to a time"
    text = f'The time "{plan.unread}" was not understood: what follows is {told}.'
    return Passage(f"{FLEET}time", "Time asked for", "/insights", "Time", text, 0)


def fleet_passage(health: dict[str, Any]) -> Passage:
    """How healthy the fleet's devices are on a day, and the worst or the best, in sentences."""
    best = "best" in health
    text = "\n\n".join(
        [sentences.scores(health), *sentences.ranked(health["best" if best else "worst"], best)]
    )
    section = "Healthiest devices" if best else "Worst devices"
    return Passage(f"{FLEET}health", "Fleet health", "/insights", section, text, 0)


def incident_passage(incidents: dict[str, Any], plan: Plan) -> Passage:
    """What went wrong in the fleet, or in all of some models, in sentences; of codes that it is asked of by
    name, only that."""
    of = sentences.fleet(incidents)
    lines = sentences.incidents(
        incidents["codes"], of, plan.period, plan.reported, True, incidents["other_codes"]
    )
    resolved = incidents.get("resolved_alerts")
    whole = plan.period or resolved is not None
    alerts = incidents["alerts"] if whole else sentences.still_open(incidents["alerts"])
    told = [sentences.alert(each, each["device_id"]) for each in alerts[:MOST_ALERTS]]
    if resolved is not None:
        lines = [sentences.resolved_alerts(resolved, of, plan.period), *told, *lines]
    elif plan.alerts:
        lines = [sentences.open_alerts(incidents["open_alerts"], of, plan.period), *told, *lines]
    elif not plan.reported:
        lines += told
    text = "\n\n".join(lines[:MOST_LINES] or [f"No error code and no alert is on record for {of}."])
    return Passage(f"{FLEET}incidents", "Fleet incidents", "/insights", "Errors and alerts", text, 0)


def lacking_passage(found: dict[str, Any], lack: Lack, plan: Plan) -> Passage:
    """Which devices of the fleet had no errors or alerts, or sent nothing, in sentences."""
    text = "\n\n".join(sentences.lacking(found, lack, plan.period, plan.reported))
    return Passage(f"{FLEET}{lack}", "Fleet incidents", "/insights", f"Devices without {lack}", text, 0)


def meeting_passage(found: dict[str, Any], plan: Plan) -> Passage:
    """Which devices of the fleet meet all the conditions that a question names, in sentences."""
    text = "\n\n".join(sentences.meeting(found, plan.conditions.all))
    return Passage(f"{FLEET}conditions", "Fleet devices", "/insights", "Devices that meet all of it", text, 0)


def document_passages(hits: list[dict[str, Any]]) -> list[Passage]:
    """Search hits as passages."""
    return [
        Passage(hit["doc_id"], hit["title"], hit["uri"], hit["section"], hit["text"], hit["start"])
        for hit in hits
    ]
