"""Names of services that nobody has heard of, as a gateway meets them that takes names from requests; both twins."""

import asyncio
import time
from functools import partial

import pytest

from stateful_route.domain.errors import NoPodAvailable
from stateful_route.drivers import cache, cache_sync
from stateful_route.drivers.bounded import NAMES, Bounded
from stateful_route.drivers.cache import CacheOptions
from stateful_route.drivers.link_cache import LinkCache
from stateful_route.store.keys import Service
from support.waiting import eventually, until

NS, SVC = "games", "room"

FORGOTTEN_AFTER_SECONDS = 1.5
"""Long beside the pauses of a busy machine in which nobody asks."""


@pytest.fixture
def forgetful(monkeypatch):
    for module in (cache, cache_sync):
        monkeypatch.setattr(module, "FORGOTTEN_AFTER_SECONDS", FORGOTTEN_AFTER_SECONDS)


async def _refused(caller, name, uid="ada"):
    with pytest.raises(NoPodAvailable):
        await caller.client.compute_linked_pod(NS, uid, name)


async def _commands(raw) -> int:
    return (await raw.info("stats"))["total_commands_processed"]


async def test_names_that_nobody_has_heard_of_cost_nothing_in_the_background(caller, raw, connect, server):
    for number in range(NAMES + 200):
        await _refused(caller, f"no-such-{number}")
    assert await raw.pubsub_channels() == []
    before = await _commands(raw)
    await asyncio.sleep(1.0)
    assert await _commands(raw) - before < 5
    known = [caller.states.known(Service(NS, f"no-such-{number}")) for number in range(NAMES + 200)]
    assert sum(snapshot is not None for snapshot in known) == NAMES
    assert len(caller.client.counts()) == NAMES
    assert caller.states.ages() == {}


async def test_a_name_that_nobody_has_heard_of_is_read_once_in_a_second(caller, raw):
    await _refused(caller, SVC)
    before = await _commands(raw)
    for number in range(100):
        await _refused(caller, SVC, f"uid-{number}")
    assert await _commands(raw) - before < 3 * 2


async def test_a_service_that_appears_is_found_by_the_next_question_and_followed(pushed, publish, service, raw):
    await _refused(pushed, SVC)
    await publish({0: "READY"})

    async def asked():
        try:
            return await pushed.client.compute_linked_pod(NS, "ada", SVC)
        except NoPodAvailable:
            return None

    await eventually(asked, lambda pod: pod == 0, "it is found", seconds=cache.UNKNOWN_SECONDS + 0.5)
    await publish({1: "READY", 0: "DENY_NEW_CALL"})
    await until(lambda: set(pushed.states.known(service).routable) == {1})
    assert (await raw.pubsub_numsub(service.channel))[0][1] == 1


async def test_what_a_process_names_itself_is_followed_before_it_exists(pushed, publish, service):
    await pushed.client.init(NS, SVC)
    await publish({0: "READY"})
    await until(lambda: pushed.states.known(service).alive == {0})


async def test_an_empty_service_that_nobody_asks_about_is_forgotten(forgetful, connect, server, publish, raw, service):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.3))
    await publish({0: "READY"})
    await caller.client.compute_linked_pod(NS, "ada", SVC)
    await asyncio.sleep(1.5 * FORGOTTEN_AFTER_SECONDS)
    assert caller.states.follows(service), "it has a pod"
    await raw.delete(service.states)
    await until(lambda: not caller.states.follows(service))

    async def listeners():
        return (await raw.pubsub_numsub(service.channel))[0][1]

    await eventually(listeners, lambda number: number == 0, "its channel is left")
    await publish({0: "READY"})
    assert await caller.client.compute_linked_pod(NS, "ada", SVC) == 0
    await eventually(listeners, lambda number: number == 1, "its channel is listened to")
    await publish({0: "DENY_NEW_CALL"})
    await until(partial(_denies, caller, service))


async def test_one_that_is_asked_about_or_named_by_the_process_itself_is_not(forgetful, connect, server, publish, raw):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.1))
    for name in ("asked", "named"):
        await caller.executor.set_service_state(NS, name, 0, "READY")
    await caller.client.compute_linked_pod(NS, "ada", "asked")
    await caller.client.init(NS, "named")
    await raw.delete(Service(NS, "asked").states, Service(NS, "named").states)
    ends = time.monotonic() + 2 * FORGOTTEN_AFTER_SECONDS
    while time.monotonic() < ends:
        await asyncio.sleep(0.05)
        await caller.info.alive_pods(NS, "asked")
    assert caller.states.follows(Service(NS, "asked"))
    assert caller.states.follows(Service(NS, "named"))


async def test_an_unknown_name_is_asked_again_when_the_store_was_away(start_server, connect):
    """Nothing is followed, so nothing finds out by itself that the store is back."""
    running = start_server()
    caller = await connect(running.url)
    running.stop()
    with pytest.raises(Exception, match="connect"):
        await caller.client.compute_linked_pod(NS, "ada", SVC)
    running.start()
    await _refused(caller, SVC)


def test_of_a_bounded_dictionary_the_entry_that_was_written_longest_ago_gives_way():
    known: Bounded[str, int] = Bounded(2)
    for name in ("a", "b", "a", "c"):
        known[name] = known.get(name, 0) + 1
    assert dict(known) == {"a": 2, "c": 1}


def test_pods_to_which_no_link_is_cached_any_more_are_forgotten():
    links, services = LinkCache(10), 5 * NAMES
    for number in range(services):
        links.put(Service(NS, f"service-{number}"), "ada", 0, 1e9)
        links.hit((NS, "ada", f"service-{number}"), 0)
    assert len(links._leases) == 10
    assert links.get((NS, "ada", f"service-{services - 1}"), 0) == 0
    assert len(links.hits()) <= NAMES + 10


def _denies(caller, service: Service) -> bool:
    return not caller.states.known(service).routable
