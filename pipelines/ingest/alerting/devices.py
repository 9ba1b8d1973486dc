"""What alerting remembers of a device."""

from __future__ import annotations

import msgspec


class Device(msgspec.Struct):
    """A device's last reading: time and arrival (epoch ms), offset, number, and the model that it named."""

    ts: int
    arrived: int
    offset: int
    seq: int | None = None
    model: str | None = None
