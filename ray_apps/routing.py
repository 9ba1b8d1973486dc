"""The language models that write answers, as one: the first that answers does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from ray.serve.handle import DeploymentHandle

from iotops.errors import ModelError
from iotops.models.catalogue import Catalogue, Endpoint, ModelSpec
from ray_apps.chat import (
    Busy,
    EngineError,
    LanguageModelClient,
    Messages,
    Piece,
    Proposal,
    Schemas,
    ServedModel,
    Writing,
)
from ray_apps.circuit import Circuit, CircuitOpen

logger = logging.getLogger(__name__)

FAIR_S, FAIR_SHARE = 5.0, 3 / 4
"""Time for the last model's first token: at least so much (s), and of an answer's. One that is silent then
has failed; by less, as answers on two cores have, one that is slow would be taken for one that hangs: it is
asked for a word beside them then (`ChatModel.sound_out`)."""
WORD: Messages = [{"role": "user", "content": "Are you there?"}]
NO_KEY = "no-key"
"""For a server that wants none: without one the clients would take another server's from the environment."""


@dataclass(frozen=True)
class Route:
    """A model, how long its first token may take (s), whether it can call tools, how long it may take to say
    which (s), and its circuit."""

    model: LanguageModelClient
    first_token_s: float
    calls_tools: bool = False
    tools_s: float = 5.0
    circuit: Circuit = field(default_factory=Circuit)


class ChatModel:
    """Asks the models in their order, each until it says something: after that no other one is asked."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._sounding: asyncio.Task[None] | None = None

    @property
    def first(self) -> str:
        """Name of the first model."""
        return self._routes[0].model.name

    @property
    def author(self) -> str:
        """Name of the model that would be asked first now."""
        return next((each for each in self._routes if each.circuit.admits), self._routes[0]).model.name

    def stream(self, messages: Messages, max_tokens: int) -> Writing:
        """The answer while a model writes it; reading it raises `EngineError` where none does."""
        return Writing(self._pieces(messages, max_tokens))

    @property
    def said(self) -> int:
        """How often one of the models said something, to whoever asked."""
        return sum(route.circuit.said for route in self._routes)

    @property
    def calls_tools(self) -> bool:
        """Whether one of the models may ask for tools."""
        return any(route.calls_tools for route in self._routes)

    async def propose(self, messages: Messages, tools: Schemas, max_tokens: int) -> Proposal | None:
        """What the model that would write the answer would have called before; none where it cannot call
        tools. Raises `EngineError` where it fails, `TimeoutError` where it takes longer than it has."""
        route = next((each for each in self._routes if each.circuit.admits), None)
        if route is None or not route.calls_tools:
            return None
        async with asyncio.timeout(route.tools_s):  # slow with tools is not failed
            with route.circuit.attempt():
                return await route.model.propose(messages, tools, max_tokens)

    def sound_out(self) -> asyncio.Task[None]:
        """Have the last model asked for a word that nobody waits for, one at a time. An answer that is cut
        off before a fair time for the first token shows its circuit nothing; this does."""
        if self._sounding is None or self._sounding.done():
            self._sounding = asyncio.create_task(self._sound_out())
        return self._sounding

    async def _sound_out(self) -> None:
        with suppress(EngineError):  # its circuit has it, and the log
            async for _ in ChatModel(self._routes[-1:]).stream(WORD, 1).pieces():
                pass

    async def describe(self) -> dict[str, Any]:
        """What the first model says of itself, then for each model its circuit.

        Raises `EngineError` where none would answer: each either does not say what it is, or failed several
        times a moment ago.
        """
        told = await asyncio.gather(*(each.model.describe() for each in self._routes), return_exceptions=True)
        circuits = {each.model.name: each.circuit.state for each in self._routes}
        pairs = zip(told, circuits.values(), strict=True)
        if not any(isinstance(each, dict) and state != "open" for each, state in pairs):
            raise EngineError(f"no language model answers: {circuits}")
        first = told[0] if isinstance(told[0], dict) else {"name": self._routes[0].model.name}
        return {**first, "circuits": circuits}

    async def _pieces(self, messages: Messages, max_tokens: int) -> AsyncGenerator[Piece, None]:
        failed = []
        for route in self._routes:
            begun, said = False, route.circuit.said
            try:
                with route.circuit.attempt():
                    async with aclosing(route.model.pieces(messages, max_tokens)) as pieces:
                        until = asyncio.get_running_loop().time() + route.first_token_s
                        while not begun:
                            piece = await _next(pieces, until, route, said)
                            begun = piece.says
                            route.circuit.said += begun
                            yield piece
                        async for piece in pieces:
                            route.circuit.said += piece.says
                            yield piece
                return
            except Exception as error:
                if begun:
                    raise
                level = logging.DEBUG if isinstance(error, CircuitOpen) else logging.WARNING
                logger.log(level, "%s does not answer: %s", route.model.name, error)
                failed.append(f"{route.model.name}: {error}")
        raise EngineError(f"no language model answers: {'; '.join(failed)}")


def chat_model(catalogue: Catalogue, served: DeploymentHandle | None) -> ChatModel:
    """The language models of `models.yaml`; `served` is the one that is deployed here.

    Raises `ModelError` where a key is not in the environment.
    """
    names = catalogue.language_models()
    before, at_last = first_token_limits(catalogue.spec(names[0]).answer_s)
    routes = [_route(catalogue, name, served, before) for name in names[:-1]]
    return ChatModel([*routes, _route(catalogue, names[-1], served, at_last)])


def first_token_limits(answer_s: float) -> tuple[float, float]:
    """How long the first token may take (s) of a model that another one follows, which needs time to answer
    too, and of the last one."""
    return answer_s / 2, max(FAIR_S, FAIR_SHARE * answer_s)


def _route(catalogue: Catalogue, name: str, served: DeploymentHandle | None, most_s: float) -> Route:
    """The way to a model, which has `most_s` for its first token at most."""
    spec = catalogue.spec(name)
    model: LanguageModelClient
    if spec.endpoint:
        model = remote_model(name, spec, spec.endpoint)
    elif served:
        model = ServedModel(name, served)
    else:
        raise ModelError(f"{name} is to be served here, and the graph was built without it: deploy it again")
    return Route(model, min(spec.first_token_s, most_s), spec.calls_tools, spec.tools_s)


def remote_model(name: str, spec: ModelSpec, endpoint: Endpoint) -> LanguageModelClient:
    """A client of a model's endpoint; raises `ModelError` where its key is not in the environment."""
    key = os.environ.get(endpoint.key) if endpoint.key else NO_KEY
    if not key:
        raise ModelError(
            f"the key of {name} is not in the environment: set {endpoint.key} where Ray is started"
        )
    # Each loads its vendor's client, which takes a second: only what is used.
    if endpoint.api == "anthropic":
        from ray_apps.anthropic_model import AnthropicModel

        return AnthropicModel(name, spec, endpoint, key)
    from ray_apps.openai_model import OpenAIModel

    return OpenAIModel(name, spec, endpoint, key)


async def _next(pieces: AsyncGenerator[Piece, None], until: float, route: Route, said: int) -> Piece:
    """The next piece of a model that has said nothing yet to who asks, and `said` so much to all, if it comes
    before `until` (s, by the event loop's clock); raises `Busy` where others hear of it meanwhile, else
    `EngineError`."""
    try:
        async with asyncio.timeout_at(until):
            return await anext(pieces)
    except TimeoutError:
        failure = Busy if route.circuit.said > said else EngineError
        raise failure(f"{route.model.name} wrote nothing within {route.first_token_s:g} s") from None
    except StopAsyncIteration:
        raise EngineError(f"{route.model.name} ended without a word") from None
