"""Enrichment: the error codes that a fleet reports, joined with the articles that explain them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from indexes.encoder_source import load_encoder
from indexes.filters import Filters
from indexes.hits import Hit
from indexes.hybrid import HybridIndex, Ranking, search_all
from indexes.live import LiveIndex
from indexes.snapshot import Snapshot
from indexes.vector import Vectors
from iotops.database import engine, tenant_transaction
from iotops.lake import lake_filesystem
from iotops.models import resolve_role
from iotops.settings import Settings
from iotops.tenancy import SHARED_PREFIX, Tenant
from pipelines.knowledge.enrichment_match import Explanation, SeenCode, explanations, query
from pipelines.knowledge.enrichment_tables import seen_codes, write

DAYS = 30
CANDIDATES = 20
Progress = Callable[[str], None]


@dataclass(frozen=True)
class EnrichmentReport:
    """What was found: codes of the period, and those that an article explains."""

    codes: int
    events: int
    explained: int
    articles: int
    changed: int
    """Rows of `gold.error_knowledge` that were written or deleted."""
    snapshots: dict[str, str]
    """Id of the searched index by its owner: the tenant, `shared`."""


def enrich(
    settings: Settings,
    tenant: Tenant,
    on_progress: Progress = lambda message: None,
    now: datetime | None = None,
) -> EnrichmentReport:
    """Make `gold.error_knowledge` what the shelves say about the error codes of the last 30 days.

    Only the tenant's own shelf and the shared one are searched. A code that nothing explains keeps a row of
    method `none`. Doing it again without new events or documents changes nothing.
    """
    since = (now or datetime.now(UTC)) - timedelta(days=DAYS)
    on_progress(f"error codes since {since:%Y-%m-%d}")
    codes = seen_codes(settings, tenant, since)
    snapshots = current_snapshots(settings, tenant)
    on_progress(f"{len(codes):,} codes in {len(snapshots)} indexes")
    found = _search(settings, codes, list(snapshots.values()))
    with tenant_transaction(engine(settings.database), tenant) as connection:
        changed = write(connection, tenant, codes, found)
    return EnrichmentReport(
        codes=len(codes),
        events=sum(code.events for code in codes),
        explained=sum(map(bool, found)),
        articles=sum(map(len, found)),
        changed=changed,
        snapshots={owner: snapshot.manifest.snapshot_id for owner, snapshot in snapshots.items()},
    )


def current_snapshots(settings: Settings, tenant: Tenant) -> dict[str, Snapshot]:
    """The indexes that the tenant may search, by owner; an empty or missing one is left out."""
    filesystem, cache = lake_filesystem(settings.lake), settings.home / "index-cache"
    found = {owner: LiveIndex(filesystem, owner, cache).refresh() for owner in (tenant.id, SHARED_PREFIX)}
    return {owner: snapshot for owner, snapshot in found.items() if snapshot and snapshot.manifest.chunks}


def indexes_and_vectors(
    settings: Settings, snapshots: Sequence[Snapshot], queries: Sequence[str]
) -> tuple[list[HybridIndex], Vectors]:
    """The snapshots ready to be searched, and the queries' vectors (n, d) from one call of the model.

    An index that another model embedded is searched by words alone.
    """
    model = resolve_role(settings, "embedder")
    encoder = load_encoder(model)
    indexes = [
        HybridIndex(
            snapshot,
            Ranking.of(settings.retrieval),
            comparable=(snapshot.manifest.embedder.checksum, snapshot.manifest.embedder.dimension)
            == (model.checksum, encoder.dimension),
        )
        for snapshot in snapshots
    ]
    return indexes, encoder.encode(queries)


def candidates(indexes: Sequence[HybridIndex], code: SeenCode, vector: Vectors) -> list[Hit]:
    """What a search finds for a code; of its models' documents as many again, for those of other models,
    which explain nothing, may be more than are looked at."""
    wanted = [Filters(models=tuple(code.models))] if code.models else []
    return [
        hit
        for filters in (*wanted, Filters())
        for hit in search_all(indexes, query(code), vector, CANDIDATES, filters)
    ]


def _search(
    settings: Settings, codes: Sequence[SeenCode], snapshots: Sequence[Snapshot]
) -> list[list[Explanation]]:
    if not codes or not snapshots:
        return [[] for _ in codes]
    # By meaning, the message alone: the name of a code has none.
    indexes, vectors = indexes_and_vectors(settings, snapshots, [code.message for code in codes])
    return [
        explanations(code, candidates(indexes, code, vector))
        for code, vector in zip(codes, vectors, strict=True)
    ]
