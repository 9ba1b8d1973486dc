from datetime import UTC, datetime, timedelta

import pytest

from ray_apps.copilot.language.words import content_words
from ray_apps.copilot.question.follow_up import Turn, resolve
from ray_apps.copilot.question.naming import Known, spelt_out
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.placing import placed
from ray_apps.copilot.question.planner import of_fleet, plan, symptom

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
KNOWN = Known(models=("HX-200", "CR-110"), codes=frozenset({"e421", "e310"}))


def devices_of(question: str, *fleet: str) -> list[str]:
    return [*placed(plan(question), Known(fleet)).devices]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("What is wrong with machine-007?", "machine-007"),
        ("why is Machine 7 so loud", "machine-007"),
        ("is pump #12 healthy", "machine-012"),
        ("state of PUMP_A.3, please", "PUMP_A.3"),
        ("state of sensor7.", "sensor7"),
    ],
)
def test_words_that_may_be_devices_are_found(question, name):
    assert devices_of(question, name) == [name]


@pytest.mark.parametrize(
    ("question", "fleet", "devices"),
    [
        ("Is pump 7 ok?", {"pump-7", "machine-007"}, ["pump-7"]),
        ("Is pump 7 ok?", {"machine-007"}, ["machine-007"]),
        ("Is machine-6 ok?", {"machine-006"}, ["machine-006"]),
        ("Are machines 6, 7 and 8 ok?", {"machine-006", "machine-008"}, ["machine-006", "machine-008"]),
        ("Is Machine-006 ok?", {"machine-006"}, ["machine-006"]),
        ("Is p-101 or pump 7 ok?", {"P-101", "PUMP-07"}, ["P-101", "PUMP-07"]),
        ("Is p-1 ok?", {"P-1", "p-1"}, ["p-1"]),
        ("P-099 to P-102 ok?", {"P-099", "P-100", "P-101", "P-102"}, ["P-099", "P-102", "P-100", "P-101"]),
        ("Are CNC-07 - 9 ok?", {"CNC-07", "CNC-08", "CNC-09"}, ["CNC-07", "CNC-08", "CNC-09"]),
        ("What do E421 to E425 mean on P-1?", {"P-1"}, ["P-1"]),
        ("Is machine-006-b ok?", {"machine-006"}, []),
        ("Is machine 6 ok?", set(), []),
    ],
)
def test_a_kind_and_a_number_name_the_likeliest_device(question, fleet, devices):
    assert devices_of(question, *fleet) == devices


def test_the_device_beside_the_question_comes_first():
    assert plan("and its bearings?", "machine-003").names[0] == "machine-003"


def test_codes_are_recognised_in_any_spelling():
    assert {"e421", "hx200"} <= plan("What does E421 mean on an HX-200?").codes


@pytest.mark.parametrize(
    ("question", "fleet"),
    [
        ("Which machines are worst?", True),
        ("Which machine had E425 yesterday?", True),
        ("What does E421 mean?", False),
        ("What is wrong with machine 7?", False),
        ("How is machine-001?", False),
        ("Which HX-200 had E421?", True),
        ("Which CR-110s have E425?", True),
        ("Which HX-200 manual tells of E421?", False),
        ("Which compressor oil does the CR-310 take?", False),
        ("What is the worst vibration that the HX-200 tolerates?", False),
        ("Which unit is torque given in for the HX-200?", False),
        ("Which device manual describes E421?", False),
        ("Which pump seal fits the HX-200?", False),
        ("What spare parts do the pumps need?", False),
        ("Which HX-450 pumps need service?", True),
        ("Which pump is worst?", True),
        ("Which of my machines are critical?", True),
        ("What are the worst devices?", True),
        ("What is wrong with my machines?", True),
    ],
)
def test_questions_about_the_fleet_are_told_apart(question, fleet):
    assert plan(question).fleet is fleet


@pytest.mark.parametrize(
    ("question", "incidents"),
    [("Which alarms are there?", True), ("What happened yesterday?", True), ("Is it hot?", False)],
)
def test_questions_about_what_happened_are_told_apart(question, incidents):
    assert plan(question).incidents is incidents


@pytest.mark.parametrize(
    ("question", "health", "incidents"),
    [
        ("Which machines have the worst health?", True, False),
        ("Which HX-200 machines are the least healthy?", True, False),
        ("Which machines had E425 in the last 3 days?", False, True),
        ("Which machine had E425?", False, True),
        ("Which error codes did the fleet have yesterday?", False, True),
        ("Which machines have errors and the worst health?", True, True),
        ("How was the fleet yesterday?", True, True),
        ("What broke last night?", False, True),
        ("What went wrong on Monday?", False, True),
    ],
)
def test_the_fleets_health_and_what_it_reported_are_told_apart(question, health, incidents):
    asked = resolve(question, None, []).plan
    assert (asked.fleet_health, asked.fleet_incidents) == (health, incidents)


def test_a_time_is_read_with_the_rest():
    asked = plan("Errors of machine-007 yesterday?", now=datetime(2026, 11, 26, 9, tzinfo=UTC))
    assert asked.period == Period(datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC))
    assert "machine-007" in asked.device_ids
    assert plan("Is machine-007 hot?").period is None


def test_a_hostile_question_stays_bounded():
    assert len(plan(" ".join(f"x{i}" for i in range(5000))).names) <= 20
    assert len(plan("machine " + " ".join(map(str, range(5000)))).numbered) <= 20


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What should I do about machine 6?", set()),
        ("The fan of machine-006 is loud, what do I do?", {"fan", "loud"}),
        ("How do I fix the E421 error on the pump?", set()),
    ],
)
def test_what_is_left_of_a_question_is_its_symptom(question: str, words: set[str]):
    assert content_words(symptom(question)) == words


@pytest.mark.parametrize(
    ("question", "codes"),
    [
        ("Which machine had E425 yesterday?", ("E425",)),
        ("Which HX-200 machines reported E421 or E-425 on Monday?", ("E421", "E-425")),
        ("Which machines have errors on an HX-200?", ()),
        ("Which machines are worst?", ()),
        ("How many machines had E-421?", ("E-421",)),
        ("How many HX-200s reported E421?", ("E421",)),
        ("How many bolts has an HX-200?", ()),
        ("Has machine-006 shown E421?", ()),
    ],
)
def test_codes_that_the_fleet_is_asked_for_stand_behind_the_verb(question: str, codes: tuple[str, ...]):
    assert plan(question).reported == codes


@pytest.mark.parametrize(
    ("question", "lack", "reported"),
    [
        ("Which machines had no errors this week?", "errors", ()),
        ("Which HX-200 machines never reported E421?", "errors", ("E421",)),
        ("Which HX-200 never reported E421?", "errors", ("E421",)),
        ("Which devices had no E421 or E310 yesterday?", "errors", ("E421", "E310")),
        ("Which machines haven't had any faults since Monday?", "errors", ()),
        ("Which machines have not reported any errors?", "errors", ()),
        ("Which machines are error-free this week?", "errors", ()),
        ("HX-200 without errors", "errors", ()),
        ("List all devices without errors", "errors", ()),
        ("How many machines have no open alerts?", "alerts", ()),
        ("Which machines are not reporting any alerts?", "alerts", ()),
        ("Which machines are offline?", "readings", ()),
        ("Which HX-200 are offline?", "readings", ()),
        ("Which devices stopped sending?", "readings", ()),
        ("which machines haven't reported in the last hour", "readings", ()),
        ("How many HX-200 machines are not reporting?", "readings", ()),
        ("Which devices have sent no data since Monday?", "readings", ()),
        ("Are any machines silent?", "readings", ()),
        ("machines w/o errors", "errors", ()),
        ("Does any HX-200 have no errors?", "errors", ()),
        ("Has any machine not reported E421?", "errors", ("E421",)),
        ("Is there a machine without faults?", "errors", ()),
        ("error free machines", "errors", ()),
        ("machines that lack alerts", "alerts", ()),
        ("Which machines went silent yesterday?", "readings", ()),
        ("Which machines haven't any alerts?", "alerts", ()),
        ("is everything online?", "readings", ()),
        ("Which machines are not offline?", None, ()),
        ("are all machines online?", "readings", ()),
        ("is anything offline?", "readings", ()),
        ("Which errors are not resolved on the machines?", None, ()),
        ("Which machines had errors?", None, ()),
        ("Which machines had E421 but not E425?", None, ()),
        ("Which machines have no risk of failure?", None, ()),
        ("Which machines don't send vibration data?", None, ()),
        ("show the latest readings of all machines", None, ()),
        ("Did machine-006 have no errors?", None, ()),
        ("Is machine-006 offline?", None, ()),
        ("Why are devices offline after a firmware update?", None, ()),
        ("The machines do not show errors but vibrate", None, ()),
        ("What does it mean when devices send no data?", None, ()),
        ("What does it mean that no data is shown?", None, ()),
        ("What should I do when a pump shows no errors but vibrates?", None, ()),
    ],
)
def test_those_who_had_no_trouble_or_sent_nothing_are_told_from_those_who_had(
    question: str, lack: str | None, reported: tuple[str, ...]
):
    found = placed(of_fleet(plan(question)), KNOWN)
    assert found.fleet_lack == lack
    if lack:
        assert found.reported == reported
        assert found.fleet_incidents
        assert not found.fleet_health
        assert bool(found.period) is (lack != "alerts"), "of the last 30 days or hour; alerts of now"


def test_alerts_that_there_never_were_are_not_those_of_now():
    lately = Period(datetime(2026, 10, 27, tzinfo=UTC), NOW)
    assert plan("Which machines never had alerts?", now=NOW).period == lately


def test_a_verb_of_reporting_is_no_symptom():
    assert content_words(symptom("machine-006 shows E425, how do I fix it?")) == set()


def test_how_long_those_are_silent_is_read():
    asked = plan("Which machines have been silent for 2 days?", now=NOW)
    assert asked.period == Period(NOW - timedelta(days=2), NOW)
    assert plan("Which are offline for more than an hour? Which machines?", now=NOW).silent
    assert plan("Which machines are offline?", now=NOW).period == Period(NOW - timedelta(hours=1), NOW)


def test_what_is_asked_of_a_device_may_be_a_code_and_never_its_own_name():
    assert plan("Did pump 7 or unit7 report E421 on pump-7?").error_codes == ["E421"]


@pytest.mark.parametrize(
    ("question", "state"),
    [
        ("What is wrong with machine-006?", True),
        ("Why is machine 6 unhealthy?", True),
        ("Is press_a.3 ok today?", True),
        ("Does machine-004 have any open alerts?", True),
        ("What should I do about machine-006?", True),
        ("Which machine had E425 yesterday?", True),
        ("How many machines are critical?", True),
        ("What model is machine-006?", True),
        ("Is machine-006 an HX-200?", True),
        ("Since when is machine-006 bad?", True),
        ("Is machine-006 offline?", True),
        ("When was machine-006 last seen?", True),
        ("How is telemetry data sent?", False),
        ("Is the oil of machine-006 ok?", False),
        ("How does the pump work?", False),
        ("Why?", False),
        ("hello", False),
    ],
)
def test_whether_nothing_is_asked_but_how_something_is(question: str, state: bool):
    assert plan(question).state is state


@pytest.mark.parametrize(
    ("question", "fleet"),
    [
        ("How is the fleet doing?", True),
        ("Are any machines in trouble?", True),
        ("How are my machines?", True),
        ("Which failures happened?", True),
        ("What needs my attention right now?", True),
        ("Is anything wrong today?", True),
        ("What alerts are open?", True),
        ("latest errors", True),
        ("list machines with open alerts", True),
        ("which error is most common", True),
        ("lowest health score", True),
        ("is anything wrong in the last 24h?", True),
        ("Which part is most common?", False),
        ("How many alerts are open?", True),
        ("Is machine-001 ok?", False),
        ("Is E421 critical?", False),
        ("How do I check for errors?", False),
        ("Is the bearing ok?", False),
    ],
)
def test_how_things_are_is_asked_of_the_fleet_where_nothing_is_named(question: str, fleet: bool):
    assert resolve(question, None, []).plan.fleet is fleet


def test_how_it_is_is_asked_of_what_it_refers_to():
    earlier = [Turn(question="What is wrong with machine-006?", devices=["machine-006"])]
    assert not resolve("Is it ok?", None, earlier).plan.fleet
    assert resolve("Is it ok?", None, earlier).plan.state


def test_a_device_is_spelt_out_where_it_is_known():
    fleet = Known(("machine-006", "machine-007"))
    assert spelt_out("machine 6 is loud", fleet) == "machine-006 is loud"
    assert spelt_out("machines 6 and 7", fleet) == "machine-006 and machine-007"
    assert spelt_out("pump 8 is loud", fleet) == "pump 8 is loud"


@pytest.mark.parametrize(
    ("question", "fleet"),
    [
        ("How many HX-200 machines are critical?", True),
        ("How many HX-200s are critical?", True),
        ("How many bearings has an HX-200?", False),
        ("Are there open alerts on the HX-200s?", True),
        ("Is machine-999 an HX-200?", False),
        ("What should I do about the HX-200?", False),
        ("Are there open alerts on the HX-900s?", False),
        ("and the HX-200?", False),
        ("How are the HX-200s?", True),
        ("E421 today", True),
        ("who had E421 yesterday", True),
        ("how often did E421 occur last week", True),
        ("What does E421 mean?", False),
        ("Is E421 critical?", False),
        ("When is E310 raised on the CR-110 at all?", False),
        ("Is sensor7 ok today?", False),
    ],
)
def test_the_name_of_a_model_stands_for_its_devices(question: str, fleet: bool):
    assert placed(plan(question), KNOWN).fleet is fleet


def test_a_code_and_a_time_ask_who_reported_it():
    asked = placed(plan("any E421 on HX-200s today"), KNOWN)
    assert (asked.fleet_incidents, asked.fleet_health, asked.reported) == (True, False, ("E421",))


@pytest.mark.parametrize(
    ("question", "devices"),
    [
        ("Can I run the pump 24 hours a day?", []),
        ("Are machines 1 to 3 ok?", ["machine-001", "machine-002", "machine-003"]),
        ("machines 1-2 ok?", ["machine-001", "machine-002"]),
        ("compare machine 1/3", ["machine-001", "machine-003"]),
        ("machine2 status", ["machine-002"]),
        ("Pump nr. 2", ["machine-002"]),
    ],
)
def test_numbers_are_devices_in_lists_and_ranges_and_not_before_a_unit(question: str, devices: list[str]):
    assert devices_of(question, *(f"machine-00{number}" for number in range(1, 6))) == devices


def test_a_time_is_no_code():
    assert not plan("is anything wrong in the last 24h?").codes
