"""The circuit breaker, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from ray_apps.chat import Busy, EngineError, RequestRefused
from ray_apps.circuit import Circuit, CircuitOpen


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(failures=3, cooldown_s=10, clock=clock)


def end(circuit: Circuit, with_: BaseException | None) -> None:
    """One attempt that ends so."""
    with pytest.raises(type(with_)) if with_ else nullcontext(), circuit.attempt():
        if with_:
            raise with_


def opened(circuit: Circuit) -> None:
    for _ in range(3):
        assert circuit.state == "closed"
        end(circuit, EngineError("gone"))
    assert (circuit.state, circuit.admits) == ("open", False)


def test_failures_in_a_row_open_it_and_then_nothing_is_attempted(circuit: Circuit):
    opened(circuit)
    with pytest.raises(CircuitOpen, match="3 times"), circuit.attempt():
        pytest.fail("it was attempted")


def test_a_success_between_failures_starts_the_count_again(circuit: Circuit):
    for error in (EngineError("1"), TimeoutError(), None, OSError("1"), EngineError("2")):
        end(circuit, error)
    assert circuit.state == "closed"


@pytest.mark.parametrize("shows_that_it_works", [RequestRefused("too long"), GeneratorExit()])
def test_a_refused_request_and_a_reader_that_has_enough_are_no_failures(
    circuit: Circuit, clock: Clock, shows_that_it_works: BaseException
):
    opened(circuit)
    clock.now += 10
    end(circuit, shows_that_it_works)
    assert circuit.state == "closed"


@pytest.mark.parametrize("shows_nothing", [Busy("full"), asyncio.CancelledError()])
def test_what_shows_nothing_neither_opens_nor_closes_it(
    circuit: Circuit, clock: Clock, shows_nothing: BaseException
):
    for _ in range(5):
        end(circuit, shows_nothing)
    assert circuit.state == "closed"
    opened(circuit)
    clock.now += 10
    end(circuit, shows_nothing)
    assert (circuit.state, circuit.admits) == ("half-open", True)


def test_after_the_cooldown_one_attempt_alone_is_let_through(circuit: Circuit, clock: Clock):
    opened(circuit)
    clock.now += 9.9
    assert circuit.state == "open"
    clock.now += 0.1
    assert (circuit.state, circuit.admits) == ("half-open", True)
    with circuit.attempt():
        assert not circuit.admits
        with pytest.raises(CircuitOpen), circuit.attempt():
            pytest.fail("a second one was let through")
    assert circuit.state == "closed"


def test_a_failed_trial_opens_it_for_as_long_again(circuit: Circuit, clock: Clock):
    opened(circuit)
    clock.now += 10
    end(circuit, EngineError("still gone"))
    assert circuit.state == "open"
    clock.now += 9.9
    assert circuit.state == "open"
    clock.now += 0.1
    end(circuit, None)
    assert circuit.state == "closed"
