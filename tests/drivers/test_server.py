"""The operations of the reference's section 6 and what a pod publishes, against a real server; both twins."""

import asyncio
import contextlib
import inspect
import json
from functools import partial

import pytest

from stateful_route.domain.errors import AlreadyRunning, InvalidArgument, NotRunning, Replaced, StoreUnavailable
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers import server, server_sync
from stateful_route.drivers.server_options import ServerOptions
from support.operator_records import record
from support.pod_drivers import PATIENT
from support.published import HURRIED
from support.tcp_proxy import TcpProxy
from support.waiting import always, eventually, until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState


@pytest.fixture
def published(raw, service):
    """A pod's record in the main hash, as a foreign reader sees it; None: there is none."""

    async def state(ordinal=0):
        text = await raw.hget(service.states, str(ordinal))
        return None if text is None else json.loads(text)

    return state


async def word_of(raw, service):
    return await raw.get(service.workload)


# start, stop


async def test_start(start_pod, published):
    """When it returns, the state is published; the pod owns nothing yet."""
    pod = await start_pod(2, uid="pod-a")
    state = await published(2)
    assert (state["routingState"], state["app"], state["inc"]) == ("READY", "READY", "pod-a")
    assert pod.server.running
    assert pod.server.effective_state is READY
    assert pod.server.owned() == []


async def test_start_goes_on_publishing_each_period(start_pod, published):
    pod = await start_pod(update_seconds=0.1)
    first = (await published())["updateTime"]
    await eventually(published, lambda state: state["updateTime"] > first + 200, "it is published again and again")
    assert pod.server.stats.published >= 2


async def test_a_second_start_is_an_error(start_pod):
    pod = await start_pod()
    with pytest.raises(AlreadyRunning, match="pod 0 of games/room"):
        await pod.server.start()


async def test_what_was_stopped_can_be_started_again(start_pod, published):
    pod = await start_pod()
    await pod.server.try_set_linked_pod("ada")
    await pod.server.stop()
    assert (await published())["routingState"] == "SHUTDOWN"
    await pod.server.start()
    assert (await published())["routingState"] == "READY"
    assert not pod.server.owns("ada")
    await pod.server.set_linked_pod("ada")
    assert pod.server.owns("ada")


WRONG = {
    "update_seconds is 60.*expire after 60 s": {"update_seconds": 60},
    "update_seconds is a number of seconds over 0": {"update_seconds": 0},
    "cpu_factor is a number from 0 .* not 1.5": {"cpu_factor": 1.5},
    "cpu_factor is a number from 0 .* not -1": {"cpu_factor": -1},
    "settle_seconds is a number of seconds from 0": {"settle_seconds": -1},
    "stop_seconds is a number of seconds from 0": {"stop_seconds": "5"},
    "releases_at_once is a number from 1": {"releases_at_once": 0},
}


@pytest.mark.parametrize("said", WRONG)
async def test_options_that_make_no_sense_are_refused_at_the_start(said, make_pod, raw, service):
    pod = make_pod(**WRONG[said])
    with pytest.raises(InvalidArgument, match=said):
        await pod.server.start()
    assert not pod.server.running
    assert not await raw.exists(service.states)


async def test_the_update_period_is_held_against_the_services_own_expiry(make_pod, operate):
    await operate({}, expireSeconds=10)
    with pytest.raises(InvalidArgument, match=r"update_seconds is 10, .* expire after 10 s \(health.expireSeconds\)"):
        await make_pod(update_seconds=10).server.start()
    await make_pod(update_seconds=9).server.start()


async def test_an_expiry_that_becomes_shorter_than_the_period_is_kept_to(start_pod, operate, published):
    """The StatefulRoute was changed while the pod ran: it publishes in time all the same."""
    pod = await start_pod(update_seconds=0.8)
    await operate({}, expireSeconds=0.5)
    await until(lambda: pod.states.known(pod.server.identity.target).config.expire_seconds == 0.5)
    before = pod.server.stats.published
    await until(lambda: pod.server.stats.published > before)
    await always(published, lambda _: pod.server.effective_state is READY, "it is published", seconds=0.3)
    before = pod.server.stats.published
    await until(lambda: pod.server.stats.published >= before + 3)
    assert pod.told.assumed <= 1


async def test_a_start_without_a_store_says_so_and_leaves_nothing_running(make_pod, start_server):
    away = start_server()
    away.stop()
    pod = make_pod(url=away.url, store=HURRIED)
    with pytest.raises(StoreUnavailable):
        await pod.server.start()
    assert not pod.server.running
    away.start()
    await pod.server.start()
    assert pod.server.running


async def test_stop(start_pod, published, raw, service):
    """DENY_NEW_CALL, then SHUTDOWN; a second stop does nothing."""
    pod = await start_pod()
    await pod.server.stop()
    assert (await published())["routingState"] == "SHUTDOWN"
    assert not pod.server.running
    changes = [(entry["from"], entry["to"]) for _, entry in await raw.xrange(service.changes)]
    assert changes == [("", "READY"), ("READY", "DENY_NEW_CALL"), ("DENY_NEW_CALL", "SHUTDOWN")]
    await pod.server.stop()
    assert len(await raw.xrange(service.changes)) == 3


async def test_it_waits_between_the_two_until_callers_have_seen_the_first(start_pod, raw, service):
    pod = await start_pod(settle_seconds=0.5)
    await pod.server.stop()
    (_, _), (denied, _), (down, _) = await raw.xrange(service.changes)
    assert int(down.partition("-")[0]) - int(denied.partition("-")[0]) >= 490


async def test_who_denied_long_ago_need_not_wait(start_pod, raw, service):
    pod = await start_pod(settle_seconds=60, stop_seconds=90)
    await pod.server.set_routing_state(DENY)
    pod_clock = pod.server._upkeep.publisher
    pod_clock.denied_at -= 60
    async with asyncio.timeout(50):
        await pod.server.stop()


async def test_two_who_stop_it_wait_for_one_stop(start_pod, raw, service):
    pod = await start_pod(settle_seconds=0.2)
    await asyncio.gather(pod.server.stop(), pod.server.stop())
    assert not pod.server.running
    assert len(await raw.xrange(service.changes)) == 3


async def test_async_with(make_pod, colour, published):
    pod = make_pod()
    if colour == "async":
        async with pod.server as server:
            assert (await published())["routingState"] == "READY"
            assert server is pod.server
    else:
        twin = pod.server._twin

        def story():
            with twin as server:
                assert server.running

        await asyncio.to_thread(story)
    assert (await published())["routingState"] == "SHUTDOWN"


# Load and routing state


async def test_set_load_state(start_pod, published):
    """Published with the next update, as a whole number."""
    pod = await start_pod(update_seconds=0.1)
    pod.server.set_load_state(420.4)
    await eventually(published, lambda state: state["state"] == 420, "the load is published")
    assert pod.server.get_load_state() == 420.4


async def test_get_load_state(make_pod):
    pod = make_pod()
    assert pod.server.get_load_state() == 0
    pod.server.set_load_state(7)
    assert pod.server.get_load_state() == 7
    with pytest.raises(InvalidArgument, match="load"):
        pod.server.set_load_state(float("nan"))
    assert pod.server.get_load_state() == 7


async def test_the_load_is_mixed_with_that_of_the_process(make_pod, published):
    pod = make_pod(cpu_factor=0.25)
    pod.server._upkeep.publisher._process.read = lambda: 400
    pod.server.set_load_state(1000)
    await pod.server.start()
    assert (await published())["state"] == 850


async def test_set_routing_state(start_pod, published):
    """Published at once: the store has it when the call returns, long before the next update."""
    pod = await start_pod()
    await pod.server.set_routing_state(DENY)
    assert (await published())["routingState"] == "DENY_NEW_CALL"
    await pod.server.set_routing_state("READY")
    assert (await published())["routingState"] == "READY"
    with pytest.raises(InvalidArgument, match="READY, DENY_NEW_CALL, SHUTDOWN, not 'CLOSED'"):
        await pod.server.set_routing_state("CLOSED")


async def test_get_routing_state(start_pod, operate):
    """The app's own word, whatever the operator makes of it."""
    await operate({0: record("DENY_NEW_CALL", incarnation=Incarnation("pod-a", 0))})
    pod = await start_pod(uid="pod-a")
    assert pod.server.get_routing_state() is READY
    assert pod.server.effective_state is DENY
    await pod.server.set_routing_state(DENY)
    assert pod.server.get_routing_state() is DENY


async def test_a_word_said_before_the_start_is_the_first_that_is_published(make_pod, published):
    pod = make_pod()
    await pod.server.set_routing_state(DENY)
    assert await published() is None
    await pod.server.start()
    assert (await published())["routingState"] == "DENY_NEW_CALL"


async def test_a_word_that_the_store_did_not_hear_is_published_when_it_is_back(start_pod, start_server):
    store = start_server()
    pod = await start_pod(url=store.url, store=HURRIED)
    store.stop()
    with pytest.raises(StoreUnavailable):
        await pod.server.set_routing_state(DENY)
    assert pod.server.get_routing_state() is DENY
    store.start()
    await until(lambda: pod.server.effective_state is DENY)


async def test_a_state_that_the_store_has_lost_is_published_again_long_before_the_period(start_pod, raw, published):
    pod = await start_pod()
    assert pod.server.stats.published == 1
    await raw.flushall()
    await eventually(published, bool, "it is published again")


async def test_a_store_that_was_away_gets_the_state_soon_after_it_is_back(start_pod, start_server):
    store = start_server()
    pod = await start_pod(url=store.url, store=HURRIED, update_seconds=0.2)
    store.stop()
    await until(lambda: pod.server.stats.failed > 0)
    store.start()
    before = pod.server.stats.published
    await until(lambda: pod.server.stats.published > before)


async def test_after_a_write_whose_end_is_not_known_the_state_is_published_twice(start_pod, server):
    """The lost write may come so late that it brings back an older word; the second one mends that."""
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(url=proxy.url, store=HURRIED)
        while pod.server.stats.failed == 0:  # another reply may be cut instead
            proxy.cut_replies = 1
            with contextlib.suppress(StoreUnavailable):
                await pod.server.set_routing_state(DENY)
        proxy.cut_replies = 0
        before = pod.server.stats.published
        await until(lambda: pod.server.stats.published >= before + 2)


# The workload state


async def test_pod_0_publishes_the_workload_state(start_pod, raw, service):
    pod = await start_pod(0)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 0 says READY")
    await pod.server.set_routing_state(DENY)
    await eventually(lambda: word_of(raw, service), lambda word: word == "DENY_NEW_CALL", "nobody takes new uids")


async def test_other_pods_leave_it_to_pod_0(start_pod, raw, service):
    zero = await start_pod(0)
    assert await zero.server.set_workload_state("MAINTENANCE")
    other = await start_pod(1, update_seconds=0.05)
    before = other.server.stats.published
    await until(lambda: other.server.stats.published > before + 3)
    assert await word_of(raw, service) == "MAINTENANCE"


async def test_one_pod_that_takes_new_uids_makes_the_service_ready(start_pod, raw, service):
    zero, one = await start_pod(0), await start_pod(1)
    await zero.server.set_routing_state(DENY)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 1 takes new uids")
    await one.server.set_routing_state(DENY)
    await eventually(lambda: word_of(raw, service), lambda word: word == "DENY_NEW_CALL", "nobody does")


async def test_while_pod_0_is_away_the_lowest_live_one_publishes_it(start_pod, raw, service):
    """Pod 0 stops; pod 3 says so at once, and pod 5 never."""
    zero, three, five = await start_pod(0), await start_pod(3), await start_pod(5)
    await zero.server.stop()
    await raw.set(service.workload, "stale")
    await three.server.set_routing_state(DENY)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 5 takes new uids")
    await five.server.set_routing_state(DENY)
    await eventually(lambda: word_of(raw, service), lambda word: word == "DENY_NEW_CALL", "pod 3 has said it")


async def test_the_last_pod_leaves_no_ready_service_behind(start_pod, raw, service):
    pod = await start_pod(0)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 0 says READY")
    await pod.server.stop()
    assert await word_of(raw, service) == "SHUTDOWN"


async def test_set_workload_state(start_pod, raw, service):
    """The app's word instead of what the states make of it, until it takes it back."""
    pod = await start_pod(0, update_seconds=0.1)
    assert await pod.server.set_workload_state("MAINTENANCE")
    assert await word_of(raw, service) == "MAINTENANCE"
    before = pod.server.stats.published
    await until(lambda: pod.server.stats.published > before + 2)
    assert await word_of(raw, service) == "MAINTENANCE"
    assert await pod.server.set_workload_state(None)
    assert await word_of(raw, service) == "READY"
    with pytest.raises(InvalidArgument, match="workload state"):
        await pod.server.set_workload_state(" ")


async def test_an_older_word_for_all_never_comes_after_a_newer_one(start_pod, raw, service, colour, monkeypatch):
    if colour == "sync":
        pytest.skip("the store's call is held back in the asynchronous driver: the lock is the same in both")
    pod = await start_pod(0, update_seconds=0.1)
    executor = pod.server._publisher._pod.executor
    held, going_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    write = executor.set_workload_state

    async def held_back(*words):
        if not held.is_set():
            held.set()
            await going_on.wait()
            asyncio.get_running_loop().call_soon(over.set)
        await write(*words)

    monkeypatch.setattr(executor, "set_workload_state", held_back)
    pod.server._publisher._said = None
    await held.wait()
    saying = asyncio.create_task(pod.server.set_workload_state("MAINTENANCE"))
    await asyncio.sleep(0.05)
    going_on.set()
    await over.wait()
    assert await saying
    assert await word_of(raw, service) == "MAINTENANCE"


async def test_set_workload_state_on_a_pod_whose_turn_it_is_not(start_pod, raw, service):
    zero = await start_pod(0)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 0 says READY")
    one = await start_pod(1)
    await until(lambda: 0 in one.states.known(service).alive)
    assert not await one.server.set_workload_state("MAINTENANCE")
    assert await word_of(raw, service) == "READY"
    await zero.server.stop()
    await eventually(lambda: word_of(raw, service), lambda word: word == "MAINTENANCE", "it is pod 1's turn now")


# Links


async def test_set_linked_pod(start_pod, executor_here, raw, service):
    """For good, whoever has it."""
    pod = await start_pod(2)
    assert await pod.server.set_linked_pod("ada") is None
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) == 2
    assert pod.server.owns("ada")
    await executor_here.set_linked_pod(NS, "bob", SVC, 5)
    assert await pod.server.set_linked_pod("bob") == 5
    assert await raw.get(service.link("bob")) == "2"
    assert pod.server.owns("bob")
    assert await pod.server.set_linked_pod("bob") == 2
    assert pod.server.owned() == ["ada", "bob"]


async def test_try_set_linked_pod(start_pod, executor_here):
    """For good, unless another pod has it for good."""
    pod = await start_pod(2)
    await executor_here.set_linked_pod(NS, "ada", SVC, 5)
    await executor_here.set_linked_pod(NS, "bob", SVC, 5, 300)
    assert await pod.server.try_set_linked_pod("ada") == (False, 5)
    assert await pod.server.try_set_linked_pod("bob") == (True, 2)
    assert await pod.server.try_set_linked_pod("eve") == (True, 2)
    assert [pod.server.owns(uid) for uid in ("ada", "bob", "eve")] == [False, True, True]
    assert await executor_here.get_linked_pod_if_persist(NS, "bob", SVC) == 2


async def test_accept(start_pod, executor_here, raw):
    """Its own uids from memory, others unless another pod has them for good."""
    pod = await start_pod(2)
    await executor_here.set_linked_pod(NS, "ada", SVC, 5)
    await executor_here.set_linked_pod(NS, "bob", SVC, 2, 300)
    assert [await pod.server.accept(uid) for uid in ("ada", "bob", "eve")] == [False, True, True]
    assert await executor_here.get_linked_pod_if_persist(NS, "bob", SVC) == 2
    before = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert await pod.server.accept("bob")
    assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


async def test_remove_linked_pod(start_pod, executor_here, raw, service):
    """Late callers find it for 60 seconds, nobody owns it."""
    pod = await start_pod(2)
    await pod.server.set_linked_pod("ada")
    token = pod.server.token("ada")
    assert await pod.server.remove_linked_pod("ada")
    assert not pod.server.owns("ada")
    assert pod.server.token("ada") is None
    assert 55 < await raw.ttl(service.link("ada")) <= 60
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == 2
    assert not await executor_here.is_owner(NS, "ada", SVC, 2, token)
    assert not await pod.server.remove_linked_pod("nobody")


async def test_remove_linked_pod_at_once_and_for_as_long_as_one_wants(start_pod, raw, service):
    pod = await start_pod(2)
    await pod.server.set_linked_pod("ada")
    await pod.server.remove_linked_pod("ada", 0)
    assert not await raw.exists(service.link("ada"))
    await pod.server.set_linked_pod("bob")
    await pod.server.remove_linked_pod("bob", 7)
    assert 5 < await raw.ttl(service.link("bob")) <= 7


async def test_remove_linked_pod_keeps_it_as_long_as_the_service_says(start_pod, operate, raw, service):
    await operate({}, retainAfterRemoveSeconds=600)
    pod = await start_pod(2)
    await pod.server.set_linked_pod("ada")
    await pod.server.remove_linked_pod("ada")
    assert 590 < await raw.ttl(service.link("ada")) <= 600


async def test_remove_linked_pod_with_id(start_pod, executor_here, raw, service):
    """Only what names this pod."""
    pod = await start_pod(2)
    await pod.server.set_linked_pod("ada")
    await executor_here.set_linked_pod(NS, "bob", SVC, 5)
    assert await pod.server.remove_linked_pod_with_id("ada")
    assert not await raw.exists(service.link("ada"))
    assert not pod.server.owns("ada")
    assert not await pod.server.remove_linked_pod_with_id("bob")
    assert await raw.get(service.link("bob")) == "5"
    await pod.server.set_linked_pod("eve")
    assert await pod.server.remove_linked_pod_with_id("eve", 7)
    assert 5 < await raw.ttl(service.link("eve")) <= 7
    assert not pod.server.owns("eve")


async def test_a_removal_that_was_refused_beforehand_changes_nothing(start_pod):
    pod = await start_pod(2)
    await pod.server.set_linked_pod("ada")
    with pytest.raises(InvalidArgument):
        await pod.server.remove_linked_pod("ada", -5)
    assert pod.server.owns("ada")
    with pytest.raises(InvalidArgument):
        await pod.server.remove_linked_pod("{ada}")
    with pytest.raises(InvalidArgument):
        await pod.server.set_linked_pod("")


async def test_a_removal_that_never_reached_the_store_changes_nothing(start_pod, start_server):
    store = start_server()
    pod = await start_pod(2, url=store.url, store=HURRIED)
    await pod.server.set_linked_pod("ada")
    store.stop()
    with pytest.raises(StoreUnavailable) as away:
        await pod.server.remove_linked_pod("ada")
    assert not away.value.maybe_written
    assert pod.server.owns("ada")


LINKING = {
    "set_linked_pod": lambda server: server.set_linked_pod("ada"),
    "try_set_linked_pod": lambda server: server.try_set_linked_pod("ada"),
    "remove_linked_pod": lambda server: server.remove_linked_pod("ada"),
    "remove_linked_pod_with_id": lambda server: server.remove_linked_pod_with_id("ada"),
}


@pytest.mark.parametrize("operation", LINKING)
async def test_a_pod_that_does_not_run_links_nothing(operation, make_pod, raw):
    pod = make_pod()
    with pytest.raises(NotRunning, match="start the driver first"):
        await LINKING[operation](pod.server)
    assert not await raw.keys()
    await pod.server.start()
    await pod.server.stop()
    with pytest.raises(NotRunning):
        await LINKING[operation](pod.server)


# Replaced


@pytest.fixture
def succeed(operate):
    """The operator has seen pod 0's first life, then another pod of that name."""

    async def happened():
        await operate({0: record("READY", incarnation=Incarnation("pod-a", 0))})
        await operate({0: record("READY", incarnation=Incarnation("pod-b", 0))})

    return happened


async def test_a_pod_with_a_successor_learns_it_at_once(start_pod, operate, succeed, published):
    """By push, long before its next update: the operator's record is of another pod."""
    await operate({0: record("READY", incarnation=Incarnation("pod-a", 0))})
    pod = await start_pod(uid="pod-a")
    await pod.server.set_linked_pod("ada")
    await succeed()
    await until(lambda: pod.told.replaced)
    assert not pod.server.owns("ada")
    assert pod.server.token("ada") is None
    assert pod.server.owned() == []
    assert not await pod.server.is_owner("ada")
    assert pod.told.moved == [], "nobody knows where they are"


@pytest.mark.parametrize("operation", LINKING)
async def test_whatever_a_replaced_pod_tries_is_refused(operation, start_pod, succeed, raw):
    pod = await start_pod(uid="pod-a")
    await succeed()
    with pytest.raises(Replaced, match=r"pod 0 of games/room has a successor: pod-a must not publish"):
        await pod.server.set_routing_state(DENY)
    links = sorted(await raw.keys("*lk*"))
    with pytest.raises(Replaced):
        await LINKING[operation](pod.server)
    with pytest.raises(Replaced):
        await pod.server.set_routing_state(READY)
    assert sorted(await raw.keys("*lk*")) == links


async def test_a_replaced_pod_publishes_nothing_more_not_even_its_end(start_pod, succeed, published):
    pod = await start_pod(uid="pod-a", update_seconds=0.1)
    await pod.server.set_linked_pod("ada")
    await succeed()
    await until(lambda: pod.told.replaced)
    successor = await start_pod(uid="pod-b", update_seconds=20)
    seen = await published()
    assert seen["inc"] == "pod-b"
    await pod.server.stop()
    assert await published() == seen
    assert pod.told.replaced == 1
    assert pod.told.released == [], "its state is old: the successor may have a newer one"
    assert pod.server.stats.lapses == 0
    assert successor.server.effective_state is READY


async def test_a_pod_that_was_replaced_before_it_started_does_not_start(make_pod, succeed):
    pod = make_pod(uid="pod-a")
    await succeed()
    with pytest.raises(Replaced):
        await pod.server.start()
    assert not pod.server.running


async def test_a_pod_that_the_operator_has_not_seen_yet_is_no_former_one(start_pod, operate):
    await operate({0: record("READY", incarnation=Incarnation("pod-a", 0))})
    pod = await start_pod(uid="pod-b", update_seconds=0.1)
    before = pod.server.stats.published
    await until(lambda: pod.server.stats.published > before + 2)
    assert pod.told.replaced == 0


# The operator's layer, and the twin


async def test_what_the_operator_makes_of_the_state_is_known_at_once(start_pod, operate):
    pod = await start_pod(uid="pod-a", known=PATIENT)
    for state in (DENY, SHUTDOWN, READY):
        await operate({0: record(state, incarnation=Incarnation("pod-a", 0))})
        await until(lambda state=state: pod.server.effective_state is state)
    assert pod.server.get_routing_state() is READY


async def test_a_pod_that_the_operator_has_shut_down_leaves_the_word_to_others(start_pod, operate, raw, service):
    await operate({0: record("SHUTDOWN", incarnation=Incarnation("pod-a", 0))})
    zero, one = await start_pod(0, uid="pod-a"), await start_pod(1)
    await eventually(lambda: word_of(raw, service), lambda word: word == "READY", "pod 1 takes new uids")
    ask = partial(zero.server.set_workload_state, "MAINTENANCE")
    await eventually(ask, lambda its_turn: not its_turn, "pod 0 has heard of pod 1")
    assert await one.server.set_workload_state("OPEN")
    assert await word_of(raw, service) == "OPEN"


def test_the_twin_has_each_operation_with_the_same_arguments():
    source, twin = (
        {
            name: str(inspect.signature(one)) if callable(one) else "property"
            for name, one in inspect.getmembers(kind)
            if name[0] != "_"
        }
        for kind in (server.ServerDriver, server_sync.ServerDriver)
    )
    assert source == twin
    assert not any(inspect.iscoroutinefunction(getattr(server_sync.ServerDriver, name)) for name in twin)


def test_the_defaults_are_the_references():
    options = ServerOptions()
    assert (options.update_seconds, options.cpu_factor, options.settle_seconds) == (30, 0.5, 5)
