"""A reranker trained on a tenant's own shelf, and switched on where it wins there.

ray job submit -- python -m pipelines.jobs.tune_reranker --tenant acme
"""

from __future__ import annotations

from typing import Annotated

import typer

from iotops.commands.tenant import TenantOption
from iotops.provisioning import known_tenant
from iotops.settings import get_settings
from pipelines.jobs.arguments import Check, main, say


def tune_reranker(
    tenant: TenantOption,
    epochs: Annotated[
        int,
        typer.Option(min=1, max=20, help="How often each labelled example is seen; if they are few, all."),
    ] = 3,
    check: Check = False,
) -> None:
    """Train a cross-encoder on a tenant's shelf, and switch it on where it wins on held-out documents.

    It learns from the documents' headings and sentences and from the tenant's labelled sets
    (`<tenant>/evaluation/`, split `train` where there is one). The weekly evaluation goes on measuring it.

    Example: iotops job submit tune-reranker --tenant acme
    """
    settings = get_settings()
    owner = known_tenant(settings, tenant)
    say(f"a reranker for {owner.id}, {epochs} epochs")
    if check:
        return
    from pipelines.tuning.training import Course
    from pipelines.tuning.tune import tune  # loads the models' libraries

    say(str(tune(settings, owner, Course(epochs=epochs), say)))


if __name__ == "__main__":
    main(tune_reranker)
