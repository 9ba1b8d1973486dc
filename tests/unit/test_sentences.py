"""What a device's records say, in sentences."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ray_apps.copilot.evidence import evidence, sentences
from ray_apps.copilot.evidence.devices import Scope
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.planner import plan

START = datetime(2026, 11, 24, tzinfo=UTC)
NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
DAY = Period(START, START + timedelta(days=1))
TREND = [
    {"ts": START + timedelta(hours=hour), "metrics": {"vibration": value, "oilTemp_1": 60.0}}
    for hour, value in enumerate([40.0, 61.25, 58.0])
]


def code(name: str, times: int, hour: int = 0, devices: int = 1, named: tuple[str, ...] = ("press-1",)):
    """What the records count of an error code."""
    latest = START + timedelta(hours=hour)
    return {"error_code": name, "times": times, "latest": latest, "devices": devices, "named": [*named]}


CODES = [code("E9", 2, 23, 2, ("press-2", "press-1")), code("E7", 1, 3)]


def record(**changes):
    return {
        "device_id": "press-1", "model": "P", "day": START.date(), "score": 41.0, "components": [],
        "trend": TREND, "events": [], "codes": CODES, "alerts": [], "open_alerts": 0,
        "asked_codes": [], **changes,
    }  # fmt: skip


def scope(models: list[str], **changes: Any) -> dict[str, Any]:
    return asdict(Scope(models)) | changes


def test_a_metric_that_the_question_names_is_told_with_its_range():
    (told,) = sentences.metrics(record(), "Why are the vibrations of press-1 high?")
    assert told == (
        "The latest vibration of press-1 is 58 at 2026-11-24 02:00 UTC; its 3 readings since 2026-11-24 "
        "00:00 UTC lie between 40 and 61.25 and average 53.08."
    )
    assert sentences.metrics(record(), "Is oil temp 1 of it fine?")[0].startswith("The latest oilTemp_1")
    assert sentences.metrics(record(), "Is the oil fine?") == []


def test_error_codes_of_a_time_are_told_as_such_and_none_too():
    assert sentences.incidents(CODES, "press-1", DAY) == [
        "The error codes of press-1 from 2026-11-24 00:00 to 2026-11-25 00:00 UTC are "
        "E9 (2 times, last at 2026-11-24 23:00 UTC), E7 (1 time, last at 2026-11-24 03:00 UTC)."
    ]
    assert sentences.incidents([], "press-1", DAY) == [
        "No error code was reported by press-1 from 2026-11-24 00:00 to 2026-11-25 00:00 UTC."
    ]
    assert sentences.incidents([], "press-1") == []


def test_those_who_had_no_trouble_are_counted_and_named():
    found = scope(["HX-200"], devices=100, spared=12, named=[f"p{n}" for n in range(10)])
    assert sentences.lacking(found, "errors", DAY, ("E1", "E2")) == [
        "12 of 100 HX-200 devices reported no E1 or E2 from 2026-11-24 00:00 to 2026-11-25 00:00 UTC: "
        "p0, p1, p2, p3, p4, p5, p6, p7, p8, p9 and 2 others."
    ]
    none = scope([], devices=100, spared=0, named=None)
    assert sentences.lacking(none, "alerts") == ["Each of 100 devices has an open alert."]
    assert sentences.lacking(none, "readings", DAY) == [f"Each of 100 devices sent readings {DAY}."]
    unscored = none | {"devices": 0, "models": ["HX-200"]}
    assert sentences.lacking(unscored, "errors", DAY) == [
        "None of the HX-200 devices has a health score yet."
    ]


def test_what_is_left_out_of_a_fleet_is_said():
    rest = scope(["HX-200"], other_devices=["p1"], without_codes=["E2"], other_codes=["E7"])
    assert sentences.fleet(rest) == "the HX-200 devices other than p1 without E2"
    assert sentences.fleet(scope([])) == "the fleet"
    counted = rest | {"devices": 9, "spared": 2, "named": ["p3", "p4"]}
    assert sentences.lacking(counted, "errors") == [
        "2 of 9 HX-200 devices other than p1 without E2 reported no error code other than E7: p3, p4."
    ]
    asked = rest | {"codes": [], "alerts": [], "open_alerts": 0}
    told = evidence.incident_passage(asked, plan("Which errors other than E7 had the HX-200s?")).text
    assert told == "No error code other than E7 is on record for the HX-200 devices other than p1 without E2."


def test_the_silent_are_told_with_their_last_readings():
    silent = scope([], devices=9, spared=2, named=["p3", "p4"], latest=[None, START])
    assert sentences.lacking(silent, "readings", DAY) == [
        f"2 of 9 devices sent no reading {DAY}: p3 (none before either), p4 (last 2026-11-24 00:00 UTC)."
    ]


def test_codes_that_are_asked_of_a_device_are_counted_first():
    asked = [code("E9", 2, 23), {"error_code": "E8", "times": 0, "latest": None}]
    text = evidence.device_passage(record(asked_codes=asked), "Did press-1 ever report E9 or E8?").text
    assert text.startswith(
        "press-1 reported E9 2 times, last at 2026-11-24 23:00 UTC.\n\nNo E8 is on record for press-1.\n\n"
    )


def test_the_trouble_of_a_device_is_the_code_asked_for_or_what_it_reported_last():
    worn = record(components=[component("wear", 9, "last serviced 40 days ago")])
    act = plan("What should I do about press-1?")
    assert evidence.trouble_query("What now?", [worn], act) == (
        "E9 E7 last serviced 40 days ago immediate actions"
    )
    what = plan("What is wrong with press-1?")
    assert evidence.trouble_query("What is it?", [worn], what) == "P E9 E7 last serviced 40 days ago meaning"
    asked = worn | {"asked_codes": [code("E8", 1, 2)]}
    assert evidence.trouble_query("E8?", [asked], act).split() == ["E8", "immediate", "actions"]
    silent = plan("press-1 stopped sending, what should I do?")
    query = evidence.trouble_query("It is silent.", [asked], silent)
    assert query == f"{evidence.SENDS_NOTHING} immediate actions", "what it said before tells nothing of that"
    procedure = "How do I set up a panel that is not connected?"
    assert evidence.trouble_query(procedure, [], plan(procedure)) == f"{procedure} immediate actions"


def test_when_a_device_last_sent_is_told_where_that_is_asked():
    (told,) = sentences.last_reading(record(), "Is press-1 offline?")
    assert told == "The latest reading of press-1 was at 2026-11-24 02:00 UTC."
    assert sentences.last_reading(record(), "Is press-1 ok?") == []
    (told,) = sentences.last_reading(record(), "Was press-1 offline?", DAY)
    assert told == f"press-1 sent readings {DAY}, the last at 2026-11-24 02:00 UTC."
    assert sentences.last_reading(record(trend=[]), "Was it offline?", DAY)[0].startswith(
        "press-1 sent no reading "
    )
    assert sentences.last_reading(record(trend=[]), "When was press-1 last seen?")[0].startswith("No reading")


def test_that_there_were_none_of_the_codes_asked_for_is_told():
    assert sentences.incidents([], "the fleet", None, ("E1", "E2")) == [
        "No E1 or E2 is on record for the fleet."
    ]
    assert sentences.incidents([], "the fleet", DAY, ("E1",))[0].startswith("No E1 was reported by the fleet")


def test_who_reported_a_code_is_told_of_a_fleet():
    (told,) = sentences.incidents(
        [code("E8", 5, devices=5, named=("v", "w", "x")), code("E9", 3, devices=2, named=("a", "b"))],
        "the fleet",
        by_device=True,
    )
    assert "E8 (5 times by v, w, x and 2 others, last at" in told
    assert "E9 (3 times by a, b, last at" in told


def test_codes_that_are_not_listed_are_counted():
    (told,) = sentences.incidents(
        [code(f"E{number}", 1) for number in range(sentences.MOST_CODES + 2)], "press-1"
    )
    assert told.count("1 time") == sentences.MOST_CODES
    assert told.endswith(" and 2 others.")


def test_a_record_opens_with_its_health_and_ends_with_its_errors():
    told = evidence.device_passage(record(), "vibration?").text.split("\n\n")
    assert [line.split()[1] for line in told] == ["health", "latest", "error"]
    told = evidence.device_passage(record(), "Which errors had it, and what vibration?").text.split("\n\n")
    assert [line.split()[1] for line in told] == ["error", "health", "latest"]
    told = evidence.device_passage(record(), "Which alerts had it?").text.split("\n\n")
    assert [line.split()[1] for line in told] == ["alerts", "health", "error"]
    for question in ("Is press-1 a P9?", "What model is press-1?"):
        assert evidence.device_passage(record(), question).text.startswith("The model of press-1 is P.\n\n")
        assert len(evidence.device_passage(record(), question).text.split("\n\n")) == 2, "and the score"
    told = evidence.device_passage(record(), "Is press-1 a P9, and is it ok?").text.split("\n\n")
    assert [line.split()[1] for line in told] == ["model", "health", "error"]
    empty = record(score=None, codes=[], trend=[])
    assert evidence.device_passage(empty).text == "No health score has been computed for press-1 yet."


def test_the_fleets_incidents_name_the_devices_and_the_alerts_unless_a_code_is_asked_for():
    alert = {"rule": "hot", "device_id": "press-3", "opened_at": START, "resolved_at": None}
    found = scope([], codes=CODES, events=[], alerts=[alert], open_alerts=1)
    told = evidence.incident_passage(found, plan("What happened in the fleet?")).text
    assert "The error codes of the latest 3 error events of the fleet are E9 (2 times by press-2, " in told
    assert "The alert hot of press-3 has been open since 2026-11-24 00:00 UTC." in told
    told = evidence.incident_passage(found, plan("Which alerts does the fleet have?")).text.split("\n\n")
    assert told[:2] == [
        "1 alert of the fleet is open.",
        "The alert hot of press-3 has been open since 2026-11-24 00:00 UTC.",
    ]
    found["codes"] = CODES[1:]
    told = evidence.incident_passage(found, plan("Which machine had E7?", now=NOW)).text
    lately = "from 2026-10-27 00:00 to 2026-11-26 14:30 UTC"
    assert told == (
        f"The error codes of the fleet {lately} are E7 (1 time by press-1, last at 2026-11-24 03:00 UTC)."
    )
    found |= {"models": ["HX-200"], "codes": []}
    told = evidence.incident_passage(found, plan("Which HX-200 had E7?", now=NOW)).text
    assert told == f"No E7 was reported by the HX-200 devices {lately}."


def test_alerts_of_a_time_are_told_though_they_are_over():
    over = {"rule": "hot", "device_id": "press-3", "opened_at": START, "resolved_at": START}
    asked = plan("Which alerts were raised on Tuesday?", now=NOW)
    found = scope([], codes=[], events=[], alerts=[over], open_alerts=1)
    told = evidence.incident_passage(found, asked).text.split("\n\n")
    assert told[:2] == [
        "1 alert of the fleet was open from 2026-11-24 00:00 to 2026-11-25 00:00 UTC.",
        "The alert hot of press-3 was open from 2026-11-24 00:00 UTC to 2026-11-24 00:00 UTC.",
    ]
    of = record(device_id="press-3", alerts=[over], open_alerts=1)
    assert sentences.alerts(of, "Is it ok?", asked.period) == told[1:2]
    assert sentences.alerts(record(), "alerts?", asked.period) == [
        "No alerts of press-1 were open from 2026-11-24 00:00 to 2026-11-25 00:00 UTC."
    ]


def component(name: str, penalty: float, detail: str):
    return {"component": name, "value": 1.0, "penalty": penalty, "weight": 50.0, "detail": detail}


def test_what_a_question_names_of_the_health_is_told_though_it_weighs_little():
    parts = [
        component("anomaly", 40, "volt is low"),
        component("surge", 0, "volt was as ever over the last 8 h"),
        component("maintenance", 1, "last serviced 9 days ago"),
    ]
    assert sentences.health(record(components=parts), "Is press-1 ok?")[1:] == ["Volt is low."]
    told = sentences.health(record(components=parts), "When was press-1 last serviced?")
    assert told[1:] == ["Volt is low.", "Last serviced 9 days ago."]


def test_open_alerts_are_told_and_how_many_there_are_where_it_is_asked_for_or_not_all_are_told():
    still = {"rule": "hot", "opened_at": START, "resolved_at": None}
    told = "The alert hot of press-1 has been open since 2026-11-24 00:00 UTC."
    one = record(alerts=[still | {"resolved_at": START}, still], open_alerts=1)
    assert sentences.alerts(one, "Is it ok?") == [told]
    assert sentences.alerts(one, "Which alarms?") == ["1 alert of press-1 is open.", told]
    assert sentences.alerts(record(), "Is it ok?") == []
    assert sentences.alerts(record(), "Any alarms?") == ["No alerts of press-1 are open."]
    many = record(alerts=[still] * 7, open_alerts=7)
    assert sentences.alerts(many, "Is it ok?") == ["7 alerts of press-1 are open.", told, told, told]


def test_alerts_that_were_resolved_are_told_where_they_are_asked_for():
    still = {"rule": "hot", "device_id": "press-3", "opened_at": START, "resolved_at": None}
    over = [
        still | {"rule": rule, "resolved_at": START + timedelta(hours=hours)}
        for rule, hours in (("loud", 2), ("wet", 30))
    ]
    loud = "The alert loud of press-3 was open from 2026-11-24 00:00 UTC to 2026-11-24 02:00 UTC."
    open_one = "The alert hot of press-3 has been open since 2026-11-24 00:00 UTC."
    asked = plan("Which alerts were resolved on Tuesday?", now=NOW)
    found = scope([], codes=[], events=[], alerts=over[:1], resolved_alerts=1)
    told = evidence.incident_passage(found, asked).text.split("\n\n")
    assert told[:2] == [f"1 alert of the fleet was resolved {DAY}.", loud]
    ever = evidence.incident_passage(found, plan("Which alerts are closed?")).text.split("\n\n")
    assert ever == ["1 alert of the fleet was resolved.", loud]
    device = record(device_id="press-3", alerts=[still, *over], open_alerts=1, resolved_alerts=1)
    told = sentences.alerts(device, "Which alerts were resolved?", DAY)
    assert told == [f"1 alert of press-3 was resolved {DAY}.", loud, open_one]
    device |= {"alerts": [still], "resolved_alerts": 0}
    told = sentences.alerts(device, "Was the alert closed?")
    assert told == ["No alerts of press-3 were resolved.", open_one]


def test_the_fleets_health_is_counted_before_its_worst_devices_are_named():
    worst = [{"device_id": "press-1", "model": "P", "score": 4.0, "detail": "volt is low"}]
    health = scope([], day=START.date(), worst=worst, distribution=[1, 0, 0, 0, 1, 2, 0, 1, 5, 6])
    told = evidence.fleet_passage(health).text.split("\n\n")
    assert told == [
        "Health scores of 16 devices on 2026-11-24: "
        "1 below 40 of 100, 3 from 40 to below 70, 12 of 70 or more.",
        "The least healthy is press-1.",
        "press-1 (P) has a health score of 4 of 100: volt is low.",
    ]
    best = {name: told for name, told in health.items() if name != "worst"} | {"best": worst * 2}
    assert "\n\nThe healthiest are press-1, press-1.\n\n" in evidence.fleet_passage(best).text
    told = sentences.scores(scope(["P"], day=START.date(), distribution=[0] * 9 + [2]))
    assert told.startswith("Health scores of 2 P devices on 2026-11-24: 0 below 40 ")


def test_metrics_are_named_in_other_forms_too():
    trend = [{"ts": START, "metrics": {"volt": 170.0, "rotate": 450.0, "pressure": 9.0}}]

    def named(question: str) -> list[str]:
        return [line.split()[2] for line in sentences.metrics(record(trend=trend), question)]

    assert named("What is the voltage, and how fast is the rotation?") == ["volt", "rotate"]
    assert named("Is press-1 ok?") == []


def test_the_risk_is_told_where_it_is_asked_for():
    risk = [{"horizon_hours": 24, "probability": 0.12}, {"horizon_hours": 72, "probability": 0.3}]
    told = sentences.risk(record(risk=risk), "How likely is press-1 to fail?")
    assert told == ["The risk that press-1 fails is 12% within 24 h, 30% within 72 h."]
    assert sentences.risk(record(risk=risk), "Is press-1 ok?") == []
    unknown = sentences.risk(record(risk=[]), "Will press-1 fail?")
    assert unknown == ["No risk of failure is known for press-1: too few failures to learn from."]
