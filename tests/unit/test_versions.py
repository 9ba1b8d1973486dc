"""Which version an answer rests on, and what is known of it while the database is away."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pydantic import SecretStr
from ray.serve.handle import DeploymentHandle

from iotops.settings import DatabaseSettings
from iotops.tenancy import Tenant
from ray_apps.copilot.evidence.devices import DeviceRecords
from ray_apps.copilot.evidence.names import Names
from ray_apps.copilot.question.follow_up import resolve
from ray_apps.copilot.versions import Version, Versions
from ray_apps.routing import ChatModel

AWAY = DatabaseSettings(host="127.0.0.1", port=9, password=SecretStr("x" * 20))


class Shelf:
    """A retriever that knows its index."""

    @property
    def indexes(self) -> Shelf:
        return self

    def options(self, **chosen: str) -> Shelf:
        return self

    async def remote(self, tenant: str) -> str:
        return f"index of {tenant}"


class Author:
    """A language model that writes and calls no tools."""

    calls_tools, author = False, "author"

    async def describe(self) -> dict[str, Any]:
        return {"name": self.author}


@pytest.mark.parametrize(
    ("question", "data"),
    [
        ("Is machine-007 ok?", None),
        ("Which machines have the worst health?", None),
        ("How is oil changed?", ""),
    ],
)
def test_without_the_database_what_rests_on_its_data_has_no_version(question: str, data: str | None) -> None:
    async def version() -> Version:
        chat = cast(ChatModel, Author())
        shelf, records = cast(DeploymentHandle, Shelf()), DeviceRecords(AWAY)
        asked = await Names(records, shelf).placed(Tenant("acme"), resolve(question, None, []))
        return await Versions(shelf, chat, records).of(Tenant("acme"), asked.plan)

    assert asyncio.run(version()) == Version("index of acme", data, "{'name': 'author'}", "author")
