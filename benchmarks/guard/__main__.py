"""`python -m benchmarks.guard DIR...`: how many attacks the guard finds, and how much harmless it flags.

Beside it a list of keywords and a plain logistic head over the embedding of the whole text, which learns from
the templates of this repository.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.guard import personal_data
from benchmarks.guard.baselines import PlainHead, has_keyword
from benchmarks.guard.sets import LabelledSet, operations_questions, read_sets
from indexes.encoder import SentenceEncoder
from iotops.commands.console import progress
from iotops.models import resolve_role
from iotops.settings import get_settings
from ray_apps.copilot.evidence.passages import Passage, Quote, quotes
from ray_apps.copilot.guard.detector import InjectionDetector, encoded, read_passage, read_question
from ray_apps.copilot.guard.heads import WEIGHTS, Heads
from ray_apps.copilot.language.text import plain

PASSAGES_PER_ANSWER, REPEATS = 10, 15
Judge = Callable[[str], bool]


def judges(
    sets: LabelledSet, detectors: dict[str, InjectionDetector], plain: PlainHead, encode: Any
) -> dict[str, Judge]:
    """Every contender by name, for the channel of a set."""
    read = read_question if sets.channel == "question" else read_passage
    readings = {each.text: read(each.text) for each in sets.examples}
    vectors = encoded(list(readings.values()), encode)
    whole = plain.flags([each.text for each in sets.examples], sets.channel)
    flagged = dict(zip((each.text for each in sets.examples), whole, strict=True))

    def by(detector: InjectionDetector) -> Judge:
        judge = detector.question if sets.channel == "question" else detector.passage
        return lambda text: judge(readings[text], vectors).flagged

    found: dict[str, Judge] = {name: by(detector) for name, detector in detectors.items()}
    return found | {"keywords": has_keyword, "plain head": lambda text: flagged[text]}


def measured(sets: LabelledSet, judge: Judge) -> dict[str, Any]:
    """Recall over the attacks, by family too, and the rate of false positives; None where a set has none."""
    verdicts = [(each, judge(each.text)) for each in sets.examples]
    attacks = [flagged for each, flagged in verdicts if each.attack]
    harmless = [flagged for each, flagged in verdicts if not each.attack]
    families = sorted({each.family for each, _ in verdicts if each.attack})
    return {
        "attacks": len(attacks),
        "harmless": len(harmless),
        "recall": float(np.mean(attacks)) if attacks else None,
        "false_positive_rate": float(np.mean(harmless)) if harmless else None,
        "recall_by_family": {
            family: float(np.mean([hit for each, hit in verdicts if each.attack and each.family == family]))
            for family in families
        },
    }


def speed(
    detector: InjectionDetector, sets: Sequence[LabelledSet], encoder: SentenceEncoder
) -> dict[str, float]:
    """Median times (ms): a question beyond its embedding, ten passages whose sentences are embedded."""
    questions = [each.text for each in operations_questions().examples]
    texts = [
        each.text for one in sets if one.channel == "passage" for each in one.examples if not each.attack
    ]
    rng = random.Random(3)
    spent: dict[str, list[float]] = {
        "question_ms": [],
        "ten_passages_ms": [],
        "ten_passages_left_to_embed_ms": [],
    }
    for _ in range(REPEATS):
        question = rng.choice(questions)
        vectors = encoded([read_question(question)], encoder.encode)
        started = time.perf_counter()
        detector.question(read_question(question), vectors)
        spent["question_ms"].append(time.perf_counter() - started)
        if len(texts) < PASSAGES_PER_ANSWER:
            continue
        chosen = rng.sample(texts, PASSAGES_PER_ANSWER)
        found = quotes([Passage("", "", "", "", text, 0) for text in chosen])
        known = encode_known(found, encoder)
        started = time.perf_counter()
        readings = [read_passage(text) for text in chosen]
        wanted = dict.fromkeys(window for reading in readings for window in reading.texts)
        left = [window for window in wanted if window not in known]
        embedding = time.perf_counter()
        vectors = {**known, **dict(zip(left, encoder.encode(left), strict=True))}
        spent["ten_passages_left_to_embed_ms"].append(time.perf_counter() - embedding)
        for reading in readings:
            detector.passage(reading, vectors)
        spent["ten_passages_ms"].append(time.perf_counter() - started)
    return {name: float(np.median(each)) * 1000 for name, each in spent.items() if each}


def encode_known(quotes: Sequence[Quote], encoder: SentenceEncoder) -> dict[str, Any]:
    """The vectors that an answer makes of its sources anyway."""
    texts = list(dict.fromkeys(plain(quote.text) for quote in quotes))
    return dict(zip(texts, encoder.encode(texts), strict=True))


def main() -> None:
    """Measure on each set, print the table, write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with labelled sets")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="another training's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    try:
        sets = [operations_questions(), *(each for folder in options.folders for each in read_sets(folder))]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    console, encoder = Console(), SentenceEncoder(resolve_role(get_settings(), "embedder"))
    heads = Heads.load(options.weights)
    if heads.checksum != encoder.model.checksum:
        parser.error(f"the weights were made for {heads.embedder}, not for {encoder.model.name}")
    detectors = {"guard": InjectionDetector(heads), "rules alone": InjectionDetector(None)}
    figures: dict[str, Any] = {"sets": {}, "held_out": heads.trained_on["held_out"]}
    table = Table("", "attacks", "harmless", title="recall / false positives, %")
    with progress("reading the templates") as say:
        plain = PlainHead(encoder.encode)
        for each in sets:
            say(each.name)
            found = {
                name: measured(each, judge)
                for name, judge in judges(each, detectors, plain, encoder.encode).items()
            }
            if not figures["sets"]:
                for name in found:
                    table.add_column(name)
            trained = " (trained on)" if each.name in heads.trained_on["sets"] else ""
            first = found["guard"]
            counts = str(first["attacks"]), str(first["harmless"])
            table.add_row(f"{each.name}{trained}", *counts, *map(_cell, found.values()))
            figures["sets"][each.name] = {
                "channel": each.channel,
                "trained_on": bool(trained),
                "systems": found,
            }
        say("speed")
        figures["speed"] = speed(detectors["guard"], sets, encoder)
    figures["personal_data"] = {
        name: found for folder in options.folders for name, found in personal_data.measured(folder).items()
    }
    console.print(table)
    for name, found in figures["personal_data"].items():
        for kind, counts in found.items():
            console.print(f"{name}, {kind}: {counts['found']} of {counts['spans']}, {counts['false']} false")
    for name, value in figures["speed"].items():
        console.print(f"{name}: {value:.1f}")
    for channel, held_out in figures["held_out"].items():
        told = ", ".join(
            f"{name} {value:.3f}" for name, value in held_out.items() if isinstance(value, float)
        )
        console.print(f"held out in training, {channel}: {told}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _cell(found: dict[str, Any]) -> str:
    values = (found["recall"], found["false_positive_rate"])
    return " / ".join("-" if value is None else f"{value * 100:.1f}" for value in values)


if __name__ == "__main__":
    main()
