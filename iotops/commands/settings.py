"""`iotops settings`: every setting, its variable and what is in force."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich import box
from rich.table import Table

from iotops.commands.console import cell, print_json, results
from iotops.commands.tenant import Json
from iotops.settings import Settings, get_settings, variable

HEADER = """# Settings

Written by `iotops settings --markdown`; a test holds this page to the code.

`IOTOPS_*` variables win over the stack's own `.iotops/settings.yaml`, which wins over `configs/settings.yaml`
and the defaults here. With `IOTOPS_ENVIRONMENT=production` a missing or default secret stops the start and is
named. A name that is no setting is refused.

Gateways, sinks, jobs and replicas run in Ray with the variables of the `iotops up` that started it: what is
to last belongs in `configs/settings.yaml`. A command reads a change at once; they do after `iotops down`,
`iotops up`, `iotops serve` (or `iotops demo`) and `iotops ingest start`.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("settings")(settings)


def settings(
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/settings.md: the defaults, no values.")
    ] = False,
) -> None:
    """Show every setting with its IOTOPS_* variable; secrets are masked.

    Example: iotops settings
    """
    if markdown:
        print(page(), end="")
        return
    in_force = get_settings()
    found = [
        {
            "variable": variable(f"{area}.{name}" if area else name),
            "value": masked(getattr(getattr(in_force, area) if area else in_force, name)),
            "description": field.description,
        }
        for area, model in areas().items()
        for name, field in fields(model)
    ]
    if as_json:
        print_json(found)
        return
    table = Table("variable", "value", "what it is", box=box.SIMPLE, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in found:
        table.add_row(*(cell(str(value)) for value in row.values()))
    results.print(table)


def page() -> str:
    """`docs/settings.md`: a section per area, a row per setting."""
    lines = [HEADER]
    for area, model in areas().items():
        lines += [f"## {area or 'general'}", "", model.__doc__ or "", ""]
        lines += ["| Variable | Default | What it is |", "|---|---|---|"]
        for name, field in fields(model):
            default = "the `configs` folder here" if name == "configs" else f"`{masked(field.default)}`"
            named = variable(f"{area}.{name}" if area else name)
            lines.append(f"| `{named}` | {default} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def areas() -> dict[str, type[BaseModel]]:
    """The class of each area of the tree; that of the tree's own settings has no name."""
    found: dict[str, type[BaseModel]] = {"": Settings}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = field.annotation
    return found


def fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The settings of one area."""
    return [(name, field) for name, field in model.model_fields.items() if field.description]


def masked(value: Any) -> Any:
    """The value; of a secret only whether there is one."""
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(not set)"
    return value
