"""`python -m benchmarks.health DIR`: does the health score predict? On machines that were not seen.

DIR holds a fleet in the Azure predictive-maintenance layout (`PdM_*.csv`). Every machine is scored at four
hours of each day from its past alone, by the functions that `silver-to-gold` runs. The failure risk is
learned as there, from the midnights of the other machines (a tenth of the machines held out at a time), and
judged at all hours of the machines held out. Where a horizon runs past the data's end, the row is left out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.health.fleet import Scored, scored
from benchmarks.health.measures import alerting, calibration, ranking
from pipelines.lake.risk import HORIZONS_H, Floats, train, until_failure

MOST_FOLDS = 10
NAMES = ("failure_risk", "health_score", "errors_24h", "maintenance_age")


def unseen_risk(fleet: Scored, horizon_h: int, folds: int = MOST_FOLDS) -> Floats:
    """The risk of each row, learned from machines of other folds only, [rows]."""
    names = np.unique(fleet.history.devices)
    probability = np.empty(len(fleet.score))
    for held_out in np.array_split(np.random.default_rng(0).permutation(names), min(folds, len(names))):
        unseen = np.isin(fleet.history.devices, held_out)
        past = fleet.history[~unseen & (fleet.history.ends % 24 == 0)]
        known = {name: times for name, times in fleet.failures.items() if name not in held_out}
        model = train(past, known, horizon_h, fleet.end)
        if model is None:
            raise SystemExit("Too few failures on too few machines: there is nothing to learn a risk from.")
        probability[unseen] = model.probability(fleet.history.features[unseen])
    return probability


def measure(fleet: Scored, folds: int = MOST_FOLDS) -> dict[str, Any]:
    """The figures, by horizon and by what ranks."""
    order = np.lexsort((fleet.history.ends, fleet.history.devices))
    hours = until_failure(fleet.history, fleet.failures)
    results: dict[str, Any] = {}
    for horizon in HORIZONS_H:
        ranks = (unseen_risk(fleet, horizon, folds), -fleet.score, fleet.errors_24h, fleet.maintenance_age)
        rows = order[fleet.history.ends[order] + horizon <= fleet.end]
        fails, devices, ends = hours[rows] < horizon, fleet.history.devices[rows], fleet.history.ends[rows]
        found: dict[str, Any] = {"rows": len(rows), "positive": int(fails.sum())}
        for name, scores in zip(NAMES, ranks, strict=True):
            alerts = alerting(scores[rows], ends, devices, fleet.failures, horizon, fleet.end)
            found[name] = asdict(ranking(scores[rows], fails, devices)) | {"alerting": asdict(alerts)}
        found["calibration"] = asdict(calibration(ranks[0][rows], fails))
        results[f"{horizon}h"] = found
    return results


def main() -> None:
    """Print the tables, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder with the PdM_*.csv files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    arguments = parser.parse_args()
    console = Console()
    with console.status("scoring the fleet"):
        fleet = scored(arguments.directory)
    with console.status("learning from the other machines"):
        results = measure(fleet)
    count, failures = len(np.unique(fleet.history.devices)), sum(map(len, fleet.failures.values()))
    console.print(f"{count} machines, {failures} failures, {len(fleet.score):,} scores")
    for table in _tables(results):
        console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machines": count, "failures": failures, **results}, indent=2))


def _tables(results: dict[str, Any]) -> list[Table]:
    ranks = Table(title="A component fails within the horizon: machines not seen")
    alerts = Table(title="At one alert per true failure")
    trust = Table(title="Is the probability true? Tenths of the predictions: predicted, failed")
    for table, columns in (
        (ranks, ("horizon", "ranked by", "ROC-AUC", "95 % by machine", "average precision", "rows failing")),
        (alerts, ("horizon", "ranked by", "alerts", "false", "failures announced", "hours ahead, median")),
        (trust, ("horizon", "Brier (of the base rate)", "calibration error", "the highest five tenths")),
    ):
        for column in columns:
            table.add_column(column)
    for horizon, found in results.items():
        for name in NAMES:
            row, alert = found[name], found[name]["alerting"]
            ranks.add_row(
                horizon, name, f"{row['auc']:.3f}", f"{row['auc_low']:.3f}-{row['auc_high']:.3f}",
                f"{row['average_precision']:.2f}", f"{found['positive']:,} of {found['rows']:,}",
            )  # fmt: skip
            alerts.add_row(
                horizon, name, str(alert["alerts"]), f"{alert['false_share']:.0%}",
                f"{alert['caught_share']:.0%} of {alert['failures']}", f"{alert['warning_hours']:.0f}",
            )  # fmt: skip
        shown = found["calibration"]
        tenths = ", ".join(f"{mean:.2f} {share:.2f}" for _, mean, share in shown["table"][-5:])
        brier = f"{shown['brier']:.4f} ({shown['brier_of_base_rate']:.4f})"
        trust.add_row(horizon, brier, f"{shown['ece']:.3f}", tenths)
    return [ranks, alerts, trust]


if __name__ == "__main__":
    main()
