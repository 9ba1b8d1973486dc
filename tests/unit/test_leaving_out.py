import pytest

from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.question.leaving_out import LeftOut, split
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.placing import placed
from ray_apps.copilot.question.planner import of_fleet, plan


@pytest.mark.parametrize(
    ("question", "rest", "others", "lacking"),
    [
        ("Which machines other than HX-200 had E421?", "Which machines had E421?", ("HX-200",), ()),
        ("Which machines had E421 but not E425?", "Which machines had E421 ?", (), ("E425",)),
        ("Which had E421, not E425?", "Which had E421 ?", (), ("E425",)),
        ("Who had E310 and no E421 on HX-200s?", "Who had E310 on HX-200s?", (), ("E421",)),
        ("Which had E421 but haven't had E425?", "Which had E421 ?", (), ("E425",)),
        ("errors other than E421 or E-425 today", "errors today", ("E421", "E-425"), ()),
        ("Which machines are not HX-200s?", "Which machines ?", ("HX-200s",), ()),
        ("alerts except on the HX-200 machines", "alerts", ("HX-200",), ()),
        ("Which machines had anything but E421?", "Which machines had any error ?", ("E421",), ()),
        ("Which machines had errors but E421?", "Which machines had errors ?", ("E421",), ()),
        ("without E421, which errors today?", ", which errors today?", ("E421",), ()),
        ("errors without HX-200 today", "errors today", ("HX-200",), ()),
        ("ignore E421: which errors?", ": which errors?", ("E421",), ()),
        ("machines w/ errors w/o alerts", "machines with errors without alerts", (), ()),
        ("Did machine-004 not report E421?", None, (), ()),
        ("Which machines never reported E421?", None, (), ()),
        ("Which machines are not ok?", None, (), ()),
        ("not only today, also since 06:00", None, (), ()),
    ],
)
def test_what_is_left_out_is_told_apart(
    question: str, rest: str | None, others: tuple[str, ...], lacking: tuple[str, ...]
):
    assert split(question) == (rest or question, LeftOut(others, lacking))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("much", [" ", "not ", ", ", "a1 ", "but not a1, "])
def test_a_hostile_question_is_read_at_once(much: str):
    question = "not a1" + much * 20_000 + "x"
    assert len(split(question)[0]) <= len(question)


def test_a_device_that_is_left_out_is_so_in_each_spelling():
    for question, named in (
        ("Which machines except machine 4 are unhealthy?", "Which machines are unhealthy?"),
        ("alerts of all but machine 4", "alerts of all machines"),
        ("everything but machine-004", "all machines"),
    ):
        rest, left_out = split(question)
        assert rest == named
        assert {"machine-4", "machine-004"} <= set(left_out.others)


@pytest.mark.parametrize(
    ("question", "reported", "left_out"),
    [
        ("Which machines reported E421 but not E425?", ("E421",), LeftOut((), ("E425",))),
        ("Which machines other than press_a.3 had E421?", ("E421",), LeftOut(("press_a.3",))),
        ("Are there alerts on machines other than the HX-200?", (), LeftOut(("HX-200",))),
        ("Which machines had neither E421 nor E425?", ("E421", "E425"), LeftOut()),
    ],
)
def test_what_is_left_out_is_neither_asked_for_nor_named(
    question: str, reported: tuple[str, ...], left_out: LeftOut
):
    asked = placed(of_fleet(plan(question)), Known(models=("HX-200",)))
    assert asked.fleet
    assert (asked.reported, asked.left_out) == (reported, left_out)
    assert not asked.codes & {"hx200"}
    assert "press_a.3" not in asked.device_ids


def test_those_who_had_neither_are_those_who_lack_both():
    assert plan("Which machines had neither E421 nor E425?").fleet_lack == "errors"


def test_what_was_left_out_stays_so_in_a_follow_up():
    before = resolve("Which machines other than press_a.3 had E421 today?", None, []).turn()
    assert resolve("and yesterday?", None, [before]).plan.left_out == LeftOut(("press_a.3",))
