"""Error codes joined with the articles that explain them: the flow on the real stack, with the real model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iotops.lake import lake_filesystem
from iotops.provisioning import create_tenant
from iotops.settings import Settings
from iotops.tenancy import Tenant
from pipelines.flow_commands import FlowOutcome, run_flow
from pipelines.knowledge.enrichment import enrich
from pipelines.knowledge.shelf import index_shelf
from pipelines.knowledge.store import add_documents, remove_documents
from pipelines.lake.bronze_to_silver import load_silver
from tests.integration.test_lake import gold, ms, put_object

EAST, WEST = Tenant("enrich_east"), Tenant("enrich_west")
NOW = datetime.now(UTC)
OLD = timedelta(days=20)
PRESSURE = "outlet pressure is above the limit and the relief valve opens"
SHELVES = {
    EAST.id: {
        "e721": "# E721: Vibration high\n\n## Causes\n\nThe bearing is worn, and the machine vibrates.",
        "belt": "# Drive belt\n\n## Wear\n\nA slipping belt raises B-33 after ten minutes.",
        "pressure": "# Outlet pressure\n\n## What to do\n\nThe outlet pressure rose above its limit and "
        "the relief valve opened. Clean the outlet filter.",
    },
    WEST.id: {"w955": "# W955: Coolant pump\n\n## Steps\n\nW955 means that the coolant pump is blocked."},
    "shared": {"z910": "# Z910: Clock lost\n\n## Steps\n\nZ910 means that the clock of the device is wrong."},
}  # fmt: skip
EVENTS = {
    EAST: [
        ("pump-1", "E721", "vibration high", timedelta(hours=1)),
        ("pump-2", "E721", "vibration high", timedelta(hours=3)),
        ("pump-1", "B33", "belt slips", OLD),
        ("pump-1", "K12", PRESSURE, timedelta(hours=2)),
        ("pump-1", "Z910", "clock lost", timedelta(hours=2)),
        ("pump-1", "W955", "coolant pump blocked", timedelta(hours=2)),
        ("pump-1", "E1", "too old to count", timedelta(days=31)),
    ],
    WEST: [("fan-1", "W955", "coolant pump blocked", timedelta(hours=2)), ("fan-1", "E721", "", OLD)],
}
ROWS = """
    SELECT error_code, method, doc_id, devices, events, xmin::text, confidence
    FROM gold.error_knowledge ORDER BY confidence DESC, error_code"""


@pytest.fixture(scope="module")
def first_run(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowOutcome]:
    """Two tenants with codes and shelves, and the shared shelf; the outcome of the first's first run."""
    lake = lake_filesystem(settings.lake)
    for tenant, events in EVENTS.items():
        create_tenant(settings, tenant)
        put_object(settings, tenant.events_topic, NOW, [_event(*each) for each in events], 0)
        load_silver(settings, tenant)
    for owner, documents in SHELVES.items():
        add_documents(lake, owner, [_written(tmp_path_factory.mktemp(owner), documents)])
        index_shelf(settings, owner)
    yield run_flow("enrichment", EAST.id)
    # The stack's other tenants read the shared shelf too.
    remove_documents(lake, "shared", [f"{name}.md" for name in SHELVES["shared"]])
    index_shelf(settings, "shared")


def test_codes_are_explained_exactly_else_by_meaning_else_not(
    settings: Settings, first_run: FlowOutcome
) -> None:
    rows = gold(settings, EAST, ROWS)
    assert {(code, method, doc, devices, events) for code, method, doc, devices, events, *_ in rows} == {
        ("E721", "exact", "e721", 2, 2),
        ("Z910", "exact", "z910", 1, 1),
        ("B33", "exact", "belt", 1, 1),
        ("K12", "hybrid", "pressure", 1, 1),
        ("W955", "none", "", 1, 1),
    }, "W955 stands in the other tenant's shelf alone"
    confidence = {row[0]: row[-1] for row in rows}
    assert confidence["E721"] > 0.9 < confidence["Z910"]
    assert 0.9 > confidence["B33"] > 0.5 >= confidence["K12"] > 0.25
    assert confidence["W955"] == 0
    assert first_run.counts == {"codes": 5, "events": 6, "explained": 4, "articles": 4, "changed": 5}


def test_again_nothing_is_written_and_what_is_no_longer_seen_goes(
    settings: Settings, first_run: FlowOutcome
) -> None:
    before = gold(settings, EAST, ROWS)
    assert enrich(settings, EAST, now=NOW).changed == 0
    assert gold(settings, EAST, ROWS) == before, "not even rewritten (xmin)"
    later = enrich(settings, EAST, now=NOW + timedelta(days=15))
    assert (later.codes, later.changed) == (4, 1)
    assert gold(settings, EAST, ROWS) == [row for row in before if row[0] != "B33"]


def test_the_other_tenant_has_rows_of_its_own_shelf_only(settings: Settings, first_run: FlowOutcome) -> None:
    mine = gold(settings, EAST, ROWS)
    enrich(settings, WEST, now=NOW)
    assert [row[:3] for row in gold(settings, WEST, ROWS)] == [
        ("W955", "exact", "w955"),
        ("E721", "none", ""),
    ]
    assert gold(settings, EAST, ROWS) == mine


def _event(device: str, code: str, message: str, ago: timedelta) -> dict[str, Any]:
    return {
        "device_id": device, "ts": ms(NOW - ago), "type": "error", "severity": "error",
        "error_code": code, "message": message,
    }  # fmt: skip


def _written(folder: Path, documents: dict[str, str]) -> Path:
    for name, content in documents.items():
        (folder / f"{name}.md").write_text(content)
    return folder
