"""`python -m benchmarks.nab DIR`: the anomaly detector on the Numenta Anomaly Benchmark, beside baselines.

DIR has NAB's layout: `data/<group>/<series>.csv` with columns `timestamp,value`, and the windows in
`labels/combined_windows.json`; a series without an entry there is left out, as NAB does. Scores are those of
NAB's standard profile (arXiv:1510.03336; `benchmarks/nab_scoring.py`). Our detector has one setting and a
fixed threshold. Each baseline gets the one threshold that scores best on these very labels, as NAB does for
its detectors and as published figures are made; a second column does the same for ours.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.nab_baselines import BASELINES
from benchmarks.nab_scoring import Floats, Labelled, Outcome, best_threshold, outcome
from pipelines.ingest.alerting.anomaly import ALERT, AnomalyDetector

OURS, OURS_AT_BEST = "iotops", "iotops, best threshold"


@dataclass(frozen=True)
class Series:
    """One file: its path under `data/`, values, epoch milliseconds (read as UTC) and inclusive windows."""

    name: str
    values: Floats
    at_ms: npt.NDArray[np.int64]
    windows: list[tuple[int, int]]


@dataclass(frozen=True)
class Run:
    """One detector over all series."""

    threshold: float
    outcomes: dict[str, Outcome]
    labelled: dict[str, Labelled]
    seconds: float

    @property
    def readings_per_s(self) -> float:
        """Speed."""
        return sum(len(series.scores) for series in self.labelled.values()) / self.seconds

    @property
    def total(self) -> Outcome:
        """All series together."""
        return sum(self.outcomes.values(), Outcome(0, 0, 0, 0))


def read(root: Path) -> list[Series]:
    """All labelled series under `root`, by name."""
    labels = json.loads((root / "labels" / "combined_windows.json").read_text())
    found = []
    for path in sorted((root / "data").glob("*/*.csv")):
        name = path.relative_to(root / "data").as_posix()
        if name in labels:
            found.append(_series(name, path, labels[name]))
    if not found:
        raise SystemExit(f"No labelled series under {root}: data/<group>/<series>.csv is expected.")
    return found


def _series(name: str, path: Path, windows: list[list[str]]) -> Series:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    at = np.array([row["timestamp"] for row in rows], dtype="datetime64[ms]").astype(np.int64)
    values = np.array([float(row["value"]) for row in rows])
    edges = [np.array(window, dtype="datetime64[ms]").astype(np.int64) for window in windows]
    index = [(int(np.flatnonzero(at == a)[0]), int(np.flatnonzero(at == b)[0])) for a, b in edges]
    return Series(name, values, at, index)


def run_ours(corpus: list[Series]) -> Run:
    """All series through one detector, a reading of each series per step, at its own threshold."""
    detector = AnomalyDetector()
    slots = detector.slots([series.name for series in corpus])
    length = max(len(series.values) for series in corpus)
    values = np.full((length, len(corpus)), np.nan)
    at_ms = np.zeros((length, len(corpus)), dtype=np.int64)
    for column, series in enumerate(corpus):
        values[: len(series.values), column] = series.values
        at_ms[: len(series.values), column] = series.at_ms
    started = time.perf_counter()
    scores = np.stack([detector.step(slots, *reading) for reading in zip(values, at_ms, strict=True)])
    took = time.perf_counter() - started
    labelled = {
        series.name: Labelled(series.windows, scores[: len(series.values), column])
        for column, series in enumerate(corpus)
    }
    return _judged(labelled, ALERT, took)


def at_best(run: Run) -> Run:
    """The same scores at the threshold that is best for the corpus, as NAB judges its detectors."""
    scored = run.labelled
    return _judged(scored, best_threshold(list(scored.values())), run.seconds)


def run_baseline(name: str, corpus: list[Series]) -> Run:
    """Each series through a fresh baseline, at the threshold that is best for the whole corpus."""
    started = time.perf_counter()
    labelled = {series.name: Labelled(series.windows, BASELINES[name](series.values)) for series in corpus}
    took = time.perf_counter() - started
    return _judged(labelled, best_threshold(list(labelled.values())), took)


def _judged(labelled: dict[str, Labelled], threshold: float, took: float) -> Run:
    outcomes = {name: outcome(series, threshold) for name, series in labelled.items()}
    return Run(threshold, outcomes, labelled, took)


def table(runs: dict[str, Run]) -> Table:
    """Per series and in total: windows found, false positives and score of each detector."""
    shown = Table(title="NAB, standard profile: score (windows found, false positives)")
    shown.add_column("series")
    shown.add_column("windows", justify="right")
    for name in runs:
        shown.add_column(name, justify="right")
    names = list(next(iter(runs.values())).outcomes)
    for series in names:
        outcomes = [run.outcomes[series] for run in runs.values()]
        shown.add_row(series, str(outcomes[0].windows), *map(_cell, outcomes))
    shown.add_section()
    totals = [run.total for run in runs.values()]
    shown.add_row("total", str(totals[0].windows), *map(_cell, totals), style="bold")
    shown.add_row("threshold", "", *(f"{run.threshold:.6g}" for run in runs.values()))
    shown.add_row("readings/s", "", *(f"{run.readings_per_s:,.0f}" for run in runs.values()))
    return shown


def _cell(earned: Outcome) -> str:
    score = f"{earned.score:.1f}" if earned.windows else f"{earned.raw:+.2f} pt"
    return f"{score} ({earned.found}, {earned.false_positives})"


def figures(runs: dict[str, Run]) -> dict[str, object]:
    """The table's figures for `--json`: per detector the total, the speed and each series."""
    return {
        name: {
            **_numbers(run.total),
            "threshold": run.threshold,
            "readings_per_s": run.readings_per_s,
            "series": {series: _numbers(earned) for series, earned in run.outcomes.items()},
        }
        for name, run in runs.items()
    }


def _numbers(earned: Outcome) -> dict[str, float | int | None]:
    return {
        "score": earned.score if earned.windows else None,
        "points": earned.raw,
        "windows": earned.windows,
        "found": earned.found,
        "false_positives": earned.false_positives,
    }


def main() -> None:
    """Read DIR, run every detector, print the table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nab", description=__doc__.partition("\n")[0])
    parser.add_argument("dir", type=Path, help="a folder in NAB's layout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    corpus = read(options.dir)
    console = Console()
    runs: dict[str, Run] = {}
    for name in (OURS, *BASELINES):
        with console.status(f"{name} on {len(corpus)} series"):
            runs[name] = run_ours(corpus) if name == OURS else run_baseline(name, corpus)
            if name == OURS:
                runs[OURS_AT_BEST] = at_best(runs[OURS])
    console.print(table(runs))
    if options.json:
        options.json.write_text(json.dumps(figures(runs), indent=2) + "\n")


if __name__ == "__main__":
    main()
