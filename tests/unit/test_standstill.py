"""A process that was not let run knows when it went on."""

import math

from stateful_route.reconcile.standstill import STANDSTILL_SECONDS, Pulse


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_is_let_run_has_never_stood_still():
    clock = Clock()
    pulse = Pulse(clock)
    clock.now += 10 * STANDSTILL_SECONDS
    assert pulse.went_on_at == -math.inf, "what was before the first beat is none of it"
    for _ in range(100):
        clock.now += 0.9 * STANDSTILL_SECONDS
        assert pulse.went_on_at == -math.inf


def test_who_asks_first_after_a_standstill_learns_of_it_and_so_does_everybody_later():
    clock = Clock()
    pulse = Pulse(clock)
    pulse.beat()
    clock.now += STANDSTILL_SECONDS
    went_on = clock.now
    assert pulse.went_on_at == went_on
    clock.now += 0.5
    pulse.beat()
    assert pulse.went_on_at == went_on


def test_of_two_standstills_the_later_counts():
    clock = Clock()
    pulse = Pulse(clock)
    for _ in range(2):
        pulse.beat()
        clock.now += STANDSTILL_SECONDS
        pulse.beat()
    assert pulse.went_on_at == clock.now
