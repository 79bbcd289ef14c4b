"""Every operation of the reference's section 5, against a real server; both twins."""

import pytest

from stateful_route.domain.aliveness import Author
from stateful_route.domain.errors import InvalidArgument, StoreUnavailable
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers import route_info
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState


@pytest.fixture
async def three(publish):
    """Pod 0 takes new uids, pod 1 only keeps its own, pod 2 serves nobody."""
    await publish({0: "READY", 1: "DENY_NEW_CALL", 2: "SHUTDOWN"}, loads={0: 7.5})


async def test_get_ready_service_state(three, caller):
    states = await caller.info.get_ready_service_state(NS, SVC)
    assert [(pod, state.load, state.routing_state) for pod, state in states.items()] == [(0, 7.5, READY)]
    assert states[0].author is Author.APP


async def test_get_all_service_state(three, caller):
    states = await caller.info.get_all_service_state(NS, SVC)
    assert {pod: state.routing_state for pod, state in states.items()} == {0: READY, 1: DENY, 2: SHUTDOWN}


async def test_alive_pods(three, caller):
    assert await caller.info.alive_pods(NS, SVC) == [0, 1]
    assert await caller.info.alive_pods(NS, "nobody") == []


async def test_routable_pods(three, caller):
    assert await caller.info.routable_pods(NS, SVC) == [0]


async def test_get_service_best_pod(publish, caller):
    assert await caller.info.get_service_best_pod(NS, "nobody") is None
    await publish({0: "READY", 1: "READY", 2: "DENY_NEW_CALL"}, loads={0: 900, 1: 300})
    assert await caller.info.get_service_best_pod(NS, SVC) == 1


async def test_is_pod_available(three, caller):
    assert [await caller.info.is_pod_available(NS, SVC, pod) for pod in range(4)] == [True, True, False, False]


async def test_is_pod_routable(three, caller):
    assert [await caller.info.is_pod_routable(NS, SVC, pod) for pod in range(4)] == [True, False, False, False]


async def test_is_workload_ready(executor_here, caller):
    assert not await caller.info.is_workload_ready(NS, SVC)
    for word, ready in (("READY", True), ("DENY_NEW_CALL", False)):
        await executor_here.set_workload_state(NS, SVC, word)
        assert await caller.info.is_workload_ready(NS, SVC) is ready


async def test_get_link_info_cache_time_secs(operate, caller):
    assert await caller.info.get_link_info_cache_time_secs(NS, "nobody") == 300
    await operate({}, temporaryTTLSeconds=120)
    assert await caller.info.get_link_info_cache_time_secs(NS, SVC) == 120


async def test_register_routing_state_changed(three, publish, pushed, colour, caplog):
    """Both kinds of callbacks are told by push; one that raises is logged, and the others are told all the same."""
    told = []

    def broken(*_):
        raise ValueError("a user's mistake")

    async def later(service, previous, now):
        told.append((str(service), previous[0], now[0]))

    def at_once(service, previous, now):
        told.append((str(service), previous[0], now[0]))

    await pushed.info.routable_pods(NS, SVC)
    pushed.info.register_routing_state_changed(broken)
    pushed.info.register_routing_state_changed(later if colour == "async" else at_once)
    await publish({0: "DENY_NEW_CALL"})
    await until(lambda: told)
    assert told == [("games/room", READY, DENY)]
    assert "broken" in caplog.text
    await publish({0: "READY"})
    await until(lambda: len(told) == 2)
    assert told[1] == ("games/room", DENY, READY)


async def test_on_routing_state_changed(caller, service):
    """What the cache calls; a user may call it, too."""
    told = []
    caller.info.register_routing_state_changed(lambda *args: told.append(args))
    await caller.info.on_routing_state_changed(service, {0: READY}, {0: SHUTDOWN})
    assert told == [(service, {0: READY}, {0: SHUTDOWN})]


async def test_a_coroutine_function_is_no_callback_of_the_synchronous_driver(caller, service, colour, caplog):
    if colour == "async":
        pytest.skip("it is one of the asynchronous driver's")

    async def callback(*_):
        raise AssertionError

    caller.info.register_routing_state_changed(callback)
    await caller.info.on_routing_state_changed(service, {}, {})
    assert "needs the asynchronous driver" in caplog.text


async def test_nobody_is_told_of_what_has_not_changed(three, publish, caller):
    told = []
    await caller.info.routable_pods(NS, SVC)
    caller.info.register_routing_state_changed(lambda *args: told.append(args))
    await publish({0: "READY"}, loads={0: 100})
    await until(lambda: _load(caller) == 100)
    assert told == []


def _load(caller):
    return caller.states.known(route_info.service_of(NS, SVC)).routable.get(0)


async def test_set_global_service_name_tag(caller, monkeypatch):
    monkeypatch.setattr(route_info, "_tags", {})
    caller.info.set_global_service_name_tag("lobby", "room")
    caller.info.set_global_service_name_tag("lobby", "room")
    assert caller.info.get_service_name_by_tag("lobby") == "room"
    with pytest.raises(InvalidArgument, match="stands for the service 'room' already"):
        caller.info.set_global_service_name_tag("lobby", "hall")
    with pytest.raises(InvalidArgument, match="must not be empty"):
        caller.info.set_global_service_name_tag("", "hall")


def test_get_service_name_by_tag(monkeypatch):
    monkeypatch.setattr(route_info, "_tags", {"lobby": "room"})
    assert route_info.get_service_name_by_tag("lobby") == "room"
    assert route_info.get_service_name_by_tag("hall") is None


async def test_it_says_how_old_its_knowledge_is(three, caller):
    assert caller.info.age_seconds(NS, SVC) is None
    await caller.info.routable_pods(NS, SVC)
    assert 0 <= caller.info.age_seconds(NS, SVC) < 5


@pytest.mark.parametrize("pod", [-1, 8192, True, "0"])
async def test_what_is_no_pod_is_refused(caller, pod):
    with pytest.raises(InvalidArgument, match="a pod index is"):
        await caller.info.is_pod_available(NS, SVC, pod)


async def test_without_a_store_it_says_so(connect):
    caller = await connect("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
        await caller.info.routable_pods(NS, SVC)


async def test_a_silenced_driver_tells_nobody(three, publish, pushed):
    told = []
    await pushed.info.routable_pods(NS, SVC)
    pushed.info.register_routing_state_changed(lambda *args: told.append(args))
    await pushed.info.close()
    await publish({0: "DENY_NEW_CALL"})
    await until(lambda: pushed.states.known(route_info.service_of(NS, SVC)).state(0) is DENY)
    assert told == []
