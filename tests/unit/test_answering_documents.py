"""Which documents are looked at for a question, beside those that spell a model's name."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from ray.serve.handle import DeploymentHandle

from indexes.vector import Vectors
from iotops.tenancy import Tenant
from ray_apps.copilot.evidence.documents import Documents, Search
from ray_apps.copilot.question.follow_up import resolve
from tests.unit.guards import alike


def hit(name: str, text: str, models: list[str] | None = None) -> dict[str, Any]:
    empty: dict[str, Any] = {"title": "", "section": "", "uri": name, "error_codes": [], "firmware": []}
    return {**empty, "chunk_id": name, "text": text, "models": models or []}


RAISED = hit("raised", "On the HX-200, high vibration raises E421.", ["HX-200"])
CAUSES = hit("causes", "A worn bearing causes most of the vibration.", ["HX-200", "HX-450"])
OTHER = hit("other", "A loose belt causes vibration.", ["CR-110"])
ANY = hit("any", "Imbalance causes vibration.")


class Shelf:
    """Finds what spells a model where one is asked, else what tells causes."""

    def __init__(self, *failing: int) -> None:
        """The searches in which a part fails are counted from 0."""
        self.asked: list[str] = []
        self.search, self.failing = self, failing

    def options(self, **_: object) -> Shelf:
        return self

    async def remote(
        self, tenant: str, query: str, top_k: int, filters: object, vector: Vectors
    ) -> dict[str, Any]:
        assert vector.shape == (1,), "the retriever need not embed the query"
        failed = ["reranker"] if len(self.asked) in self.failing else []
        indexes = f"of search {len(self.asked)}"
        self.asked.append(query)
        hits = [RAISED] if "HX-200" in query else [OTHER, CAUSES, ANY, RAISED]
        return {"hits": hits, "timings_ms": {}, "failed": failed, "indexes": indexes}


def searched(question: str, shelf: Shelf) -> Search:
    documents = Documents(cast(DeploymentHandle, shelf), alike())
    asked = resolve(question, None, [])
    return asyncio.run(documents.answering(Tenant("acme"), asked, 5, lambda event: None))


def found(question: str) -> tuple[list[str], list[str]]:
    """The chunks, and the queries that were asked."""
    shelf = Shelf()
    return [each["chunk_id"] for each in searched(question, shelf).hits], shelf.asked


def test_a_word_that_no_chunk_with_the_models_name_has_is_looked_for_without_the_name():
    chunks, queries = found("What causes high vibration on the HX-200?")
    assert queries == ["What causes high vibration on the HX-200?", "What causes high vibration on the ?"]
    assert chunks == ["causes", "any", "raised"], "and not what is declared to be about another machine"
    assert found("What causes E421 on the HX-200?")[1][1] == "What causes E421 on the ?"


@pytest.mark.parametrize(
    "question",
    [
        "Is vibration high on the HX-200?",
        "Is vibration high on the HX-200 since yesterday?",
        "What causes high vibration?",
        "What is the warranty of the HX-200?",
    ],
)
def test_where_nothing_lacks_or_nothing_else_is_asked_one_search_is_enough(question: str):
    assert len(found(question)[1]) == 1


@pytest.mark.parametrize(("failing", "failed"), [((), False), ((0,), True), ((1,), True)])
def test_a_part_that_fails_in_either_search_is_told_and_the_indexes_of_both(
    failing: tuple[int, ...], failed: bool
):
    search = searched("What causes high vibration on the HX-200?", Shelf(*failing))
    assert (search.failed, search.indexes) == (failed, {"of search 0", "of search 1"})
