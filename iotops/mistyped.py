"""Names that are meant as settings and are none: each is told with the nearest that is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from pydantic import BaseModel

NEAR, ALMOST = 0.75, 0.9
"""How alike (0-1) names are, of which one may be meant, or is: IOTOPS_MODEL_LLM is no setting, and right."""


def dotted_names(tree: type[BaseModel]) -> list[str]:
    """Every area and every setting of a tree, such as `kafka` and `kafka.client`."""
    names = list(tree.model_fields)
    for area, field in tree.model_fields.items():
        names += [f"{area}.{name}" for name in getattr(field.annotation, "model_fields", ())]
    return names


def mistyped_variables(variables: Iterable[str], known: Sequence[str]) -> list[str]:
    """Those `IOTOPS_*` variables that name a setting of an area, or nearly a setting, and are not known."""
    ours = {name for name in map(str.upper, variables) if name.startswith("IOTOPS_")}.difference(known)
    return sorted(name for name in ours if "__" in name or get_close_matches(name, known, 1, ALMOST))


def no_setting(name: str, known: Sequence[str]) -> str:
    """That a name is no setting, and which is meant perhaps."""
    near = get_close_matches(name, known, 1, NEAR)
    return f"{name} is no setting; {f'the nearest is {near[0]}' if near else 'docs/settings.md has all'}"
