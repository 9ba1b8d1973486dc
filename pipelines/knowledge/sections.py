"""The outline of a Markdown body: sections under their heading path, and where their blocks begin."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

_LINE_END = re.compile(r"\r\n?|\n")
_MAXIMUM_HEADING, _MAXIMUM_MARKUP = 120, 2000
# Only block structure matters here, and inline parsing is where odd input costs time: a heading is cut short.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")


@dataclass
class Section:
    """Text from one heading to the next; offsets count characters of the source."""

    path: tuple[str, ...]
    blocks: list[int]
    """Where each block begins; the first is where the section begins, its headings included."""
    end: int = 0


@dataclass
class Outline:
    """Sections that partition a body, and all places where it may be cut below them."""

    sections: list[Section] = field(default_factory=list)
    nested: list[list[int]] = field(default_factory=list)
    """Where blocks within blocks begin (list items, table rows), by depth, each sorted."""
    lines: list[int] = field(default_factory=list)
    """Where lines begin, sorted."""


def outline(source: str, body_start: int, title: str) -> Outline:
    """The outline of `source[body_start:]`; a leading heading equal to the title is left out of the paths.

    Blocks are known by their beginnings only and reach to the next one, so that what the parser has no token
    for (link definitions, blank lines) belongs to some section too.
    """
    lines = [body_start, *(body_start + end.end() for end in _LINE_END.finditer(source[body_start:]))]
    tokens = _BLOCKS.parse(source[body_start:])
    result = Outline(lines=lines)
    depths: defaultdict[int, set[int]] = defaultdict(set)
    headings: dict[int, str] = {}
    only_headings = False
    section = Section((), [body_start])
    for at, token in enumerate(tokens):
        if token.map is None or token.nesting < 0 or token.map[0] >= len(lines):
            continue
        start = lines[token.map[0]]
        if token.level > 0:
            depths[token.level].add(start)
        elif token.type == "heading_open":
            level = int(token.tag[1:])
            headings = {above: text for above, text in headings.items() if above < level}
            headings[level] = _heading(tokens[at + 1])
            if not only_headings and start > section.blocks[0]:
                result.sections.append(section)
                section = Section((), [start])
            section.path, only_headings = _path(headings, title), True
        elif only_headings:
            only_headings = False  # the first block stays with its headings
        elif start > section.blocks[-1]:
            section.blocks.append(start)
    result.sections.append(section)
    ends = [following.blocks[0] for following in result.sections[1:]]
    for section, end in zip(result.sections, [*ends, len(source)], strict=True):
        section.end = end
    result.nested = [sorted(depths[depth]) for depth in sorted(depths)]
    return result


def first_heading(source: str, body_start: int) -> str:
    """The words of the first heading of a body that has any; empty where there is none."""
    tokens = _BLOCKS.parse(source[body_start:])
    openings = (at for at, token in enumerate(tokens) if token.type == "heading_open" and token.level == 0)
    return next((words for at in openings if (words := _heading(tokens[at + 1]))), "")


def _path(headings: dict[int, str], title: str) -> tuple[str, ...]:
    path = tuple(headings[level] for level in sorted(headings) if headings[level])
    return path[1:] if path[:1] == (title,) else path


def _heading(token: Token) -> str:
    """The words of a heading without its markup."""
    children: Sequence[Token] = _INLINE.parseInline(token.content[:_MAXIMUM_MARKUP])[0].children or []
    return " ".join("".join(child.content or " " for child in children).split())[:_MAXIMUM_HEADING]
