"""Where links that must move go: every strategy, limits, and never all on one."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.placement import Placement, Spread, Strategy, Target, good_range


def taken(targets, count, **placement):
    """The first ``count`` ordinals that a spread hands out."""
    spread = Spread(targets, Placement(**placement))
    return [spread.take() for _ in range(count)]


def loads(*values):
    return [Target(ordinal, load) for ordinal, load in enumerate(values)]


GOOD_RANGE = {
    "nobody": ([], 500, []),
    "the lowest load alone when the others are beyond the range": (loads(0, 501, 600), 500, [0]),
    "who is exactly at the limit is good": (loads(0, 500, 501), 500, [0, 1]),
    "the limit is counted from the lowest load, not from zero": (loads(900, 1400, 1401), 500, [0, 1]),
    "by load, then by ordinal": ([Target(3, 5), Target(1, 7), Target(0, 5)], 500, [0, 3, 1]),
    "a range of zero takes the equals only": (loads(7, 7, 8), 0, [0, 1]),
    "negative loads, too": (loads(-600, -100, 0), 500, [0, 1]),
}


@pytest.mark.parametrize("sentence", GOOD_RANGE)
def test_good_range(sentence):
    targets, load_range, expected = GOOD_RANGE[sentence]
    assert [target.ordinal for target in good_range(targets, load_range)] == expected


SPREAD = {
    "no targets: nobody": ([], {}, [None, None]),
    "one target takes all": (loads(5), {}, [0, 0, 0]),
    "good pods take turns, the lowest load first": (loads(300, 100, 900), {}, [1, 0, 1, 0, 1]),
    "one good pod alone shares with the next best: never all on one": (loads(0, 5000, 9000), {}, [0, 1, 0, 1]),
    "the range is the user's": (loads(0, 5, 50), {"load_range": 10}, [0, 1, 0, 1]),
    "round robin goes through all, whatever their load": (
        loads(0, 900, 5000),
        {"strategy": Strategy.ROUND_ROBIN},
        [0, 1, 2, 0, 1, 2],
    ),
    "weighted round robin is smooth": (
        loads(0, 0, 0),
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 5, 1: 1, 2: 1}},
        [0, 0, 1, 0, 2, 0, 0],
    ),
    "a pod without a weight counts one": (
        loads(0, 0),
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 2}},
        [0, 1, 0, 0, 1, 0],
    ),
    "a total weight of zero falls back to round robin": (
        loads(0, 0),
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 0, 1: 0}},
        [0, 1, 0, 1],
    ),
    "a weight of zero takes nobody": (
        loads(0, 0),
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 0, 1: 1}},
        [1, 1, 1],
    ),
    "a negative weight takes nobody": (
        loads(0, 0),
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: -3, 1: 1}},
        [1, 1, 1],
    ),
    "weights of pods that are no targets do not matter": (
        [Target(4), Target(5)],
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 99, 4: 1, 5: 1}},
        [4, 5, 4, 5],
    ),
    "least connections counts those just placed": (
        [Target(0, links=2), Target(1, links=0), Target(2, links=3)],
        {"strategy": Strategy.LEAST_CONNECTIONS},
        [1, 1, 0, 1, 0, 1, 2, 0],
    ),
    "a full pod is passed over": (
        [Target(0, links=10), Target(1, links=8)],
        {"max_links": 10},
        [1, 1, None, None],
    ),
    "nobody has room": ([Target(0, links=10), Target(1, links=11)], {"max_links": 10}, [None]),
    "with a limit, too, the good ones take turns and the others wait": (
        loads(0, 100, 5000),
        {"max_links": 2},
        [0, 1, 0, 1, 2, 2, None],
    ),
    "when one good pod is full the next best joins": (
        [Target(0, 0, links=3), Target(1, 10, links=0), Target(2, 9000, links=0)],
        {"max_links": 4},
        [0, 1, 1, 2, 1, 2, 1, 2, 2, None],
    ),
    "a limit that is far away changes nothing": (loads(0, 100, 5000), {"max_links": 10**6}, [0, 1, 0, 1, 0, 1]),
    "round robin with a limit": (
        [Target(0, links=1), Target(1), Target(2)],
        {"strategy": Strategy.ROUND_ROBIN, "max_links": 2},
        [0, 1, 2, 1, 2, None],
    ),
    "least connections with a limit": (
        [Target(0, links=1), Target(1)],
        {"strategy": Strategy.LEAST_CONNECTIONS, "max_links": 2},
        [1, 0, 1, None],
    ),
    "only a pod of weight zero has room: nobody, and no search without an end": (
        [Target(0, links=2), Target(1)],
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 1, 1: 0}, "max_links": 2},
        [None],
    ),
    "weights hold until who has them is full": (
        [Target(0, links=0), Target(1), Target(2)],
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 3, 1: 1, 2: 0}, "max_links": 2},
        [0, 0, 1, 1, None],
    ),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("sentence", SPREAD)
def test_a_spread_hands_out(sentence):
    targets, placement, expected = SPREAD[sentence]
    assert taken(targets, len(expected), **placement) == expected


TARGETS = st.lists(
    st.builds(Target, st.integers(0, 20), st.floats(-1e6, 1e6), st.integers(0, 30)),
    max_size=8,
    unique_by=lambda target: target.ordinal,
)
WEIGHTS = st.dictionaries(st.integers(0, 20), st.integers(-2, 9), max_size=8)


@pytest.mark.timeout(30)
@given(targets=TARGETS, strategy=st.sampled_from(Strategy), weights=WEIGHTS, limit=st.integers(1, 25))
def test_no_pod_is_filled_over_its_limit_and_nobody_is_refused_while_a_wanted_one_has_room(
    targets, strategy, weights, limit
):
    placement = Placement(strategy=strategy, weights=weights, max_links=limit)
    spread = Spread(targets, placement)
    placed = Counter(iter(spread.take, None))
    links = {target.ordinal: target.links for target in targets}
    for ordinal, count in placed.items():
        assert links[ordinal] + count <= limit
    weighing = strategy is Strategy.WEIGHTED_ROUND_ROBIN and any(weights.get(ordinal, 1) > 0 for ordinal in links)
    wanted = [ordinal for ordinal in links if not weighing or weights.get(ordinal, 1) > 0]
    assert placed.total() == sum(max(0, limit - links[ordinal]) for ordinal in wanted)
    assert spread.take() is None


@given(targets=TARGETS, strategy=st.sampled_from([Strategy.GOOD_RANGE, Strategy.ROUND_ROBIN]))
def test_of_two_links_no_two_in_a_row_go_to_one_pod_when_there_are_others(targets, strategy):
    picks = taken(targets, 20, strategy=strategy)
    if len(targets) > 1:
        assert all(one != other for one, other in pairwise(picks))
    assert set(picks) <= ({target.ordinal for target in targets} or {None})


@given(targets=TARGETS)
def test_least_connections_levels_the_pods(targets):
    links = {target.ordinal: target.links for target in targets}
    for ordinal in taken(targets, 40, strategy=Strategy.LEAST_CONNECTIONS):
        if ordinal is None:
            assert not targets
            return
        assert links[ordinal] == min(links.values())
        links[ordinal] += 1


def test_a_spread_knows_its_targets_also_those_that_are_full():
    assert Spread([Target(2, links=9), Target(5)], Placement(max_links=3)).ordinals == {2, 5}
