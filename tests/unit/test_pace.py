"""How fast links move: the bound, and what a deadline makes of it."""

import math

import pytest

from stateful_route.router.pace import Pace


class Clock:
    """Stands still until the test moves it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_without_a_deadline_the_bound_holds(clock):
    pace = Pace(100, clock)
    assert pace.rate(left=1_000_000) == 100
    assert pace.wait_seconds(50, left=950) == 0.5
    assert pace.wait_seconds(50, left=900) == 1.0, "waits add up when nobody waits"
    clock.now += 1.0
    assert pace.wait_seconds(100, left=800) == 1.0


def test_time_in_which_nothing_moved_is_not_made_up_for(clock):
    pace = Pace(100, clock)
    clock.now += 3600
    assert pace.wait_seconds(100, left=0) == 1.0


def test_a_deadline_that_would_be_missed_raises_the_rate(clock):
    pace = Pace(100, clock, deadline=clock.now + 10)
    assert pace.rate(left=500) == 100
    assert pace.rate(left=5000) == 500
    assert pace.wait_seconds(1000, left=4000) == 2.5


def test_after_the_deadline_nothing_waits(clock):
    pace = Pace(1, clock, deadline=clock.now + 10)
    assert pace.wait_seconds(5, left=5) == 5.0
    clock.now += 10
    assert pace.rate(left=1) == math.inf
    assert pace.wait_seconds(1000, left=4000) == 0.0


def test_a_changed_bound_counts_from_then_on(clock):
    pace = Pace(1, clock)
    pace.links_per_second = 1000
    assert pace.wait_seconds(2000, left=0) == 2.0
