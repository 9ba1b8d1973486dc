"""How much a partition's state may hold: a member keeps those of all tenants, and none may use it up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """At a limit what was unseen for `unseen_days` gives its place to what is new; else the new has none."""

    series: int = 20_000
    """Scored by the anomaly rules: 114 MB."""
    device_series: int = 256
    """The same of one device: as many metrics as a reading may have."""
    devices: int = 250_000
    """Watched by the rules over readings."""
    bursts: int = 100_000
    """Rules and devices whose last events are known: a new one takes the place of the longest unseen."""
    unseen_days: int = 7
    """Days of arrival (UTC)."""


LIMITS = Limits()
