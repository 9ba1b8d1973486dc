"""Labelled texts of public sets, recognised by the names of their files."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Channel = Literal["question", "passage"]
LONGEST_CHUNK = 1200
LEAST_TEXT = 150
POSITIONS = ("start", "middle", "end")
OPERATIONS_QUESTIONS = Path(__file__).parent / "operations_questions.jsonl"


@dataclass(frozen=True)
class Example:
    """A text, whether it is an attack, and the family that a held-out split must not divide."""

    text: str
    attack: bool
    family: str
    order: str = ""
    """The instruction that was inserted into a passage; empty where the text is as it was found."""


@dataclass(frozen=True)
class LabelledSet:
    """Examples that come in by one channel: as a question, or as a passage that was looked up."""

    name: str
    channel: Channel
    examples: list[Example]


def read_sets(folder: Path, chunks: int = 120) -> list[LabelledSet]:
    """Every set under a folder that is recognised; raises `ValueError` where there is none.

    Recognised: BIPIA (`<kind>_train.jsonl` or `_test.jsonl` with contexts, `text_attack_*.json` and
    `code_attack_*.json` with attacks by category), `inthewild_jailbreak_llms.json`, JSON lists of
    {"prompt", "label"} (without a label: harmless), JSON lines of {"text", "label"} with an optional
    "channel", JSON lines of self-instruct's tasks and Markdown, both harmless; of Markdown a sample of
    so many chunks.
    """
    found = [*_bipia(folder), *_lists(folder), *_lines(folder), *_tasks(folder), *_markdown(folder, chunks)]
    if not found:
        raise ValueError(f"{folder} holds no set in a layout that is known")
    return found


def operations_questions() -> LabelledSet:
    """Harmless questions of operators, written for this repository; none is used for training."""
    return LabelledSet("operations questions", "question", _plain_lines(OPERATIONS_QUESTIONS)["question"])


def _bipia(folder: Path) -> Iterator[LabelledSet]:
    for file in sorted(folder.rglob("*.jsonl")):
        match = re.fullmatch(r"(\w+)_(train|test)\.jsonl", file.name)
        contexts = [each["context"] for each in _json_lines(file) if "context" in each] if match else []
        if not match or not contexts:
            continue
        kind, split = match.groups()
        contexts = [each if isinstance(each, str) else "\n".join(each) for each in contexts]
        for attacks_file in sorted(file.parent.glob(f"*_attack_{split}.json")):
            attacks = json.loads(attacks_file.read_text("utf-8"))
            name = f"bipia {kind}, {attacks_file.name.partition('_')[0]} attacks, {split}"
            yield LabelledSet(name, "passage", inserted(contexts, attacks))


def inserted(contexts: Sequence[str], attacks: dict[str, list[str]], seed: int = 1) -> list[Example]:
    """Every context alone; every attack at the start, in the middle and at the end of a context each."""
    rng = random.Random(seed)
    found = [Example(context, False, f"context {number}") for number, context in enumerate(contexts)]
    for category, orders in attacks.items():
        for order in orders:
            for position in POSITIONS:
                text = insert(rng.choice(contexts), order, position, rng)
                found.append(Example(text, True, category, order))
    return found


def insert(context: str, order: str, position: str, rng: random.Random) -> str:
    """The context with an order on a line of its own."""
    if position == "start":
        return f"{order}\n{context}"
    if position == "end":
        return f"{context}\n{order}"
    ends = [match.end() for match in re.finditer(r"[.!?]\s+|\n", context)] or [len(context)]
    at = rng.choice(ends)
    return f"{context[:at].rstrip()}\n{order}\n{context[at:]}"


def _lists(folder: Path) -> Iterator[LabelledSet]:
    for file in sorted(folder.rglob("*.json")):
        listed = json.loads(file.read_text("utf-8"))
        if not isinstance(listed, list) or not listed:
            continue
        if all(isinstance(each, str) for each in listed):
            examples = [Example(each, True, file.stem) for each in listed]
        elif all(isinstance(each, dict) and "prompt" in each for each in listed):
            examples = [
                Example(each["prompt"], bool(each.get("label", 0)), str(each.get("source", file.stem)))
                for each in listed
            ]
        else:
            continue
        yield LabelledSet(f"{file.parent.name} {file.stem}", "question", examples)


def _lines(folder: Path) -> Iterator[LabelledSet]:
    for file in sorted(folder.rglob("*.jsonl")):
        for channel, examples in _plain_lines(file).items():
            yield LabelledSet(f"{file.parent.name} {file.stem}", channel, examples)


def _tasks(folder: Path) -> Iterator[LabelledSet]:
    """Self-instruct: instructions with and without their input, and the texts that they are about."""
    for file in sorted(folder.rglob("*.jsonl")):
        tasks = [each for each in _json_lines(file) if "instruction" in each and "instances" in each]
        if not tasks:
            continue
        orders = [Example(each["instruction"], False, "instruction") for each in tasks]
        orders += [
            Example(f"{each['instruction']}\n{given}", False, "instruction with input")
            for each in tasks
            if (given := each["instances"][0]["input"])
        ]
        texts = [
            Example(text.strip(), False, "text")
            for each in tasks
            for instance in each["instances"][:2]
            for text in (instance["input"], instance["output"])
            if len(text) > LEAST_TEXT
        ]
        yield LabelledSet(f"tasks {file.stem}", "question", orders)
        yield LabelledSet(f"texts {file.stem}", "passage", texts)


def _plain_lines(file: Path) -> dict[Channel, list[Example]]:
    found: dict[Channel, list[Example]] = {}
    for each in _json_lines(file):
        if "text" in each and "label" in each:
            channel: Channel = "passage" if each.get("channel") == "passage" else "question"
            example = Example(each["text"], bool(each["label"]), str(each.get("family", file.stem)))
            found.setdefault(channel, []).append(example)
    return found


def _json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


def _markdown(folder: Path, most: int) -> Iterator[LabelledSet]:
    """A sample of the Markdown of each folder below, in pieces as long as a search hit."""
    by_folder: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.md")):
        inner = file.relative_to(folder).parts
        by_folder.setdefault(inner[0] if len(inner) > 1 else "", []).append(file)
    if len(by_folder) == 1 or "" in by_folder:
        by_folder = {folder.name: [file for files in by_folder.values() for file in files]}
    for name, files in by_folder.items():
        chunks = [
            Example(chunk, False, file.name)
            for file in files
            for chunk in chunked(file.read_text("utf-8", errors="replace"))
        ]
        random.Random(1).shuffle(chunks)
        yield LabelledSet(f"documents {name}", "passage", chunks[:most])


def chunked(text: str) -> list[str]:
    """Paragraphs packed into chunks of at most `LONGEST_CHUNK` characters, where none is longer alone."""
    chunks: list[str] = []
    for paragraph in filter(None, map(str.strip, re.split(r"\n\s*\n", text))):
        if chunks and len(chunks[-1]) + len(paragraph) < LONGEST_CHUNK:
            chunks[-1] = f"{chunks[-1]}\n\n{paragraph}"
        else:
            chunks.append(paragraph[: 2 * LONGEST_CHUNK])
    return chunks
