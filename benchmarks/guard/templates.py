"""Training sentences from `templates.yaml`: orders to an assistant, and harmless ones that resemble them."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import yaml

_SLOT = re.compile(r"\{(\w+)\}")


def load_templates() -> dict[str, Any]:
    """Lists of templates by kind and category, and `slots`, the words that fill them."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "templates.yaml").read_text("utf-8"))
    return found


def generate(templates: dict[str, Any], kind: str, each: int, rng: random.Random) -> list[tuple[str, str]]:
    """(category, sentence) pairs: every template of a kind filled `each` times."""
    slots: dict[str, list[str]] = templates["slots"]

    def fill(match: re.Match[str]) -> str:
        return rng.choice(slots[match[1]]) if match[1] in slots else match[0]

    return [
        (category, _SLOT.sub(fill, template))
        for category, listed in templates[kind].items()
        for template in listed
        for _ in range(each)
    ]
