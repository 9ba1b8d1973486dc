"""The share of refused records that an arrival hour may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotops.errors import LakeError
from iotops.tenancy import Tenant
from pipelines.lake.known import arrived_in
from pipelines.lake.loads import HourLoad
from pipelines.lake.silver_tables import table_name

if TYPE_CHECKING:
    from pyiceberg.table import Table

FROM_RECORDS = 100
"""An hour of fewer records is loaded whatever their share: one bad device would stop a small tenant."""
NAMED = 3


class QuarantineError(LakeError):
    """Arrival hours were not loaded because too many of their records were refused."""


@dataclass(frozen=True)
class RefusedHour:
    """An hour that was not loaded: its counts, and the most frequent reasons and objects with theirs."""

    load: HourLoad
    reasons: list[tuple[str, int]]
    objects: list[tuple[str, int]]

    def __str__(self) -> str:
        share = self.load.quarantined / self.load.records
        return (
            f"hour {self.load.arrival_hour:%Y-%m-%dT%H}: {self.load.quarantined:,} of "
            f"{self.load.records:,} records ({share:.0%}), for {_named(self.reasons)}, "
            f"in {_named(self.objects)}"
        )


def exceeds(load: HourLoad, max_share: float) -> bool:
    """Whether too many of the hour's records were refused for it to be loaded."""
    return load.records >= FROM_RECORDS and load.quarantined > max_share * load.records


def refused_hour(quarantine: Table, load: HourLoad) -> RefusedHour:
    """What the quarantine table says about the hour."""
    scan = quarantine.scan(arrived_in([load.arrival_hour]), selected_fields=("reason", "object"))
    rows = scan.to_arrow()
    reasons, objects = (Counter(rows[name].to_pylist()) for name in ("reason", "object"))
    return RefusedHour(load, reasons.most_common(NAMED), objects.most_common(NAMED))


def quarantine_error(tenant: Tenant, hours: list[RefusedHour], max_share: float) -> QuarantineError:
    """The failure of a run that refused hours; each is named, with the remedy."""
    more = f"; and {len(hours) - NAMED} more" if len(hours) > NAMED else ""
    return QuarantineError(
        f"{len(hours)} arrival hours of tenant {tenant.id} are not loaded, since more than {max_share:.0%} "
        f"of their records break the contract: {'; '.join(map(str, hours[:NAMED]))}{more}. The refused "
        f"records are in {table_name(tenant, 'quarantine')}; telemetry and events of the hours are as they "
        "were. Mend what "
        "writes the objects, or allow a larger share (IOTOPS_LAKE__MAX_QUARANTINE_SHARE), and run it again"
    )


def _named(counted: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counted)
