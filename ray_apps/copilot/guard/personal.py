"""Personal data by its form, with Presidio's recognisers of patterns: no model, so no names of people."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, get_args

PersonalKind = Literal["email", "phone", "credit_card", "iban", "us_ssn", "ip_address"]
PERSONAL_KINDS: tuple[PersonalKind, ...] = get_args(PersonalKind)
# The surest first: a telephone is what is left of digits.
_ORDER: tuple[PersonalKind, ...] = ("email", "iban", "credit_card", "us_ssn", "ip_address", "phone")


def personal_data(text: str, kinds: Collection[PersonalKind]) -> Iterator[tuple[int, int, PersonalKind]]:
    """(start, end, kind) of what is personal, in the order of the text; where two overlap, the surer kind."""
    # Takes a second: not where only the kinds are wanted.
    from ray_apps.copilot.guard.recognisers import spans

    taken: list[tuple[int, int, PersonalKind]] = []
    for kind in _ORDER:
        if kind in kinds:
            for start, end in spans(text, kind):
                if all(end <= first or last <= start for first, last, _ in taken):
                    taken.append((start, end, kind))
    yield from sorted(taken)


def scrubbed(text: str, kinds: Collection[PersonalKind] = PERSONAL_KINDS) -> str:
    """The text with each piece of personal data replaced by the name of its kind."""
    for start, end, kind in reversed(list(personal_data(text, kinds))):
        text = f"{text[:start]}<{kind}>{text[end:]}"
    return text
