"""A streaming anomaly score per (device, metric), in constant memory and without a look ahead."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from iotops.errors import IotOpsError
from pipelines.ingest.alerting.novelty import SERIES, Floats, blank, evidence

ALERT = 0.5
"""A reading alerts where its score is at least this."""

WARM_UP = 30  # readings of a series before its first score above 0
NEEDED = 1.36  # decades of evidence that alert a series of 1,000 readings
HISTORY = (200, 16_000)  # readings; between them the evidence needed grows with the number of chances
HUSH = 2.0  # decades that an alert adds to what the next one needs
HUSH_READINGS = (150, 600)  # in which that addition falls to 1/e: between them a share of the history
HUSH_SHARE = 0.03


class AnomalyDetector:
    """Scores the readings of many series, vectorised over them.

    A series costs `SERIES.itemsize` bytes (5.6 KiB), however long it lives. Its record can be taken out and
    put into another detector, which then continues with exactly the same scores.
    """

    def __init__(self) -> None:
        self._rows = blank(64)
        self._slots: dict[Hashable, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def keys(self) -> list[Hashable]:
        """Every series that was seen."""
        return list(self._slots)

    def slots(self, keys: Sequence[Hashable]) -> npt.NDArray[np.intp]:
        """The slots of these series, shape (n,); a key that is new gets one."""
        for key in keys:
            if key not in self._slots:
                self._slots[key] = self._free.pop() if self._free else len(self._slots)
        if len(self._slots) > len(self._rows):
            room = max(len(self._slots), 2 * len(self._rows))
            self._rows = np.concatenate((self._rows, blank(room - len(self._rows))))
        return np.array([self._slots[key] for key in keys], dtype=np.intp)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop these series; new ones get their slots."""
        gone = [self._slots.pop(key) for key in keys]
        self._rows[gone] = blank(1)
        self._free += gone

    def step(self, slots: npt.NDArray[np.intp], values: Floats, at_ms: npt.NDArray[np.int64]) -> Floats:
        """Take one reading of each of n distinct slots; returns its score in [0, 1], shape (n,).

        `at_ms` is epoch milliseconds, shape (n,): a series may have a daily rhythm. A value that is not
        finite scores 0 and leaves its series as it was. Readings of one series come in order, one per call.
        """
        scores = np.zeros(len(values))
        known = np.isfinite(values)
        slots = slots[known]
        rows = self._rows[slots]
        needed = NEEDED + np.log10(np.clip(rows["count"], *HISTORY) / 1000) + rows["hush"]
        spare = evidence(rows, values[known], at_ms[known]) - needed
        score = np.where(rows["count"] > WARM_UP, 1 / (1 + 10**-spare), 0.0)
        fade = np.exp(-1 / np.clip(HUSH_SHARE * rows["count"], *HUSH_READINGS))
        rows["hush"] = rows["hush"] * fade + np.where(score >= ALERT, HUSH, 0.0)
        self._rows[slots] = rows
        scores[known] = score
        return scores

    def export(self, key: Hashable) -> bytes:
        """The state of a series, `SERIES.itemsize` bytes; KeyError where it was never seen."""
        return bytes(self._rows[self._slots[key]].tobytes())

    def restore(self, key: Hashable, record: bytes) -> None:
        """Continue a series from what `export` gave."""
        if len(record) != SERIES.itemsize:
            raise IotOpsError(
                f"An anomaly state of {len(record)} bytes; this version keeps {SERIES.itemsize}. "
                "Start the series anew."
            )
        slot = self.slots([key])  # may move the rows
        self._rows[slot] = np.frombuffer(record, SERIES)
