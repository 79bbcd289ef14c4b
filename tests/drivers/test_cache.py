"""Snapshots by period and by push, and what becomes of them when the store or a connection is away; both twins."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from redis.asyncio import Redis

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.drivers.cache import CacheOptions
from stateful_route.drivers.push import Push
from stateful_route.store.keys import Service
from stateful_route.store.migrate import NOBODY, Moved, append_moves
from support.operator_records import record
from support.published import HURRIED
from support.tcp_proxy import TcpProxy
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
PATIENT = CacheOptions(refresh_seconds=600.0)
QUICK = CacheOptions(refresh_seconds=0.3)


class Ear:
    """A listener that remembers."""

    def __init__(self, pods=()):
        self.pods = set(pods)
        self.snapshots, self.moves, self.asked, self.missed = [], [], [], 0

    def changed(self, _service, before, now):
        self.snapshots.append((before, now))

    def concerned(self, _service, source, targets):
        self.asked.append((source, tuple(targets)))
        return bool(self.pods & {source, *targets})

    def moved(self, _service, moves, *, missed):
        self.moves += moves
        self.missed += missed


@pytest.fixture
def write_moves(executor_here, service) -> Callable[..., Awaitable[object]]:
    async def tell(source, *links, reason="Test"):
        await append_moves(await executor_here.store(), service, source, reason, [Moved(*link) for link in links])

    return tell


async def test_a_state_arrives_by_push_alone(publish, pushed, service):
    await publish({0: "READY", 1: "READY"})
    assert set((await pushed.states.snapshot(service)).routable) == {0, 1}
    for word, routable, alive in (("DENY_NEW_CALL", {1}, {0, 1}), ("SHUTDOWN", {1}, {1}), ("READY", {0, 1}, {0, 1})):
        await publish({0: word})
        await until(partial(_sees, pushed.states, service, routable, alive))


async def test_a_state_arrives_by_the_period_alone(publish, connect, server, raw, service):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.3, push=False))
    await publish({0: "READY"})
    await caller.states.snapshot(service)
    await publish({0: "DENY_NEW_CALL", 5: "READY"})
    await until(lambda: set(caller.states.known(service).routable) == {5})
    assert (await raw.pubsub_numsub(service.channel))[0][1] == 0


async def test_what_is_worse_costs_no_round_trip(publish, pushed, service, raw):
    await publish(dict.fromkeys(range(5), "READY"))
    await pushed.states.snapshot(service)
    reads = await _calls(raw, "hgetall")
    await publish(dict.fromkeys(range(5), "DENY_NEW_CALL"))
    await until(lambda: not pushed.states.known(service).routable)
    assert await _calls(raw, "hgetall") == reads


async def test_the_operators_word_arrives_with_what_becomes_of_the_links(operate, pushed, service):
    await operate({0: record(), 1: record()})
    await pushed.states.snapshot(service)
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN), 1: record("DENY_NEW_CALL")})
    await until(lambda: not pushed.states.known(service).routable)
    snapshot = pushed.states.known(service)
    assert (snapshot.alive, snapshot.dead) == ({0, 1}, {0})


async def test_a_message_that_was_missed_is_made_up_for(publish, pushed, service, raw):
    """The message names the entry before; here a change came without a message."""
    await publish({0: "READY", 1: "READY"})
    await pushed.states.snapshot(service)
    state = json.loads(await raw.hget(service.states, "1"))
    await raw.hset(service.states, "1", json.dumps(state | {"routingState": "SHUTDOWN", "app": "SHUTDOWN"}))
    await raw.xadd(service.changes, {"pod": "1", "from": "READY", "to": "SHUTDOWN", "reason": "App"})
    await publish({0: "DENY_NEW_CALL"})
    await until(lambda: pushed.states.known(service).states() == {0: DENY, 1: SHUTDOWN})


async def test_what_a_client_of_another_version_says_is_read(publish, pushed, service, raw):
    await publish({0: "READY"})
    await pushed.states.snapshot(service)
    for message in ("ev", "ev x y", "ev 0-0 1-1 0=WORSE", "mv", "mv 1-1 2-2 a b", "hi 0", "", "new 1 2 3"):
        await raw.hset(service.states, "0", await raw.hget(service.states, "0"))
        await raw.publish(service.channel, message)
    await publish({0: "DENY_NEW_CALL"})
    await until(lambda: pushed.states.known(service).states() == {0: DENY})


async def test_what_becomes_of_the_links_arrives_without_a_change_of_state(operate, pushed, service):
    await operate({0: record("DENY_NEW_CALL"), 1: record("READY")})
    assert (await pushed.states.snapshot(service)).dead == set()
    await operate({0: record("DENY_NEW_CALL", links=LinkAction.DRAIN)})
    await until(lambda: pushed.states.known(service).dead == {0})
    await operate({0: record("DENY_NEW_CALL")})
    await until(lambda: pushed.states.known(service).dead == set())
    await operate({0: record("DENY_NEW_CALL", release=1)})
    await until(lambda: pushed.states.known(service).pods[0].record.release == 1)


async def test_moves_are_read_when_somebody_is_concerned(publish, pushed, service, write_moves, raw):
    await publish({0: "READY"})
    ear = Ear(pods={3})
    pushed.states.listen(ear)
    await pushed.states.snapshot(service)
    await write_moves(1, ("ada", 2, 10), ("bob", 4, 10))
    await until(lambda: ear.asked)
    assert ear.asked == [(1, (2, 4))]
    reads = await _calls(raw, "xrange")
    await write_moves(1, ("eve", 3, 11), ("dan", NOBODY, 12), reason="Released")
    await until(lambda: ear.moves)
    assert [(move.source, move.reason, move.links) for move in ear.moves] == [
        (1, "Released", [Moved("eve", 3, 11), Moved("dan", NOBODY, 12)])
    ]
    assert await _calls(raw, "xrange") == reads + 2  # the reader, and the script that looks at the oldest entry
    pushed.states.unlisten(ear)
    await write_moves(3, ("ada", 3, 13))
    await publish({0: "SHUTDOWN"})
    await until(lambda: not pushed.states.known(service).alive)
    assert len(ear.moves) == 1, "it does not listen any more"


async def test_moves_are_told_by_the_period_alone(publish, connect, server, raw, service, write_moves):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.3, push=False))
    ear = Ear()
    caller.states.listen(ear)
    await write_moves(7, ("before", 1, 1))
    await publish({0: "READY"})
    await caller.states.snapshot(service)
    for number in range(120):
        await write_moves(1, (f"uid-{number}", 2, number))
    await until(lambda: len(ear.moves) == 120)
    assert [move.links[0].uid for move in ear.moves] == [f"uid-{number}" for number in range(120)]
    assert not ear.missed


async def test_moves_that_were_dropped_unread_are_told_as_missed(publish, connect, server, raw, service, write_moves):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.5, push=False))
    ear = Ear()
    caller.states.listen(ear)
    await write_moves(7, ("ada", 1, 1))
    await publish({0: "READY"})
    await caller.states.snapshot(service)
    await write_moves(1, ("bob", 2, 2))
    await write_moves(1, ("eve", 2, 3))
    await raw.xtrim(service.moves, maxlen=1, approximate=False)
    await until(lambda: ear.missed)
    await until(lambda: [move.links[0].uid for move in ear.moves][-1:] == ["eve"])


async def test_one_connection_serves_the_channels_of_all_services(executor_here, pushed, raw):
    services = [Service(NS, f"service-{number}") for number in range(20)]
    for service in services:
        await executor_here.set_service_state(NS, service.name, 0, "READY")
        await pushed.states.snapshot(service)
    assert len(await raw.client_list("pubsub")) == 1
    await executor_here.set_service_state(NS, "service-13", 0, "SHUTDOWN")
    await until(lambda: not pushed.states.known(services[13]).alive)
    assert pushed.states.known(services[12]).alive == {0}


async def test_a_channel_that_is_refused_keeps_no_other_without_push(executor_here, connect, server, raw, caplog):
    """Whoever may not subscribe to one service still hears of the others, also after a lost connection."""
    services = [Service(NS, name) for name in ("forbidden", "room")]
    for service in services:
        await executor_here.set_service_state(NS, service.name, 0, "READY")
    await raw.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"], channels=[services[1].channel]
    )
    try:
        limited = await connect(server.url.replace("://", "://limited:pw@"), PATIENT)
        for service in services:
            await limited.states.snapshot(service)
        for word in ("DENY_NEW_CALL", "READY", "SHUTDOWN"):
            await raw.client_kill_filter(_type="pubsub")
            await executor_here.set_service_state(NS, "room", 0, word)
            await until(partial(_is, limited.states, services[1], 0, word))
        assert limited.states.known(services[0]).states() == {0: READY}
        assert len([entry for entry in caplog.messages if entry.startswith("no push")]) <= 3, "no line for each attempt"
    finally:
        await raw.acl_deluser("limited")


async def test_a_lost_push_comes_back_and_what_was_missed_is_read(publish, connect, server, raw, service):
    await publish({0: "READY", 1: "READY"})
    caller = await connect(server.url, PATIENT)
    await caller.states.snapshot(service)
    for word in ("DENY_NEW_CALL", "READY", "SHUTDOWN"):
        await raw.client_kill_filter(_type="pubsub")
        await publish({1: word})
        await until(partial(_is, caller.states, service, 1, word))


async def test_who_subscribes_before_the_push_has_mended_itself_is_told_all_the_same(executor_here, raw, service):
    told = []
    push = Push(await executor_here.store(), lambda *_: None, restored=lambda: told.append("restored"))
    assert await push.subscribe(service.channel)
    await push._mending.stop()
    await raw.client_kill_filter(_type="pubsub")
    await until(lambda: not push.complete)
    assert await push._join(service.channel)
    assert await push.subscribe(service.channel)
    await until(lambda: told == ["restored"])
    await push.close()


async def test_a_dead_connection_that_nobody_closed_is_found_out(publish, connect, server, service, raw, monkeypatch):
    """As behind a firewall that has forgotten it."""
    from stateful_route.drivers import push, push_sync

    monkeypatch.setattr(push, "PING_SECONDS", 0.2)
    monkeypatch.setattr(push_sync, "PING_SECONDS", 0.2)
    await publish({0: "READY"})
    async with TcpProxy(server.port) as proxy:
        caller = await connect(f"redis://127.0.0.1:{proxy.port}", PATIENT, HURRIED)
        await caller.states.snapshot(service)
        proxy.lose_all()
        await publish({0: "DENY_NEW_CALL"})
        await until(lambda: caller.states.known(service).state(0) is DENY)


async def test_the_store_stops_and_comes_back_empty(start_server, connect, service):
    running = start_server()
    caller = await connect(running.url, QUICK, HURRIED)
    async with Redis.from_url(running.url) as raw:
        await raw.hset(service.states, "0", '{"state": 1, "routingState": "READY", "updateTime": 1}')
    assert (await caller.states.snapshot(service)).alive == {0}
    running.stop()
    await until(lambda: caller.states.trouble)
    with pytest.raises(StoreUnavailable, match="tried again all the time"):
        await _until_it_raises(lambda: caller.states.snapshot(service))
    assert caller.states.known(service).alive == {0}
    assert caller.states.age_seconds(service) > QUICK.refresh_seconds
    running.start()
    await until(lambda: not caller.states.trouble)
    await until(lambda: caller.states.known(service).states() == {})


async def test_all_pods_that_expire_at_once_count_for_one_period_more(operate, connect, server, service, raw):
    """A fault of publishing, not a mass death; one that is said to be SHUTDOWN is not held."""
    await operate({}, expireSeconds=1)
    now, _ = await raw.time()
    state = json.dumps({"state": 0, "routingState": "READY", "updateTime": (now + 1) * 1000, "app": "READY"})
    await raw.hset(service.states, mapping=dict.fromkeys("012", state))
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.3))
    ear = Ear()
    caller.states.listen(ear)
    assert (await caller.states.snapshot(service)).alive == {0, 1, 2}
    await until(lambda: caller.states.known(service).held)
    await until(lambda: not caller.states.known(service).alive)
    held = [now for _, now in ear.snapshots if now.held]
    assert len(held) == 1
    assert set(held[0].routable) == {0, 1, 2}


async def test_the_operator_being_away_expires_nobody(operate, connect, server, service, raw):
    """Its own entries are not renewed then."""
    await operate({0: record(), 1: record("DENY_NEW_CALL")}, expireSeconds=1)
    states = {pod: json.loads(text) for pod, text in (await raw.hgetall(service.states)).items()}
    await raw.hset(
        service.states, mapping={pod: json.dumps(state | {"updateTime": 1}) for pod, state in states.items()}
    )
    caller = await connect(server.url, QUICK)
    snapshot = await caller.states.snapshot(service)
    assert (snapshot.alive, set(snapshot.routable)) == ({0, 1}, {0})


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_foreign_pods_clock_evicts_nobody(raw, caller, service, hours):
    """What counts is when its record was seen to change."""
    now = (await raw.time())[0] * 1000 + hours * 3_600_000
    await raw.hset(service.states, "0", json.dumps({"state": 1, "routingState": "READY", "updateTime": now}))
    assert set((await caller.states.snapshot(service)).routable) == {0}
    await raw.hset(service.states, "0", json.dumps({"state": 2, "routingState": "READY", "updateTime": now + 1}))
    await until(lambda: caller.states.known(service).routable == {0: 2})


async def test_a_cluster_is_pushed_through_the_node_of_each_channel(cluster, connect, kind):
    services = [Service(NS, f"service-{number}") for number in range(6)]
    caller = await connect(cluster.url, PATIENT)
    pod = await connect(cluster.url, PATIENT)
    for service in services:
        await pod.executor.set_service_state(NS, service.name, 0, "READY")
        await caller.states.snapshot(service)
    for service in services:
        await pod.executor.set_service_state(NS, service.name, 0, "DENY_NEW_CALL")
        await until(partial(_is, caller.states, service, 0, "DENY_NEW_CALL"))


async def test_closed_it_leaves_nothing_behind(publish, connect, server, raw, service, colour):
    await publish({0: "READY"})
    tasks, threads = len(asyncio.all_tasks()), set(threading.enumerate())
    caller = await connect(server.url)
    await caller.client.compute_linked_pod(NS, "ada", SVC)
    caller.info.register_routing_state_changed(lambda *_: None)
    for part in (caller.client, caller.info, caller.states, caller.executor):
        await part.close()
    await until(lambda: len(asyncio.all_tasks()) == tasks)
    left = set(threading.enumerate()) - threads
    assert not [thread for thread in left if thread.name.startswith(("push", "service states", "stateful"))]

    async def lines():
        return len(await raw.client_list("pubsub"))

    assert await lines() == 0


async def _until_it_raises(ask: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            await ask()
            await asyncio.sleep(0.01)


def _sees(states, service: Service, routable: set[int], alive: set[int]) -> bool:
    snapshot = states.known(service)
    return (set(snapshot.routable), set(snapshot.alive)) == (routable, alive)


def _is(states, service: Service, pod: int, word: str) -> bool:
    return states.known(service).state(pod) is RoutingState(word)


async def _calls(raw: Redis, command: str) -> int:
    return (await raw.info("commandstats")).get(f"cmdstat_{command}", {"calls": 0})["calls"]
