"""Text as the detector reads it: without disguises, cut into windows of a sentence or a few."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata

from ray_apps.copilot.language.text import plain, sentences

LONGEST_SENTENCE, LONGEST_BLOCK = 320, 400
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,}={0,2}(?![A-Za-z0-9+/])")
# A line that ends without a full stop goes on in the next one only if that one begins in lower case.
_NEW_LINE = re.compile(r"\n(?=\s*[^\sa-z(,;])|(?<=[.!?:;>|])\n")
_HTML = re.compile(
    r"</?(?:summary|details|br|p|div|span|b|i|em|code|pre|li|ul|ol|t[dhr]|table|a|img|h\d)\b[^>]*>", re.I
)
_WORD = re.compile(r"[^\W\d_]{2,}")
LEAST_WORDS = 3
LEAST_SAID, LEAST_PLAIN = 5, 0.65
"""Words of a line of code that says something, and the share of it that they and its spaces are."""
_FENCE = re.compile(r"(```|~~~)[^\n]*\n.*?(?:\1|\Z)", re.S)


def visible(text: str) -> str:
    """The text in compatibility form, without invisible characters."""
    return text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def undisguised(text: str) -> str:
    """The visible text; what invisible characters or Base64 hid is appended."""
    hidden = ["".join(chr(ord(each) - 0xE0000) for each in run) for run in _TAGS.findall(text)]
    seen = visible(text)
    hidden += [found for blob in _BASE64.findall(seen) if (found := _decoded(blob))]
    return "\n".join([seen, *hidden])


def _decoded(blob: str) -> str:
    """The words that a Base64 blob holds; empty where it holds none, as a key or a checksum does."""
    try:
        found = base64.b64decode(blob + "=" * (-len(blob) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return found if found.isprintable() and " " in found else ""


def sentence_windows(text: str) -> list[str]:
    """The sentences, lines and table rows of a text, each without Markdown's marks; code in blocks of lines.

    A sentence is spelled as `grounding.plain` spells it, so that a vector made of it for grounding serves
    here too.
    """
    found: list[str] = []
    for piece, is_code in _pieces(text):
        if is_code:
            found += _cut(piece, LONGEST_BLOCK)
            continue
        for start, end in sentences(piece):
            for line in _NEW_LINE.split(piece[start:end]):
                found += _cut(plain(_HTML.sub(" ", line)), LONGEST_SENTENCE)
    return [each for each in found if len(_WORD.findall(each)) >= LEAST_WORDS or not each.isascii()]


def said_in_code(text: str) -> list[str]:
    """The lines of code blocks that read like sentences: a comment, what a log says, or prose that only a
    fence without its partner makes code."""
    code = [piece for piece, is_code in _pieces(text) if is_code]
    lines = [plain(line) for piece in code for line in piece.split("\n")[1:]]
    return [part for line in lines if _says(line) for part in _cut(line, LONGEST_SENTENCE)]


def _says(line: str) -> bool:
    words = _WORD.findall(line)
    return len(words) >= LEAST_SAID and sum(map(len, words)) + line.count(" ") >= LEAST_PLAIN * len(line)


def _pieces(text: str) -> list[tuple[str, bool]]:
    """The text between code blocks, and the code blocks with the sentence that leads to each."""
    pieces, done = [], 0
    for fence in _FENCE.finditer(text):
        before = text[done : fence.start()].rstrip()
        lead = before[before.rfind("\n") + 1 :]
        pieces += [(before, False), (f"{lead}\n{fence.group()}", True)]
        done = fence.end()
    return [*pieces, (text[done:], False)]


def block_windows(text: str) -> list[str]:
    """Consecutive sentences packed into blocks of at most `LONGEST_BLOCK` characters."""
    blocks: list[str] = []
    for sentence in sentence_windows(text):
        if blocks and len(blocks[-1]) + len(sentence) < LONGEST_BLOCK:
            blocks[-1] = f"{blocks[-1]} {sentence}"
        else:
            blocks.append(sentence)
    return blocks


def _cut(text: str, longest: int) -> list[str]:
    """The text in pieces of at most so many characters, cut at the ends of lines or else at spaces."""
    pieces = []
    while len(text) > longest:
        at = next((at for mark in "\n " if (at := text.rfind(mark, 0, longest)) > 0), longest)
        pieces.append(text[:at])
        text = text[at:].lstrip()
    return [*pieces, text] if text else pieces
