"""What an answer must not carry: secrets, another tenant's names, links of its own, personal data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from iotops.tenancy import SHARED_PREFIX, TOPIC_KINDS, Tenant
from ray_apps.copilot.guard.personal import PersonalKind, personal_data
from ray_apps.copilot.guard.secret_patterns import secrets_in
from ray_apps.copilot.guard.windows import visible
from ray_apps.copilot.language.words import STOP_WORDS

_TENANT = r"(?P<tenant>[a-z][a-z0-9_]{1,30})"
_KINDS = f"(?:{'|'.join(TOPIC_KINDS)})"
_STREAM = r"(?:topics?|kafka|partitions?|consumers?)"
_TENANT_ID = r"\btenant(?:[ _-]?(?:id|name))?"
# `tenant: one cannot`, `tenant: yes`
_NO_ID = rf"(?:{'|'.join(sorted(STOP_WORDS))}|one|none|other|only|yes|no|not|true|false|null)"
# `for tenant isolation`, `of tenant users`: two nouns that are one.
_NOUN = (
    r"(?:account|admin|administrator|call|certificate|credential|data|database|device|document|file|folder|"
    r"identifier|index|indexes|key|level|limit|machine|mode|operator|owner|policy|policies|prefix|prefixes|"
    r"question|quota|record|role|scope|sensor|space|table|tier|token|topic|user|\w+(?:ing|tion|ment|ity))s?"
)
_FOREIGN = [
    re.compile(rf"\blake://{_TENANT}(?![\w])[^\s)\]>\"'`]*", re.I),
    re.compile(rf"\bs3a?://[\w.-]+/{_TENANT}/[^\s)\]>\"'`]*", re.I),
    re.compile(rf"\btenants/{_TENANT}/[^\s)\]>\"'`]*", re.I),
    # Said to be one: a manual may have a setting `telemetry_interval`.
    re.compile(rf"\b{_STREAM}\b[^.\n]{{0,40}}?\b{_KINDS}_{_TENANT}\b", re.I),
    re.compile(rf"\b{_KINDS}_{_TENANT}\b[^\w.\n]{{1,3}}{_STREAM}\b", re.I),
    re.compile(rf"{_TENANT_ID}[\"'`*]*[ \t]*[:=]+[ \t\"'`*]*(?!{_NO_ID}\b){_TENANT}(?![\w-])", re.I),
    re.compile(rf"{_TENANT_ID}[ \t]+[\"'`*]+{_TENANT}[\"'`*]", re.I),
    re.compile(
        rf"\b(?:as|by|for|from|in|of|to|with)[ \t]+(?:the[ \t]+)?{_TENANT_ID}[ \t]+"
        rf"(?!(?:{_NO_ID}|{_NOUN})\b){_TENANT}(?![\w-])",
        re.I,
    ),
]
# Of any scheme or none, as a browser reads it: a backslash is a slash, and scripts and data open too.
_LINK = re.compile(
    r"(?:[a-z0-9+.-]{1,20}://|\b(?:https?|javascript|vbscript):(?=\S)|\bdata:(?=[a-z]+/|[,;])|\bwww\."
    r"|(?<![\w/\\])(?<!\w:)[/\\]{2,}(?=\w))[^\s<>\"'`\])}]+",
    re.I,
)
Span = tuple[int, int, str]


class AnswerCheck:
    """Takes out of answers what they must not carry, for one tenant and the sources of one answer."""

    def __init__(self, tenant: Tenant, personal: Collection[PersonalKind]) -> None:
        self._tenant, self._personal = tenant, personal
        self._links: set[str] = set()
        self.removed: Counter[str] = Counter()

    def allow(self, sources: Iterable[str]) -> None:
        """The links of these sources may stand in the answer."""
        for source in sources:
            seen = "".join(map(visible, source))
            self._links |= {_bare(match.group()) for match in _LINK.finditer(seen)}

    def clean(self, text: str) -> str:
        """The text with `[removed: kind]` for each finding; `removed` counts them by kind."""
        for kind_of, find in (
            ("secret", self._secrets),
            ("other_tenant", self._foreign),
            ("link", self._new),
        ):
            text = self._without(text, find, kind_of)
        return self._without(text, self._private, None)

    def _without(self, text: str, find: Callable[[str], Iterator[Span]], kind: str | None) -> str:
        """What is found as a reader sees the text is taken out of the text as it is."""
        seen = [(each, place) for place, letter in enumerate(text) for each in visible(letter)]
        spans = find("".join(each for each, _ in seen))
        places = ((seen[start][1], seen[end - 1][1] + 1, found) for start, end, found in spans)
        for start, end, found in reversed(_merged(places)):
            text = f"{text[:start]}[removed: {kind or found}]{text[end:]}"
            self.removed[kind or found] += 1
        return text

    @staticmethod
    def _secrets(text: str) -> Iterator[Span]:
        return secrets_in(text)

    def _foreign(self, text: str) -> Iterator[Span]:
        for pattern in _FOREIGN:
            for match in pattern.finditer(text):
                if match["tenant"].lower() not in (self._tenant.id, SHARED_PREFIX):
                    yield match.start(), match.end(), "other_tenant"

    def _new(self, text: str) -> Iterator[Span]:
        for match in _LINK.finditer(text):
            own = match.group().lower().startswith("lake://")  # another tenant's is not left here
            if not own and _bare(match.group()) not in self._links:
                yield match.start(), match.start() + len(match.group().rstrip(".,;:!?*_")), "link"

    def _private(self, text: str) -> Iterator[Span]:
        return personal_data(text, self._personal)


def _merged(spans: Iterator[Span]) -> list[Span]:
    """The spans in order, those that overlap as one."""
    merged: list[Span] = []
    for start, end, kind in sorted(spans):
        if merged and start < merged[-1][1]:
            first, last, known = merged[-1]
            merged[-1] = first, max(last, end), known
        else:
            merged.append((start, end, kind))
    return merged


def _bare(link: str) -> str:
    """A link without what only the sentence around it adds, and in one spelling of its host."""
    return re.sub(r"^(?:(?:https?:)?[/\\]{2,})?(?:www\.)?", "", link.rstrip(".,;:!?*_/"), flags=re.I)
