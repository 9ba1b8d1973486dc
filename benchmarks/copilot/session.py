"""What all parts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from rich.console import Console

from benchmarks.copilot.asking import Outcome, headers, in_turn
from benchmarks.copilot.questions import CACHED, Mix, Question, known
from benchmarks.figures import Figures
from iotops.errors import IotOpsError
from iotops.models import load_catalogue
from iotops.models.catalogue import Catalogue
from iotops.settings import Settings
from iotops.tenancy import Tenant


@dataclass(frozen=True)
class Session:
    """A tenant of the running copilot, its questions, and where the figures go."""

    settings: Settings
    tenant: Tenant
    seed: int
    mix: Mix
    catalogue: Catalogue
    figures: Figures
    console: Console

    @classmethod
    def begin(
        cls, settings: Settings, tenant: Tenant, seed: int, figures: Figures, console: Console
    ) -> Session:
        """Look at what the tenant has; raises `IotOpsError` where there is nothing to ask, or nobody."""
        try:
            with httpx.Client(
                base_url=settings.serve.url, headers=headers(settings, tenant), timeout=60
            ) as client:
                mix = Mix(known(client), seed)
        except httpx.HTTPError as error:
            raise IotOpsError(
                f"no copilot answers for {tenant.id} at {settings.serve.url} ({error}): start it with "
                "`iotops demo`"
            ) from None
        return cls(settings, tenant, seed, mix, load_catalogue(settings), figures, console)

    async def asked_before(self, client: httpx.AsyncClient) -> list[Question]:
        """A few questions that have their answers by now; raises `IotOpsError` where one was not new."""
        outcomes = await in_turn(client, self.mix.take("new", CACHED))
        for outcome in outcomes:
            if outcome.status != "200":
                raise IotOpsError(f"{outcome.question.text!r} was answered with {outcome.status}")
        self.only_new(outcomes)
        return [outcome.question for outcome in outcomes]

    def only_new(self, outcomes: list[Outcome]) -> None:
        """Raise `IotOpsError` where an answer was kept from an earlier run with the same questions."""
        if any(outcome.answer.get("cached") and outcome.question.kind != "cached" for outcome in outcomes):
            raise IotOpsError(
                f"questions of the seed {self.seed} are answered from the cache: give another --seed, or "
                f"wait for {self.settings.cache.answer_ttl_s} s"
            )
