"""What a device's records say, in sentences that an answer can quote."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from ray_apps.copilot.language.words import content_words
from ray_apps.copilot.question.conditions import Condition
from ray_apps.copilot.question.lacking import ALERTS, LAST_SEEN, SILENT, Lack
from ray_apps.copilot.question.period import EVER, Period
from ray_apps.copilot.question.planner import RISK
from ray_apps.copilot.question.resolution import of_resolved

LEAST_PENALTY, MOST_COMPONENTS, MOST_CODES, MOST_METRICS, MOST_ALERTS = 3, 2, 8, 3, 3
MODEL_ASKED = re.compile(r"\b(?:model|type|kind)\b|\b(?:is|are)\b.*\ban? [A-Z][\w-]*\d", re.I)
LEAST_STEM = 4
POOR, FAIR = 40, 70
"""Health scores below the first are bad, those from the second on are good, as the console colours them."""


def model(insights: dict[str, Any], question: str) -> list[str]:
    """The model of a device, where a question asks for it."""
    asked = insights["model"] and MODEL_ASKED.search(question)
    return [f"The model of {insights['device_id']} is {insights['model']}."] if asked else []


def risk(insights: dict[str, Any], question: str) -> list[str]:
    """How likely a device fails, where a question asks for it."""
    if not RISK.search(question):
        return []
    told = [f"{row['probability']:.0%} within {row['horizon_hours']} h" for row in insights["risk"]]
    if not told:
        return [f"No risk of failure is known for {insights['device_id']}: too few failures to learn from."]
    return [f"The risk that {insights['device_id']} fails is {', '.join(told)}."]


def health(insights: dict[str, Any], question: str = "") -> list[str]:
    """The score of a device, what weighs most in it, and what else of it a question names."""
    if insights["score"] is None:
        return []
    score = (
        f"The health score of {insights['device_id']} ({insights['model']}) is {insights['score']:.0f} of 100"
    )
    heavy = [part for part in insights["components"] if part["penalty"] >= LEAST_PENALTY]
    told, asked = heavy[:MOST_COMPONENTS], content_words(question)
    named = max(insights["components"], key=lambda part: _named(part["detail"], asked), default=None)
    if named and named not in told and _named(named["detail"], asked):
        told.append(named)
    return [f"{score} on {insights['day']}.", *(_sentence(part["detail"]) for part in told)]


def scores(health: dict[str, Any]) -> str:
    """How many devices of a scope have which health on a day; `distribution` counts them in equal bands of 0
    to 100."""
    distribution = health["distribution"]
    poor, fair = (len(distribution) * score // 100 for score in (POOR, FAIR))
    counts = sum(distribution[:poor]), sum(distribution[poor:fair]), sum(distribution[fair:])
    of = f"{sum(distribution)} {_devices(health)} on {health['day']}"
    return (
        f"Health scores of {of}: {counts[0]} below {POOR} of 100, {counts[1]} from {POOR} to below {FAIR}, "
        f"{counts[2]} of {FAIR} or more."
    )


def ranked(devices: Sequence[Mapping[str, Any]], best: bool) -> list[str]:
    """Which devices are the least healthy, or the healthiest, and why."""
    which, names = "healthiest" if best else "least healthy", [row["device_id"] for row in devices]
    told = [f"The {which} {'are' if names[1:] else 'is'} {', '.join(names)}."]
    return told + [
        f"{row['device_id']} ({row['model']}) has a health score of {row['score']:.0f} of 100: "
        f"{row['detail']}."
        for row in devices
    ]


def fleet(scope: Mapping[str, Any]) -> str:
    """What the devices of a scope are called."""
    return f"the {called}" if (called := _devices(scope)) != "devices" else "the fleet"


def alerts(insights: dict[str, Any], question: str, period: Period | None = None) -> list[str]:
    """The first alerts of a device that are open, or were in a period; before them how many there are where a
    question asks for alerts or not all are told. Where it asks for those that were resolved these come first,
    the last of them before the others, and then those that still are open."""
    of, found, count = insights["device_id"], insights["alerts"], insights["open_alerts"]
    still = [alert(each, of) for each in still_open(found)[:MOST_ALERTS]]
    if ALERTS.search(question) and of_resolved(question):
        over = sorted(_resolved(found, period or EVER), key=lambda each: each["resolved_at"], reverse=True)
        told = [alert(each, of) for each in over[:MOST_ALERTS]]
        return [resolved_alerts(insights["resolved_alerts"], of, period), *told, *still]
    told = [alert(each, of) for each in found[:MOST_ALERTS]] if period else still
    counted = ALERTS.search(question) or count > len(told)
    return [open_alerts(count, of, period), *told] if counted else told


def still_open(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The alerts that were not resolved yet."""
    return [each for each in found if each["resolved_at"] is None]


def _resolved(found: list[dict[str, Any]], period: Period) -> list[dict[str, Any]]:
    return [
        each for each in found if each["resolved_at"] and period.since <= each["resolved_at"] < period.until
    ]


def resolved_alerts(count: int, of: str, period: Period | None = None) -> str:
    """How many alerts were resolved, in a period or ever."""
    when = f" {period}" if period else ""
    return (
        f"{count or 'No'} alert{'s' * (count != 1)} of {of} {'was' if count == 1 else 'were'} resolved{when}."
    )


def open_alerts(count: int, of: str, period: Period | None = None) -> str:
    """How many alerts are not resolved yet, or were not in a period."""
    when = f" {period}" if period else ""
    if count == 1:
        return f"1 alert of {of} {'was' if period else 'is'} open{when}."
    return f"{count or 'No'} alerts of {of} {'were' if period else 'are'} open{when}."


def alert(found: dict[str, Any], of: str) -> str:
    """An alert, and how long it has been open, or was."""
    named, opened = f"The alert {found['rule']} of {of}", at(found["opened_at"])
    if found["resolved_at"] is None:
        return f"{named} has been open since {opened}."
    return f"{named} was open from {opened} to {at(found['resolved_at'])}."


def metrics(insights: dict[str, Any], question: str) -> list[str]:
    """The latest value and the range of each metric that a question names."""
    trend, words = insights["trend"], _words(question)
    names = dict.fromkeys(name for reading in trend for name in reading["metrics"])
    lines = []
    for name in [name for name in names if _is_named(name, words)][:MOST_METRICS]:
        values = [
            (reading["ts"], reading["metrics"][name]) for reading in trend if name in reading["metrics"]
        ]
        numbers = [value for _, value in values]
        lines.append(
            f"The latest {name} of {insights['device_id']} is {numbers[-1]:.4g} at {at(values[-1][0])}; "
            f"its {len(numbers)} readings since {at(values[0][0])} lie between {min(numbers):.4g} and "
            f"{max(numbers):.4g} and average {sum(numbers) / len(numbers):.4g}."
        )
    return lines


def incidents(
    codes: list[dict[str, Any]],
    of: str,
    period: Period | None = None,
    wanted: Collection[str] = (),
    by_device: bool = False,
    others: Collection[str] = (),
) -> list[str]:
    """How often which error code was reported, the commonest first, and by whom where that is asked for. That
    none was is told of a period, and of those `wanted`, as they are spelt; `others` are not counted."""
    but = f" other than {' and '.join(others)}" if others else ""
    if not codes:
        what = " or ".join(wanted) or f"error code{but}"
        if period:
            return [f"No {what} was reported by {of} {period}."]
        return [f"No {what} is on record for {of}."] if wanted or but else []
    listed = ", ".join(
        f"{row['error_code']} ({row['times']} time{'s' * (row['times'] > 1)}"
        f"{_reporters(row) if by_device else ''}, last at {at(row['latest'])})"
        for row in codes[:MOST_CODES]
    )
    if (more := len(codes) - MOST_CODES) > 0:
        listed += f" and {more} other{'s' * (more > 1)}"
    if period:
        return [f"The error codes{but} of {of} {period} are {listed}."]
    count = sum(row["times"] for row in codes)
    latest = f"latest {count} error events" if count > 1 else "latest error event"
    return [f"The error codes{but} of the {latest} of {of} are {listed}."]


def lacking(
    found: dict[str, Any], lack: Lack, period: Period | None = None, wanted: Collection[str] = ()
) -> list[str]:
    """How many of the devices, of some models if any are given, sent no reading in a period, or reported no
    error code, or none of those wanted, or had no alert open; and which."""
    devices, when = _devices(found), f" {period}" if period else ""
    what = " or ".join(wanted)
    if not wanted:
        what = f"error code other than {' and '.join(found['other_codes'])}" if found["other_codes"] else ""
    if not found["devices"]:
        return [f"None of the {devices} has a health score yet."]
    if not found["spared"]:
        all_did = {
            "errors": f"reported {what or 'an error code'}{when}",
            "alerts": f"had an open alert{when}" if period else "has an open alert",
            "readings": f"sent readings{when}",
        }
        return [f"Each of {found['devices']} {devices} {all_did[lack]}."]
    told = Condition(lack, False, period, tuple(wanted)).told(found["other_codes"])
    names = found["named"]
    if lack == "readings":
        names = [_since(*each) for each in zip(names, found["latest"], strict=True)]
    named = _listed(names, found["spared"])
    return [f"{found['spared']} of {found['devices']} {devices} {told}{when}: {named}."]


def meeting(found: dict[str, Any], conditions: Sequence[Condition]) -> list[str]:
    """How many of the devices, of some models if any are given, meet all of some conditions, and which."""
    devices = _devices(found)
    if not found["devices"]:
        return [f"None of the {devices} has a health score yet."]
    scored = any(each.of == "score" for each in conditions)

    def when(each: Condition) -> str:
        return f" on {found['day']}" if each.of == "score" else f" {each.period}" if each.period else ""

    told = " and ".join(
        " and ".join(each.told(found["other_codes"]) for each in at_once) + time
        for time, at_once in groupby(conditions, when)
    )
    if not found["met"]:
        return [f"None of the {found['devices']} {devices} {told}."]
    names = found["named"]
    if scored:
        names = [f"{name} ({score:.4g})" for name, score in zip(names, found["scores"], strict=True)]
    return [f"{found['met']} of {found['devices']} {devices} {told}: {_listed(names, found['met'])}."]


def reported(codes: list[dict[str, Any]], of: str, period: Period | None = None) -> list[str]:
    """How often a device reported each of some codes, in a period or ever."""
    lines, when = [], f" {period}" if period else ""
    for row in codes:
        if row["times"]:
            often = f"{row['times']} time{'s' * (row['times'] > 1)}{when}, last at {at(row['latest'])}"
            lines.append(f"{of} reported {row['error_code']} {often}.")
        else:
            lines += incidents([], of, period, [row["error_code"]])
    return lines


def left_out(devices: Sequence[str], most: int) -> str:
    """That a question names other devices than the `most` that are told of."""
    *others, last = devices
    named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
    return f"{named} left out: {most} devices are the most that are told of at once."


def last_reading(insights: dict[str, Any], question: str, period: Period | None = None) -> list[str]:
    """When a device last sent a reading, or whether it did in a period, where a question asks for that."""
    if not (SILENT.search(question) or LAST_SEEN.search(question)):
        return []
    device, latest = insights["device_id"], insights["trend"][-1]["ts"] if insights["trend"] else None
    if period:
        told = f"{device} sent {'readings' if latest else 'no reading'} {period}"
        return [f"{told}, the last at {at(latest)}." if latest else f"{told}."]
    return [
        f"The latest reading of {device} was at {at(latest)}."
        if latest
        else f"No reading of {device} is on record."
    ]


def _listed(names: Sequence[str], count: int) -> str:
    """The first of so many devices, and how many more there are."""
    more = count - len(names)
    return ", ".join(names) + (f" and {more} other{'s' * (more > 1)}" if more > 0 else "")


def _since(device: str, latest: datetime | None) -> str:
    return f"{device} (last {at(latest)})" if latest else f"{device} (none before either)"


def _reporters(row: dict[str, Any]) -> str:
    """` by` those devices that reported a code most often."""
    return f" by {_listed(row['named'], row['devices'])}"


def at(moment: datetime) -> str:
    """A moment, for a sentence."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _words(text: str) -> list[str]:
    """Words in lower case and without the s of a plural; `oilTemp_1` has three."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return [word.removesuffix("s") for word in re.findall(r"[a-z]+|\d+", parted.lower())]


def _is_named(metric: str, words: Collection[str]) -> bool:
    """Whether words name a metric, if in another form: `voltage` is `volt`, `rotation` is `rotate`."""
    stems = (part[: max(LEAST_STEM, len(part) - 2)] for part in _words(metric))
    return all(any(word.startswith(stem) for word in words) for stem in stems)


def _devices(scope: Mapping[str, Any]) -> str:
    called = " ".join([" and ".join(scope["models"]), "devices"]).strip()
    if others := [*scope["other_models"], *scope["other_devices"]]:
        called += f" other than {' and '.join(others)}"
    return called + (f" without {' or '.join(scope['without_codes'])}" if scope["without_codes"] else "")


def _named(detail: str, asked: set[str]) -> int:
    return len(content_words(detail) & asked)


def _sentence(detail: str) -> str:
    return f"{detail[:1].upper()}{detail[1:].rstrip('.')}."
