"""Where links that must move go: every strategy, limits, and never all on one."""

import math
from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.placement import Placement, Spread, Strategy, Target, good_range, in_turn, nobody_takes, room


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
    "round robin goes by the index, not by the load": (
        loads(900, 0, 5000),
        {"strategy": Strategy.ROUND_ROBIN},
        [0, 1, 2, 0, 1, 2],
    ),
    "the least loaded takes all": (loads(5, 3, 9), {"strategy": Strategy.LEAST_LOAD}, [1, 1, 1, 1]),
    "those of the lowest load take turns": (loads(3, 5, 3), {"strategy": Strategy.LEAST_LOAD}, [0, 2, 0, 2]),
    "the least loaded until it is full, then the next": (
        [Target(0, 5), Target(1, 3, links=1), Target(2, 3)],
        {"strategy": Strategy.LEAST_LOAD, "max_links": 2},
        [1, 2, 2, 0, 0, None],
    ),
    "the quickest takes all": (
        [Target(0, response_seconds=0.2), Target(1, response_seconds=0.1), Target(2)],
        {"strategy": Strategy.LEAST_RESPONSE_TIME},
        [1, 1, 1],
    ),
    "the quickest until it is full, and those never asked come last": (
        [Target(0, response_seconds=0.2), Target(1, response_seconds=0.1), Target(2)],
        {"strategy": Strategy.LEAST_RESPONSE_TIME, "max_links": 1},
        [1, 0, 2, None],
    ),
    "when nobody was ever asked they take turns": (
        loads(0, 9),
        {"strategy": Strategy.LEAST_RESPONSE_TIME},
        [0, 1, 0, 1],
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
    st.builds(
        Target,
        st.integers(0, 20),
        st.floats(-1e6, 1e6),
        st.integers(0, 30),
        st.one_of(st.just(math.inf), st.floats(0, 5)),
    ),
    max_size=8,
    unique_by=lambda target: target.ordinal,
)
WEIGHTS = st.dictionaries(st.integers(0, 20), st.integers(-2, 9), max_size=8)


@pytest.mark.timeout(60)
@given(
    targets=TARGETS,
    strategy=st.sampled_from(Strategy),
    weights=WEIGHTS,
    limit=st.integers(1, 25),
    start=st.integers(0, 2**16),
    at_least=st.integers(1, 3),
)
def test_no_pod_is_filled_over_its_limit_and_nobody_is_refused_while_a_wanted_one_has_room(
    targets, strategy, weights, limit, start, at_least
):
    placement = Placement(strategy=strategy, weights=weights, max_links=limit)
    spread = Spread(targets, placement, start, at_least)
    placed = Counter(iter(spread.take, None))
    links = {target.ordinal: target.links for target in targets}
    for ordinal, count in placed.items():
        assert links[ordinal] + count <= limit
    weighing = strategy is Strategy.WEIGHTED_ROUND_ROBIN and any(weights.get(ordinal, 1) > 0 for ordinal in links)
    wanted = [ordinal for ordinal in links if not weighing or weights.get(ordinal, 1) > 0]
    assert placed.total() == sum(max(0, limit - links[ordinal]) for ordinal in wanted)
    assert spread.take() is None


START = {
    "round robin": ({"strategy": Strategy.ROUND_ROBIN}, 4),
    "the good range": ({"load_range": 15}, 2),
    "the good range with a limit": ({"load_range": 15, "max_links": 100}, 2),
    "pods of the lowest load": ({"strategy": Strategy.LEAST_LOAD}, 2),
    "pods of the fewest links": ({"strategy": Strategy.LEAST_CONNECTIONS}, 4),
    "pods that nobody has asked": ({"strategy": Strategy.LEAST_RESPONSE_TIME}, 4),
    "weights, smoothly": ({"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": {0: 2}}, 4),
    "weights that are all zero": (
        {"strategy": Strategy.WEIGHTED_ROUND_ROBIN, "weights": dict.fromkeys(range(4), 0)},
        4,
    ),
}


@pytest.mark.parametrize("sentence", START)
def test_many_callers_that_see_the_same_pods_begin_with_each_of_them(sentence):
    """Else the first of them would get all new uids between two refreshes."""
    placement, as_good = START[sentence]
    pods = loads(10, 10, 900, 1000)
    first = Counter(Spread(pods, Placement(**placement), start, at_least=1).take() for start in range(1000))
    assert len(first) == as_good
    share = {0: 2 / 5} if "smoothly" in sentence else {}
    for ordinal, count in first.items():
        usual = 1 / 5 if share else 1 / as_good
        assert count == pytest.approx(1000 * share.get(ordinal, usual), rel=0.01)


@given(targets=TARGETS, weights=WEIGHTS, strategy=st.sampled_from(Strategy), start=st.integers(0, 100))
def test_where_it_begins_changes_the_order_and_not_the_shares(targets, weights, strategy, start):
    placement = Placement(strategy=strategy, weights=weights)
    usual, later = (Spread(targets, placement, at) for at in (0, start))
    one, other = (Counter(spread.take() for _ in range(200)) for spread in (usual, later))
    assert all(abs(one[ordinal] - other[ordinal]) <= 10 for ordinal in one | other)


def test_a_large_sum_of_weights_does_not_hold_up_the_beginning():
    weights = dict.fromkeys(range(4), 10**9)
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    assert Spread(loads(0, 0, 0, 0), placement, start=10**9 - 1).take() in range(4)


def test_the_good_range_spreads_over_as_many_as_one_says():
    pods = loads(0, 5000, 9000)
    assert {Spread(pods, Placement(), at, at_least=1).take() for at in range(9)} == {0}
    assert {Spread(pods, Placement(), at, at_least=2).take() for at in range(9)} == {0, 1}
    assert {Spread(pods, Placement(), at, at_least=3).take() for at in range(9)} == {0, 1, 2}


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


@pytest.mark.parametrize("strategy", Strategy)
def test_room_is_what_a_spread_hands_out(strategy):
    targets = [Target(0, links=3), Target(1, links=9), Target(2)]
    placement = Placement(strategy=strategy, weights={0: 2, 2: 0}, max_links=5)
    spread = Spread(targets, placement)
    handed_out = 0
    while spread.take() is not None:
        handed_out += 1
    assert room(targets, placement) == handed_out > 0


def test_room_without_a_limit_and_without_pods():
    assert room([Target(0, links=10**6)], Placement()) == float("inf")
    assert room([], Placement()) == room([], Placement(max_links=5)) == 0


MANY_WEIGHTS = st.dictionaries(st.integers(0, 300), st.integers(1, 40), min_size=1, max_size=120)


@given(weights=MANY_WEIGHTS, start=st.integers(0, 10**6), later=st.integers(0, 500))
def test_so_many_picks_in_a_row_as_the_weights_sum_up_to_are_exactly_the_weights(weights, start, later):
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    order = in_turn(weights, placement, start)
    window = islice(order, later, later + sum(weights.values()))
    assert Counter(window) == weights


@given(weights=MANY_WEIGHTS, start=st.integers(0, 10**6), later=st.integers(0, 500))
def test_a_later_start_is_the_same_order_from_a_later_place(weights, start, later):
    """Callers whose pods change go on where they were, also when that is often."""
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    usual, later_on = in_turn(weights, placement, start), in_turn(weights, placement, start + later)
    assert list(islice(usual, later, later + 50)) == list(islice(later_on, 50))


@given(weights=st.dictionaries(st.integers(0, 9), st.integers(1, 12), min_size=1, max_size=6))
def test_few_pods_are_picked_by_smooth_weighted_round_robin(weights):
    """As it is usually written: all gain their weight, the richest is picked and pays for it."""
    current, picks = dict.fromkeys(sorted(weights), 0), []
    for _ in range(3 * sum(weights.values())):
        current = {ordinal: now + weights[ordinal] for ordinal, now in current.items()}
        best = max(current, key=current.__getitem__)
        current[best] -= sum(weights.values())
        picks.append(best)
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    assert list(islice(in_turn(weights, placement), len(picks))) == picks


def test_of_many_pods_none_waits_for_long_and_none_comes_in_a_row():
    """Of a pod's picks none is further from the next one than three times the usual distance."""
    weights = {ordinal: 1 + ordinal % 5 for ordinal in range(1000)}
    total = sum(weights.values())
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    picks = list(islice(in_turn(weights, placement), 2 * total))
    places = {ordinal: [] for ordinal in weights}
    for place, ordinal in enumerate(picks):
        places[ordinal].append(place)
    for ordinal, at in places.items():
        gaps = [later - earlier for earlier, later in pairwise(at)]
        assert min(gaps) > 1
        assert max(gaps) <= 3 * total / weights[ordinal]


def test_full_pods_of_a_large_weight_do_not_hold_up_the_one_that_is_left():
    """Each is passed over a few times at most: else a pick would go through all the places of those that are full."""
    weights = {0: 1, **dict.fromkeys(range(1, 400), 10**6)}
    targets = [Target(ordinal, links=9) for ordinal in range(1, 400)]
    placement = Placement(strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights, max_links=10)
    spread = Spread([Target(0, links=3), *targets], placement)
    assert Counter(iter(spread.take, None)) == {0: 7, **dict.fromkeys(range(1, 400), 1)}


TAKERS = {
    "no other pod is READY": ({}, 5, "no other pod is READY"),
    "without a limit any READY pod takes links": ({1: 1000}, 0, None),
    "one pod is below the limit": ({1: 5, 2: 4}, 5, None),
    "all are at the limit or above": ({1: 5, 2: 7}, 5, "every other READY pod is full (placement.maxLinksPerPod)"),
}


@pytest.mark.parametrize("case", TAKERS)
def test_why_links_cannot_move_is_said(case):
    links, limit, why = TAKERS[case]
    assert nobody_takes(links, limit) == why
