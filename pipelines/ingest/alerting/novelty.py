"""How unlike its own past a reading is: the recurrence behind the anomaly score, for many series at once.

Each series is looked at in six views (`VIEWS`): its recent course, in its own units and in units where
extremes are compressed, with and without the time of the day, the differences between its moving averages,
and how much it moves from reading to reading (which tells a sensor that is stuck). Per view it keeps CODES
prototypes of what it has seen. The distance to the nearest one is the novelty. A reading farther than
`radius`, which is steered so that a share RARE of the readings is, becomes a prototype itself in place of the
one unused for longest: a nearest-neighbour detector (Burnaev and Ishimtsev, arXiv:1608.04585) in constant
memory.

Distances past the radius have a power-law tail with Hill's estimate of its index (Ann. Statist. 3, 1975), so
that a series with heavy tails needs more to stand out. A value, average or step beyond all of its past is
evidence by itself: of n exchangeable readings each has a chance of 2/n to be the newest lowest or highest.
The inverse probabilities are merged by their mean, which needs no independence (Vovk and Wang, Ann. Statist.
49, 2021, arXiv:1912.06116).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.ingest.times import DAY_MS

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.void]

CODES = 48
SPANS = np.array([4.0, 16.0, 64.0])  # of the moving averages, in readings
STEP_SPANS = SPANS[1:]
# Columns of each view: level and averages; the same with the time of the day; bent with the time of the day;
# the value alone; differences of the bent averages; logarithm of the mean step.
VIEWS = (4, 6, 6, 1, 3, 2)
STARTS = np.concatenate(([0], np.cumsum(VIEWS)[:-1]))
COLUMNS = sum(VIEWS)
IN_OWN_UNITS = np.r_[0:10, 16]  # columns to be divided by the series' standard deviation
EXTREMES = np.r_[
    0 : VIEWS[0], COLUMNS - VIEWS[-1] : COLUMNS
]  # columns whose new extremes count: level and steps

MEMORY = 4000  # readings over which location and scale are forgotten
TAIL_MEMORY = 2000  # readings over which a tail's index is forgotten
RARE = 0.015
RADIUS_STEP = 0.05
RADIUS_RANGE = (0.1, 20.0)  # in standard deviations
TAIL_RANGE = (0.1, 1.0)  # of Hill's estimate; a Gaussian's tail is near the lower end
SETTLED = 20  # readings after which extremes are kept: the first averages are of hardly anything
BEYOND = 0.03  # of the range so far, by which a new extreme has to pass the last one
FARTHEST = 50.0  # a distance above this says no more
STILL = 1e-3  # of the spread: a mean step below this is no movement
DAY_WEIGHT = 0.5  # standard deviations that noon lies from midnight, halved
LARGEST = 1e30  # prototypes are float32

SERIES = np.dtype(
    [
        ("count", np.int64),
        ("origin", np.float64),  # the first reading: all below is relative to it, so that float32 is enough
        ("mean", np.float64),
        ("variance", np.float64),
        ("center", np.float64),
        ("spread", np.float64),
        ("averages", np.float64, SPANS.size),
        ("bent_averages", np.float64, SPANS.size),
        ("low", np.float64, EXTREMES.size),
        ("high", np.float64, EXTREMES.size),  # of the value, its averages, the steps
        ("last", np.float64),
        ("steps", np.float64, STEP_SPANS.size),  # mean absolute steps
        ("radius", np.float64, len(VIEWS)),
        ("tail", np.float64, len(VIEWS)),
        ("hush", np.float64),
        (
            "used",
            np.int32,
            (len(VIEWS), CODES),
        ),  # the reading at which a prototype was last the nearest, 0 never
        ("codes", np.float32, (COLUMNS, CODES)),
    ]
)
"""One series' state: a fixed-size record."""


def blank(count: int) -> Rows:
    """States of `count` series without a reading."""
    rows = np.zeros(count, SERIES)
    rows["radius"], rows["tail"] = 0.5, 0.3
    return rows


def evidence(rows: Rows, values: Floats, at_ms: npt.NDArray[np.int64]) -> Floats:
    """Take one finite reading per series into `rows` (in place) and tell how surprising it was.

    `values` and `at_ms` (epoch milliseconds) have shape (n,). Returns (n,): the decimal logarithm of the
    merged evidence against "this is as before", 0 where no view found the reading rare.
    """
    first = rows["count"] == 0
    rows["origin"][first] = values[first]
    value = np.clip(values - rows["origin"], -LARGEST, LARGEST)
    rows["count"] += 1
    columns, scale = _columns(rows, value, at_ms)
    distances = _distances(rows, columns, scale)
    nearest = distances.argmin(axis=2)
    distance = np.minimum(np.take_along_axis(distances, nearest[:, :, None], axis=2)[:, :, 0], FARTHEST)

    excess = np.log(np.maximum(distance, 1e-9) / rows["radius"])
    rare = excess > 0
    against = np.where(rare, np.exp(np.minimum(excess / rows["tail"], 30.0)) / RARE, 1.0)
    merged = np.column_stack((against, _extreme(rows, columns[:, EXTREMES]))).mean(axis=1)
    _remember(rows, columns, nearest, rare)
    _calibrate(rows, excess, rare)
    return np.asarray(np.log10(merged))


def _columns(rows: Rows, value: Floats, at_ms: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The views' columns and the unit of each, both (n, COLUMNS); moves location and scale on."""
    count = rows["count"].astype(np.float64)
    pace = np.maximum(1 / count, 1 / MEMORY)
    early = count <= 50

    center, spread, span = (
        rows["center"].copy(),
        rows["spread"].copy(),
        rows["high"][:, 0] - rows["low"][:, 0],
    )
    bent = np.arcsinh((value - center) / (spread + 1e-3 * span + _tiny(rows, value)))
    limit = np.where(early, np.inf, 3 * spread)
    step = np.clip(value - center, -limit, limit)
    rows["center"] = center + pace * step
    rows["spread"] = spread + pace * (np.abs(step) - spread)

    deviation = np.sqrt(rows["variance"])
    limit = np.where(early, np.inf, 5 * deviation)
    step = np.clip(value - rows["mean"], -limit, limit)
    rows["mean"] += pace * step
    rows["variance"] = (1 - pace) * (rows["variance"] + pace * step * step)

    share = np.maximum(1 / SPANS, 1 / count[:, None])
    rows["averages"] += share * (value[:, None] - rows["averages"])
    rows["bent_averages"] += share * (bent[:, None] - rows["bent_averages"])

    moved = np.abs(value - rows["last"])[:, None]
    rows["last"] = value
    rows["steps"] += np.maximum(1 / STEP_SPANS, 1 / count[:, None]) * (moved - rows["steps"])
    still = (STILL * spread + _tiny(rows, value))[:, None]

    unit = (deviation + _tiny(rows, value))[:, None]
    phase = 2 * np.pi * (at_ms % DAY_MS) / DAY_MS
    day = DAY_WEIGHT * np.stack((np.sin(phase), np.cos(phase)), axis=1)
    course = np.column_stack((value, rows["averages"]))
    bent_course = np.column_stack((bent, rows["bent_averages"]))
    steps = np.log(rows["steps"] + still)
    columns = np.hstack(
        (course, course, day * unit, bent_course, day, value[:, None], -np.diff(bent_course), steps)
    )
    scale = np.ones_like(columns)
    scale[:, IN_OWN_UNITS] = unit
    return columns, scale


def _tiny(rows: Rows, value: Floats) -> Floats:
    """What counts as no difference, (n,): with it a constant series has a scale too."""
    return np.asarray(1e-6 * (np.abs(value) + np.abs(rows["origin"])) + 1e-12)


def _distances(rows: Rows, columns: Floats, scale: Floats) -> Floats:
    """Mean absolute difference to each prototype per view, (n, len(VIEWS), CODES); infinite where unused.

    All columns of a view have one unit.
    """
    apart = rows["codes"] - columns.astype(np.float32)[:, :, None]
    np.abs(apart, out=apart)
    distances = np.add.reduceat(apart, STARTS, axis=1) / (scale[:, STARTS] * np.array(VIEWS))[:, :, None]
    distances[rows["used"] == 0] = np.inf
    return np.asarray(distances)


def _extreme(rows: Rows, course: Floats) -> Floats:
    """Inverse probability of a new extreme in the value or its averages, (n,); 1 where there is none."""
    low, high = rows["low"], rows["high"]
    margin = BEYOND * (high - low) + _tiny(rows, course[:, 0])[:, None]
    new = ((course > high + margin) | (course < low - margin)).any(axis=1)
    settling = (rows["count"] <= SETTLED)[:, None]
    rows["low"] = np.where(settling, course, np.minimum(low, course))
    rows["high"] = np.where(settling, course, np.maximum(high, course))
    return np.where(new, np.maximum(rows["count"] / 2, 1.0), 1.0)


def _remember(
    rows: Rows, columns: Floats, nearest: npt.NDArray[np.intp], rare: npt.NDArray[np.bool_]
) -> None:
    """Put a rare reading over the prototype unused for longest; mark the one that a usual one is near to."""
    each = np.arange(len(rows))
    oldest = rows["used"].argmin(axis=2)
    touched = np.where(rare, oldest, nearest)
    for view, (start, width) in enumerate(zip(STARTS, VIEWS, strict=True)):
        rows["used"][each, view, touched[:, view]] = np.minimum(rows["count"], np.iinfo(np.int32).max)
        new = np.flatnonzero(rare[:, view])
        rows["codes"][new, start : start + width, oldest[new, view]] = columns[new, start : start + width]


def _calibrate(rows: Rows, excess: Floats, rare: npt.NDArray[np.bool_]) -> None:
    """Steer each radius to its share of rare readings, and follow the tail beyond it."""
    pace = np.maximum(1 / TAIL_MEMORY, 1 / np.maximum(rows["count"], 20))[:, None]
    tail, radius = rows["tail"], rows["radius"]
    # One wild reading must not make the series deaf to the next.
    seen = np.minimum(excess, 3 * tail)
    moved = tail + np.minimum(pace / RARE, 0.1) * (seen - tail)
    rows["tail"] = np.clip(np.where(rare, moved, tail), *TAIL_RANGE)
    step = np.maximum(RADIUS_STEP, 3 * pace) * np.where(rare, 1 - RARE, -RARE)
    rows["radius"] = np.clip(radius * np.exp(step), *RADIUS_RANGE)
