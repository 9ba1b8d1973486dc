"""Lakera Guard, asked beside the local detector where a key is set.

Source: the vendor's API reference of `POST /v2/guard`: `messages` in, `flagged` and `breakdown` out.
"""

from __future__ import annotations

import logging

import httpx
from pydantic import BaseModel, Field

from iotops.settings import GuardSettings

logger = logging.getLogger(__name__)


class _Finding(BaseModel):
    detector_type: str = ""
    detected: bool = False


class _Verdict(BaseModel):
    flagged: bool
    breakdown: list[_Finding] = Field(default_factory=list)


class LakeraGuard:
    """A client that answers None where the service does not: the local verdict holds then."""

    def __init__(self, settings: GuardSettings) -> None:
        key = settings.lakera_api_key.get_secret_value() if settings.lakera_api_key else ""
        self._client = (
            httpx.AsyncClient(
                base_url=settings.lakera_url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=settings.lakera_timeout_s,
            )
            if key
            else None
        )
        self._project = {"project_id": settings.lakera_project} if settings.lakera_project else {}

    @property
    def used(self) -> bool:
        """Whether a key is set."""
        return self._client is not None

    async def flags(self, text: str) -> bool | None:
        """Whether the service flags a prompt attack in a question or in what a source says.

        Never raises for a failure of the service: that is logged, without the text.
        """
        if self._client is None:
            return None
        body = {"messages": [{"role": "user", "content": text}], "breakdown": True, **self._project}
        try:
            response = await self._client.post("/v2/guard", json=body)
            response.raise_for_status()
            verdict = _Verdict.model_validate_json(response.content)
        except (httpx.HTTPError, ValueError) as error:
            logger.warning("Lakera Guard gave no verdict, the local one holds: %s", type(error).__name__)
            return None
        # A project there may also look for personal data or topics, which are no prompt attack.
        attacks = [
            each.detected for each in verdict.breakdown if each.detector_type.startswith("prompt_attack")
        ]
        return any(attacks) if attacks else verdict.flagged
