"""What numbers and codes a text holds, however they are spelt."""

from __future__ import annotations

import pytest

from ray_apps.copilot.language.facts import facts, figures


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("On the HX-200s, wait 1,500 s or 2.5 h after E421.", {"hx200", "1500", "2.5", "e421"}),
        ("52mm/s 24h 230V 10bar 2.5kW 0.5A", {"52", "24", "230", "10", "2.5", "0.5"}),
        ("120m3/h and 120 m3/h", {"120", "m3"}),
        ("machine-007, v2.4.1, 4B, 0x1F, 3V3", {"machine007", "2.4.1", "4", "0", "x1f", "3", "v3"}),
        ("a 3D printer", set()),
        ("-5 °C, (-6), \u22127, \u20138 and minus 9", {"-5", "-6", "-7", "-8", "-9"}),
        ("5-10, 6 -11, 7\u201312 mm, 8%-13%, 9 - 14, +/-15", set(map(str, range(5, 16)))),
        ("5mm-10mm", {"5", "10"}),
        ("1,5 mm or 1.5 mm", {"1.5"}),
        ("1,500,000.5; 0,125; 1500,5; .25", {"1500000.5", "0.125", "1500.5", "0.25"}),
        ("pins 1,5,7", {"1", "5", "7"}),
    ],
)
def test_figures_are_codes_and_numbers_without_their_units(text: str, found: set[str]):
    assert figures(text) == facts(text) == found


def test_numbers_in_words_are_facts_and_not_what_a_question_must_find():
    text = "Nine hours, twenty bolts, forty-two or sixty one days, a tenth: no one knows which one, and zero."
    assert facts(text) == {"9", "20", "42", "61"}
    assert figures(text) == set()
