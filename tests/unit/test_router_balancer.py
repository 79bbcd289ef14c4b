"""The load balancer: ratios over many picks, whose turn it is when pods change, strategies of one's own."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable
from stateful_route.domain.placement import Placement, Strategy, Target
from stateful_route.router.balancer import ENTRY_POINTS, LoadBalancer, found_strategy

MANY = 100_000


def picks(balancer, targets, count, placement=Placement()):  # noqa: B008  a frozen value
    return Counter(balancer.pick(targets, placement) for _ in range(count))


def shares(counts):
    total = sum(counts.values())
    return {ordinal: count / total for ordinal, count in counts.items()}


def close_to(expected):
    return {ordinal: pytest.approx(share, rel=0.02) for ordinal, share in expected.items()}


PODS = [Target(ordinal, load=100 * ordinal) for ordinal in range(10)]


# Ratios


def test_round_robin_takes_turns():
    balancer = LoadBalancer("RoundRobin", start=0)
    assert [balancer.pick(PODS[:3]) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert picks(LoadBalancer("RoundRobin"), PODS, MANY) == dict.fromkeys(range(10), MANY // 10)


def test_weights_are_kept_to_within_two_percent():
    weights = {0: 5, 1: 3, 2: 1, 3: 0, 4: 11}
    counts = picks(LoadBalancer("WeightedRoundRobin"), PODS[:5], MANY, Placement(weights=weights))
    assert shares(counts) == close_to({pod: weight / 20 for pod, weight in weights.items() if weight})


def test_weights_are_kept_to_also_while_loads_and_pods_change():
    weights = {0: 5, 1: 3, 2: 1}
    balancer, counts = LoadBalancer("WeightedRoundRobin"), Counter()
    for turn in range(MANY // 100):
        pods = [Target(ordinal, load=(turn * 37 + ordinal) % 100) for ordinal in range(3)]
        counts += picks(balancer, pods, 100, Placement(weights=weights))
    assert shares(counts) == close_to({0: 5 / 9, 1: 3 / 9, 2: 1 / 9})


def test_weights_that_are_all_zero_fall_back_to_round_robin():
    balancer = LoadBalancer("WeightedRoundRobin", start=0)
    none = Placement(weights={0: 0, 1: 0, 2: 0})
    assert [balancer.pick(PODS[:3], none) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_least_connections_levels_pods_within_two_percent():
    pods = [Target(ordinal, links=1000 * ordinal) for ordinal in range(10)]
    counts = picks(LoadBalancer("LeastConnections"), pods, MANY)
    links = [counts[pod.ordinal] + pod.links for pod in pods]
    assert max(links) - min(links) <= 1
    assert max(links) / min(links) < 1.02


def test_least_connections_goes_on_from_each_new_count():
    """Counts come now and then, and may be old; what was handed out since then counts on top of them."""
    balancer, links = LoadBalancer("LeastConnections"), Counter({0: 500, 1: 0, 2: 100})
    for _ in range(MANY // 1000):
        pods = [Target(ordinal, links=links[ordinal]) for ordinal in range(3)]
        for _ in range(1000):
            links[balancer.pick(pods)] += 1
    assert max(links.values()) / min(links.values()) < 1.02


def test_least_connections_does_without_a_count():
    assert shares(picks(LoadBalancer("LeastConnections"), PODS, MANY)) == close_to(dict.fromkeys(range(10), 0.1))


def test_the_good_range_is_kept_to_evenly():
    counts = picks(LoadBalancer("GoodRange"), PODS, MANY, Placement(load_range=450))
    assert shares(counts) == close_to(dict.fromkeys(range(5), 0.2))


def test_the_good_range_is_kept_to_evenly_while_loads_change():
    """Between two refreshes there is no herd on the least loaded pod, and over many of them none is favoured."""
    balancer, counts = LoadBalancer("GoodRange"), Counter()
    for turn in range(MANY // 100):
        loads = [(turn * 7 + ordinal * 13) % 400 for ordinal in range(5)] + [10_000]
        pods = [Target(ordinal, load) for ordinal, load in enumerate(loads)]
        portion = picks(balancer, pods, 100)
        assert set(portion) == set(range(5))
        assert max(portion.values()) == 20
        counts += portion
    assert shares(counts) == close_to(dict.fromkeys(range(5), 0.2))


def test_a_pod_that_is_alone_in_the_good_range_gets_all():
    assert picks(LoadBalancer("GoodRange"), PODS, 100, Placement(load_range=99)) == {0: 100}


def test_the_least_load_is_one_pod_s_or_shared_by_equals():
    assert picks(LoadBalancer("LeastLoad"), PODS, 100) == {0: 100}
    equals = [Target(0, 5), Target(1, 3), Target(2, 3)]
    assert picks(LoadBalancer("LeastLoad"), equals, 100) == {1: 50, 2: 50}


def test_the_quickest_gets_all_and_those_never_asked_none():
    pods = [PODS[0]._replace(response_seconds=0.2), PODS[1]._replace(response_seconds=0.1), PODS[2]]
    assert picks(LoadBalancer("LeastResponseTime"), pods, 100) == {1: 100}
    assert picks(LoadBalancer("LeastResponseTime"), PODS[:4], 100) == dict.fromkeys(range(4), 25), "nobody was asked"


# Turns


@pytest.mark.parametrize("strategy", [Strategy.ROUND_ROBIN, Strategy.WEIGHTED_ROUND_ROBIN, Strategy.GOOD_RANGE])
def test_turns_go_on_when_the_pods_are_read_anew(strategy):
    balancer = LoadBalancer(strategy, start=0)
    seen = [balancer.pick([Target(0, load), Target(1, load), Target(2, load)]) for load in range(9)]
    assert seen == [0, 1, 2, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("strategy", Strategy)
def test_balancers_begin_with_different_pods(strategy):
    equals = [Target(ordinal) for ordinal in range(4)]
    first = Counter(LoadBalancer(strategy).pick(equals) for _ in range(1000))
    assert set(first) == {0, 1, 2, 3}
    assert min(first.values()) > 150


def test_a_pod_that_leaves_is_not_picked_and_one_that_comes_is():
    balancer = LoadBalancer("RoundRobin")
    assert set(picks(balancer, PODS[:3], 30)) == {0, 1, 2}
    assert picks(balancer, PODS[1:3], 30) == {1: 15, 2: 15}
    assert picks(balancer, PODS[:4], 40) == dict.fromkeys(range(4), 10)


def test_threads_share_a_balancer():
    balancer, found = LoadBalancer("RoundRobin"), Counter()
    guard = threading.Lock()

    def work():
        mine = picks(balancer, PODS, 1000)
        with guard:
            found.update(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(10), 800)


# Nobody, limits


@pytest.mark.parametrize("strategy", [*Strategy, lambda pods: pods[0].ordinal])
def test_without_a_pod_a_typed_error_says_so(strategy):
    with pytest.raises(NoPodAvailable, match="no pod takes new uids"):
        LoadBalancer(strategy).pick([])


@given(
    strategy=st.sampled_from([*Strategy, "a function"]),
    links=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    loads=st.lists(st.floats(0, 2000), min_size=6, max_size=6),
    limit=st.integers(1, 10),
    start=st.integers(0, 50),
)
def test_no_pod_gets_more_than_its_limit_and_all_room_is_used(strategy, links, loads, limit, start):
    balancer = LoadBalancer((lambda pods: pods[-1].ordinal) if strategy == "a function" else strategy, start)
    pods = [Target(ordinal, loads[ordinal], count) for ordinal, count in enumerate(links)]
    room = sum(max(0, limit - count) for count in links)
    placed = picks(balancer, pods, room, Placement(max_links=limit))
    assert all(pod.links + placed[pod.ordinal] <= max(limit, pod.links) for pod in pods)
    with pytest.raises(NoPodAvailable, match="full"):
        balancer.pick(pods, Placement(max_links=limit))


@pytest.mark.parametrize("strategy", Strategy)
def test_limits_hold_while_the_pods_are_read_anew_and_nobody_has_counted(strategy):
    balancer, placed = LoadBalancer(strategy), Counter()
    for load in range(10):
        placed[balancer.pick([Target(0, load), Target(1, load)], Placement(max_links=5))] += 1
    assert placed == {0: 5, 1: 5}


# Strategies of one's own


def last(pods):
    return pods[-1].ordinal


class Remembering:
    """Each of its objects takes turns by itself."""

    def __init__(self):
        self.turn = 0

    def __call__(self, pods):
        self.turn += 1
        return pods[self.turn % len(pods)].ordinal


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A package that offers strategies, as it is when it is installed."""
    (tmp_path / "fancy_strategies.py").write_text(
        "def last(pods):\n    return pods[-1].ordinal\n\n\n"
        "class Turns:\n    def __init__(self):\n        self.turn = -1\n\n"
        "    def __call__(self, pods):\n        self.turn += 1\n        return pods[self.turn % len(pods)].ordinal\n"
    )
    info = tmp_path / "fancy_strategies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy-strategies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\nLast = fancy_strategies:last\nTurns = fancy_strategies:Turns\nBroken = no_such_module:x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_function_is_a_strategy():
    balancer = LoadBalancer(last)
    assert picks(balancer, PODS, 10) == {9: 10}
    assert balancer.name == "last"
    assert LoadBalancer(Remembering()).name == "Remembering"


def test_a_function_sees_what_was_handed_out_since_the_last_count():
    def fewest(pods):
        return min(pods, key=lambda pod: pod.links).ordinal

    assert picks(LoadBalancer(fewest), [Target(0, links=10), Target(1)], 30) == {0: 10, 1: 20}


def test_a_package_may_offer_strategies(offered):
    assert picks(LoadBalancer("Last"), PODS, 10) == {9: 10}
    one, other = LoadBalancer("Turns"), LoadBalancer("Turns")
    assert [one.pick(PODS[:2]) for _ in range(3)] == [0, 1, 0]
    assert other.pick(PODS[:2]) == 0, "each balancer has one of its own"


def test_a_name_that_nobody_offers_is_refused_with_those_there_are(offered):
    with pytest.raises(InvalidArgument, match=r"no strategy 'Random'; there are GoodRange, .*Broken, Last, Turns"):
        LoadBalancer("Random")
    with pytest.raises(InvalidArgument, match="a name or a function"):
        LoadBalancer(7)
    with pytest.raises(ModuleNotFoundError):
        LoadBalancer("Broken")


def test_ours_go_before_theirs_and_need_no_search(monkeypatch):
    def searched(**_):
        raise AssertionError

    monkeypatch.setattr("importlib.metadata.entry_points", searched)
    assert [found_strategy(str(strategy)) for strategy in Strategy] == list(Strategy)


@pytest.mark.parametrize("wrong", [99, None, "0", -1])
def test_a_choice_that_was_not_offered_is_refused(wrong):
    with pytest.raises(InvalidArgument, match="none of 0, 1"):
        LoadBalancer(lambda _: wrong).pick(PODS[:2])
