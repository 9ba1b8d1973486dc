"""Follow-ups of questions of the fleet: asked again of another time, of the same devices, or turned round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from indexes.codes import code_key
from ray_apps.copilot.language.words import NEGATION
from ray_apps.copilot.question.conditions import Condition, Conditions
from ray_apps.copilot.question.lacking import lately
from ray_apps.copilot.question.leaving_out import LeftOut, split
from ray_apps.copilot.question.naming import KINDS
from ray_apps.copilot.question.period import Period
from ray_apps.copilot.question.planner import Plan, asked_words, of_all, plan
from ray_apps.copilot.question.unread import timeless

LEAD = re.compile(r"^\W*(?:(?:and|also|or|but|so|then|(?:what|how) about)\b\W*)*", re.I)
_VERB = r"(?:is|are|was|were|do|does|did|has|have|had)"
_WHICH = rf"(?:which|how many|what)(?: of (?:them|those|these|the \w+))?(?: (?:{KINDS})s?| ones?)?"
WHO = re.compile(
    r"^(?P<who>which|how many)(?: of (?:them|those|these))?(?: ones?)?"
    rf"(?= (?:(?P<one>is|was|has)|{_VERB}(?:n['’]?t)?|report\w*|show\w*|raised?|sent|send|never)\b)",
    re.I,
)
"""Asks for some of those that were spoken of, or for the `one` error or device."""
THEM = re.compile(r"\b(?:they|them|those|these)\b", re.I)
ROUND = re.compile(
    rf"^(?:(?P<rest>the (?:others?|rest))|(?:(?:on|of|from|by|at|for|to|with|in) )?{_WHICH}"
    rf"|(?:who|{_WHICH}|(?:those|the ones)(?: (?:that|which|who))?)(?: (?:still|also|now))?"
    rf" (?P<verb>{_VERB})(?P<not> ?n['’]?t| not)?(?: (?:any|it|(?P<none>none)))?"
    rf"|(?:(?:those|the ones|(?:{KINDS})s) )?(?P<with>with)(?P<without>out)?(?: (?:any|it|them))?)\W*$",
    re.I,
)
"""Says no more than that it asks for who did, or for who did not."""
NOW = re.compile(r"\b(?:open|active|unresolved|now|current(?:ly)?|still)\b", re.I)
"""Asks of now, whatever the time of the question before."""


def again(question: str, before: Plan, now: datetime) -> Plan | None:
    """The plan of a follow-up, asked at `now` (UTC), of a question of the fleet whose plan was `before`; None
    where it asks for something else, or it is not clear for what."""
    rest, left_out = split(question)
    rest = LEAD.sub("", rest)
    if (who := WHO.match(rest)) and not who["one"]:
        rest = f"{who['who']} machines{rest[who.end() :]}"
    own, said = plan(THEM.sub("machines", rest), None, now), " ".join(timeless(rest, now).split())
    turned = ROUND.match(said)
    named = None if own.period == own.usual else own.period
    words = set() if turned else asked_words(said)
    left_out = LeftOut(
        (*before.left_out.others, *left_out.others), (*before.left_out.lacking, *left_out.lacking)
    )
    time = named or (None if own.lack == "readings" else _time(rest, before)) or own.period
    own = replace(own, left_out=left_out, period=time)
    was, wanted = _wanted(before, now), _wanted(own, now)
    if turned and (turned["rest"] or turned["verb"] or turned["with"]):
        denies = bool(turned["not"] or turned["none"] or turned["without"])
        denies = not before.denies if turned["rest"] else denies
        same = denies is before.denies
        if before.fleet_health and not was:
            best = before.best is same
            return replace(before, best=best, denies=denies, period=named or before.period, unread=own.unread)
        if len(was) != 1:
            return None
        own, meant = replace(own, denies=denies), was[0] if same else was[0].otherwise
        return _meeting(before, own, [replace(meant, period=named or meant.period)])
    if wanted or own.health:
        if THEM.search(question) or (own.lack and not who and NEGATION.match(rest)):
            joined = [*was, *wanted] if was and wanted else []
            return _meeting(before, own, joined) if joined else _of_them(own, before, now, apart=True)
        return _of_them(own, before, now)
    if own.denies or own.codes or (words and not (own.state or own.action)):
        return None
    if (
        who
        and words
        and not (who["one"] or own.action or (before.alerts and (own.resolved or NOW.search(rest))))
    ):
        return _of_them(own, before, now)
    return replace(
        before,
        fleet=True,
        period=own.period or before.usual,
        conditions=before.conditions.within(named),
        left_out=left_out,
        action=own.action,
        unread=own.unread,
        resolved=own.resolved or (before.resolved and not NOW.search(rest)),
    )


def who_had(own: Plan, question: str, codes: Sequence[str], before: Plan, now: datetime) -> Plan:
    """The plan of a question of the fleet that refers to codes which the one before, of the plan `before`,
    named: `Which machines had it?`."""
    lack = "errors" if own.denies else own.lack
    time = own.period or _time(question, before)
    return of_all(replace(own, lack=lack, period=time), tuple(codes), now)


def _time(question: str, before: Plan) -> Period | None:
    """The time that the question before named, unless this one asks of now."""
    usual = before.period == before.usual or NOW.search(question)
    return None if usual else before.period


def _wanted(own: Plan, now: datetime) -> tuple[Condition, ...]:
    """What a plan asks of devices; nothing where that is not read."""
    if own.conditions.all or own.conditions.apart:
        return own.conditions.all
    if own.lack:
        return (Condition(own.lack, False, own.period or own.usual, own.reported),)
    if own.alerts:
        return () if own.resolved else (Condition("alerts", True, own.period),)
    return (Condition("errors", True, own.period or lately(now), own.reported),) if own.incidents else ()


def _meeting(before: Plan, own: Plan, wanted: Sequence[Condition]) -> Plan:
    """The plan that asks for those of the same devices who meet some conditions."""
    return replace(
        before,
        conditions=Conditions(tuple(dict.fromkeys(wanted))),
        period=own.period,
        unread=own.unread,
        left_out=own.left_out,
        denies=own.denies,
        action=own.action,
        silent=own.silent,
        reported=(),
        lack=None,
        health=False,
        incidents=False,
        alerts=False,
        state=True,
        fleet=True,
    )


def _of_them(own: Plan, before: Plan, now: datetime, apart: bool = False) -> Plan:
    """The plan of its own, of the models that were asked for before; `apart` where it asks for some of the
    devices that were told of, who are not known."""
    scope = before.codes - set(map(code_key, before.reported))
    conditions = Conditions(apart=True) if apart else own.conditions
    return of_all(replace(own, codes=own.codes | scope, conditions=conditions, state=True), own.reported, now)
