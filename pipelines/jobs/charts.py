"""The charts of a fleet report: inline SVG in the colours of the page, which fit light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from matplotlib import dates, rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "#010101": "--ink",
    "#020202": "--rule",
    "#030303": "--good",
    "#040404": "--bad",
    "#050505": "--line",
}
"""What is drawn with, and the style sheet's variable that it becomes."""
INK, RULE, GOOD, BAD, LINE = COLOURS
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def score_histogram(scores: Sequence[float], unhealthy_below: float) -> str:
    """How many devices have which score, in steps of ten; the unhealthy ones in another colour."""
    edges = range(0, 100, 10)
    counts = [sum(low <= min(score, 99.9) < low + 10 for score in scores) for low in edges]
    with rc_context(STYLE):
        figure, axes = _axes("health score", "devices")
        colours = [BAD if low < unhealthy_below else GOOD for low in edges]
        bars = axes.bar([low + 5 for low in edges], counts, width=9, color=colours)
        axes.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
        axes.set_xticks(range(0, 101, 10))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, "Devices by health score")


def score_trend(days: Sequence[date], scores: Sequence[float], unhealthy: Sequence[int]) -> str:
    """The fleet's mean score by day, over bars of its unhealthy devices."""
    with rc_context(STYLE):
        figure, axes = _axes("", "unhealthy devices")
        places = dates.date2num(list(days))
        axes.xaxis_date()
        axes.bar(places, unhealthy, width=0.8, color=BAD, alpha=0.55)
        axes.set_ylim(0, max(4, 1.25 * max(unhealthy, default=0)))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        right = axes.twinx()
        right.plot(
            places, scores, color=LINE, linewidth=2, marker="o" if len(days) < 40 else "", markersize=3
        )
        right.set_ylim(0, 102)
        right.set_ylabel("mean score", color=LINE)
        right.grid(False)
        right.spines["right"].set_visible(False)
        locator = dates.AutoDateLocator(minticks=2, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        return _svg(figure, "Mean health score and unhealthy devices by day")


def component_bars(components: Sequence[str], penalties: Sequence[float]) -> str:
    """The points that each component takes from the fleet's mean score."""
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, axes = _axes("points of 100, fleet mean", "", height=0.32 * len(components) + 0.7)
        bars = axes.barh(list(components)[::-1], list(penalties)[::-1], color=LINE, height=0.6)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.set_xlim(0, max(1.0, 1.15 * max(penalties, default=0)))
        return _svg(figure, "What takes points from the fleet's health")


def _axes(x: str, y: str, height: float = 2.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(length=0)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """The drawing as an element of a page: it takes the width that there is, and the page's colours."""
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    drawing = re.sub(r"^.*?(?=<svg)", "", content.getvalue(), flags=re.S)
    drawing = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", drawing, count=1)
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    # Matplotlib numbers its elements afresh in each drawing, and a page has several.
    drawing = re.sub(r'(id="|url\(#|href="#)', rf"\1{title.split()[0].lower()}-{len(title)}-", drawing)
    for colour, variable in COLOURS.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return drawing
