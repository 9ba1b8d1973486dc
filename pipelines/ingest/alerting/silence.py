"""Silence rules: a device that has stopped sending."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.ingest.alerting.devices import Device
from pipelines.ingest.alerting.episodes import Episodes, Key
from pipelines.ingest.alerting.rules import SilenceRule


class Silences:
    """Compares each device's last arrival with the clock."""

    def __init__(self, rules: list[SilenceRule], episodes: Episodes) -> None:
        self._rules, self._episodes = rules, episodes

    def take(self, device_id: str, device: Device, arrived_ms: int) -> None:
        """A device speaks; `device` is as it was before. A gap is an alert even if nobody watched it grow."""
        for rule in self._rules:
            silent_ms = arrived_ms - device.arrived
            if silent_ms > rule.after and rule.covers(device.model):
                self._raise(rule, device_id, device)
            if self._episodes.open:
                key = Key(rule.name, device_id)
                self._episodes.resolve(key, arrived_ms, f"it sent again after {silent_ms // 1000} s")

    def at(self, now_ms: int, devices: Mapping[str, Device]) -> None:
        """Find the devices that are silent now."""
        for rule in self._rules:
            horizon = now_ms - rule.after
            for device_id, device in devices.items():
                if device.arrived < horizon and rule.covers(device.model):
                    self._raise(rule, device_id, device)

    def _raise(self, rule: SilenceRule, device_id: str, device: Device) -> None:
        evidence = {"after_ms": rule.after, "window": {"from": device.arrived}, "values": {}}
        at_ms = device.arrived + rule.after
        key = Key(rule.name, device_id)
        self._episodes.raise_alert(key, rule, at_ms, device.offset, evidence)
