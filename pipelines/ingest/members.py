"""Sinks on the Ray cluster: consumer-group members as detached, named actors."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from iotops.ray_cluster import NAMESPACE
from pipelines.ingest.bronze import BronzeSink
from pipelines.ingest.silver import SilverSink
from pipelines.ingest.sink import Sink, SinkMember

SINKS: dict[str, type[Sink]] = {sink.name: sink for sink in (BronzeSink, SilverSink)}


@dataclass(frozen=True)
class MemberStatus:
    """One member as `iotops ingest status` shows it."""

    name: str
    stored: int
    commits: int
    lag: int
    partitions: int


def start(members: dict[str, int]) -> list[str]:
    """Make `members[sink]` actors of each sink run; those that run already are kept. Returns their names."""
    names = []
    for sink, count in members.items():
        for number in range(count):
            name = f"{sink}-{number}"
            actor = ray.remote(SinkMember).options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                max_task_retries=3,
                num_cpus=0.05,
                max_concurrency=4,
            )
            actor.remote(SINKS[sink])
            names.append(name)
    return names


def status() -> list[MemberStatus]:
    """Progress of every running member."""
    names = _names()
    progress = ray.get([ray.get_actor(name, NAMESPACE).progress.remote() for name in names], timeout=30)
    return [MemberStatus(name, **each) for name, each in zip(names, progress, strict=True)]


def stop() -> list[str]:
    """Let every member finish its batch, then end it. Returns their names."""
    names = _names()
    actors = [ray.get_actor(name, NAMESPACE) for name in names]
    ray.get([actor.stop.remote() for actor in actors], timeout=60)
    for actor in actors:
        ray.kill(actor)
    return names


def _names() -> list[str]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    kinds = tuple(f"{sink}-" for sink in SINKS)
    return sorted(
        actor["name"]
        for actor in actors
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(kinds)
    )
