"""`python -m benchmarks.copilot [PART...]`: how fast the copilot answers, alone, under load, beside peers."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Figures
from iotops.errors import IotOpsError
from iotops.ray_cluster import prepare_environment
from iotops.settings import get_settings
from iotops.tenancy import Tenant

PARTS = ("one", "load", "replicas", "peer", "engine")
BY_DEFAULT = ("one", "load", "replicas", "peer")


def main() -> None:
    """Measure the parts that are asked for; print and write the figures."""
    options = parsed()
    settings, console, figures = get_settings(), Console(), Figures(options.json)
    prepare_environment(settings.ray)
    from benchmarks.copilot import engine, load, one, peer, replicas  # they import Ray
    from benchmarks.copilot.session import Session

    parts, began = options.parts or BY_DEFAULT, time.monotonic()
    try:
        session = Session.begin(settings, Tenant(options.tenant), options.seed, figures, console)
        _tell_machine(figures, console, options.seed)
        if "one" in parts:
            one.run(session, 3 * options.seconds)
        if "load" in parts:
            load.run(session, options.rates, options.seconds, options.operators)
        if "replicas" in parts:
            replicas.run(session, options.replicas, options.rates[len(options.rates) // 2], options.seconds)
        if "peer" in parts:
            peer.run(session, 4 * options.seconds)
        if "engine" in parts:
            engine.run(session)
    except IotOpsError as error:
        raise SystemExit(f"error: {error}") from None
    average = os.getloadavg()[0]
    figures.add("machine", "load_average_after", average)
    console.print(f"took {time.monotonic() - began:.0f} s, load average {average:.1f} at the end")


def parsed() -> argparse.Namespace:
    """The command's options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.copilot",
        description="Works on the running platform: `iotops demo` starts it with a tenant to ask.",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all but engine"
    )
    parser.add_argument("--tenant", default="demo", help="who asks")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[0.25, 0.5, 1.0], help="questions a second, of `load`"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20,
        help="at each rate; `one` takes three times that, `peer` four times",
    )
    parser.add_argument("--operators", nargs="+", type=int, default=[4], help="who ask at once, of `load`")
    parser.add_argument("--replicas", type=int, default=2, help="beside one, of `replicas`")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the questions; a used one finds them cached"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    if unknown := {*options.parts} - {*PARTS}:
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    return options


def _tell_machine(figures: Figures, console: Console, seed: int) -> None:
    """What else the machine does, since that is in the figures too."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    figures.add("machine", "cores", cores)
    figures.add("machine", "load_average_before", load)
    figures.add("machine", "seed", seed)
    console.print(f"{cores} cores, load average {load:.1f} before the first question, seed {seed}")


if __name__ == "__main__":
    main()
