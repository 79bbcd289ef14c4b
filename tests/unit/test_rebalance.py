"""Which links even a service out, and that no plan moves one too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.cli.inspect.rebalance import PlannedTargets
from stateful_route.domain.placement import Placement, Strategy, Target
from stateful_route.domain.rebalance import Shift, plan_rebalance


def targets(*links: int) -> list[Target]:
    return [Target(ordinal, links=count) for ordinal, count in enumerate(links)]


WEIGHTED = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights={0: 3, 1: 1})
PLANS = {
    "an even service stays as it is": (targets(5, 5, 5), Placement(), 100, []),
    "what does not divide stays where it is": (targets(6, 5, 5), Placement(), 100, []),
    "the fullest gives to the emptiest": (targets(9, 3, 0), Placement(), 100, [Shift(0, 1, 1), Shift(0, 2, 4)]),
    "no more than allowed, to who lacks most": (targets(9, 3, 0), Placement(), 2, [Shift(0, 2, 2)]),
    "none are allowed": (targets(9, 3, 0), Placement(), 0, []),
    "a pod alone has nobody to give to": (targets(9), Placement(), 100, []),
    "nobody is READY": ([], Placement(), 100, []),
    "a new pod gets its share": (targets(4, 4, 0), Placement(), 100, [Shift(0, 2, 1), Shift(1, 2, 1)]),
    "by weight": (targets(4, 4), WEIGHTED, 100, [Shift(1, 0, 2)]),
    "a weight of zero is left": (
        targets(4, 4),
        Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights={0: 0}),
        100,
        [Shift(0, 1, 4)],
    ),
    "weights that are all zero count as equal": (
        targets(4, 0),
        Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights={0: 0, 1: 0}),
        100,
        [Shift(0, 1, 2)],
    ),
    "weights of another strategy do not count": (targets(4, 4), Placement(weights={0: 3, 1: 1}), 100, []),
    "nobody is filled over the limit": (
        targets(4, 6),
        Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights={0: 9, 1: 1}, max_links=5),
        100,
        [Shift(1, 0, 1)],
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_the_plan(case):
    ready, placement, most, shifts = PLANS[case]
    plan = plan_rebalance(ready, placement, most)
    assert sorted(plan.shifts, key=lambda shift: (shift.source, shift.to)) == shifts


@given(
    links=st.lists(st.integers(0, 60), max_size=8),
    weights=st.dictionaries(st.integers(0, 7), st.integers(0, 5)),
    limit=st.integers(0, 70),
    most=st.integers(0, 80),
    weighted=st.booleans(),
)
def test_a_plan_loses_no_link_moves_none_twice_and_can_be_stopped_anywhere(links, weights, limit, most, weighted):
    strategy = Strategy.WEIGHTED_ROUND_ROBIN if weighted else Strategy.GOOD_RANGE
    placement = Placement(strategy=strategy, weights=weights, max_links=limit)
    plan = plan_rebalance(targets(*links), placement, most)
    assert plan.moves == min(plan.needed, most)
    assert sum(plan.after.values()) == sum(links)
    assert not {shift.source for shift in plan.shifts} & {shift.to for shift in plan.shifts}
    for ordinal, count in enumerate(links):
        if limit and plan.after[ordinal] > count:
            assert plan.after[ordinal] <= limit
    rest = plan_rebalance([Target(o, links=n) for o, n in plan.after.items()], placement, 10_000)
    assert rest.moves == plan.needed - plan.moves, "the rest of the way is as long as it was"


@given(links=st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_equal_pods_end_within_one_link_of_each_other(links):
    after = plan_rebalance(targets(*links), Placement(), 10_000).after.values()
    assert max(after) - min(after) <= 1


SHIFTS = [Shift(0, 1, 3), Shift(0, 2, 2), Shift(5, 1, 9)]


def test_targets_take_turns_until_the_plan_is_carried_out():
    targets = PlannedTargets(0, SHIFTS, {0, 1, 2})
    assert [targets.take() for _ in range(6)] == [1, 2, 1, 2, 1, None]


def test_nothing_goes_to_a_pod_that_is_not_ready_any_more():
    ready = {0, 1, 2}
    targets = PlannedTargets(0, SHIFTS, ready)
    assert [targets.take(), targets.take()] == [1, 2]
    ready.remove(1)
    assert [targets.take(), targets.take()] == [2, None]


def test_nothing_goes_off_a_pod_that_is_not_ready_any_more():
    ready = {0, 1, 2}
    targets = PlannedTargets(0, SHIFTS, ready)
    assert targets.take() == 1
    ready.remove(0)
    assert targets.take() is None
