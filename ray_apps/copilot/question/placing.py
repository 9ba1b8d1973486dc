"""What a question asks for, once it is known which of its words are devices, models and codes of a tenant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from indexes.codes import code_key, singular
from ray_apps.copilot.question.conditions import Conditions
from ray_apps.copilot.question.naming import Known
from ray_apps.copilot.question.planner import ERROR_CODE, Plan, of_all


def placed(own: Plan, known: Known) -> Plan:
    """The plan with what is `known` of that which it names: the name of a device or a model is no error code.

    It is of devices where it names some; of the fleet, where it asks how things are and all that it names are
    models, `Are there alerts on HX-200 machines?`, or codes, and who reported them, or when: `E421 today`.
    What is none of these, such as the mistyped id of a device, is never answered for by the fleet.
    """
    ids = [*((name,) for name in own.names), *own.numbered]
    devices = tuple(dict.fromkeys(filter(None, map(known.device, ids))))
    models = _keys(known.models)
    of_device = {name for name in own.names if known.names(name)}
    others = [name for name in own.names if name not in of_device]
    names = tuple(name for name in others if code_key(name) not in models)
    own = replace(
        own,
        known=replace(known, devices=devices),
        names=names,
        codes=(own.codes - _keys(of_device)) | (own.codes & _keys(others)),
    )
    if devices:
        return replace(own, of_device=True, fleet=False, conditions=Conditions())
    if own.of_device or own.fleet or not others:
        return own
    if _reportable(own) and all(code_key(name) in known.codes for name in names):
        return of_all(own, names)
    # A bare `and the HX-450?` asks for what was asked before.
    asks = not own.bare or any(singular(name) != name for name in others)
    if own.state and not own.action and not names and asks:
        return of_all(own)
    strange = any(name[0].isalpha() and code_key(name) not in known.codes for name in names)
    return replace(own, of_device=strange and (own.fleet_incidents or _reportable(own)))


def _reportable(own: Plan) -> bool:
    """Whether all that a plan names may be codes, and it asks who reported these, or when."""
    asked = own.state and not (own.action or own.of_device or own.fleet) and bool(own.names)
    formed = all(ERROR_CODE.fullmatch(code_key(name)) for name in own.names)
    return asked and formed and bool(own.reporters or own.period or own.unread or own.lack)


def _keys(names: Collection[str]) -> set[str]:
    return set(map(code_key, names))
