"""What a process reads of a service again and again: a pod itself, a caller what is new; what must not be missed."""

import asyncio
import json
from uuid import UUID

import pytest
from redis.asyncio import Redis

from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim, get_service, get_service_since, set_state
from support.waiting import until

READY, DENY, SHUTDOWN = RoutingState
PODS = 40
DEAF = CacheOptions(refresh_seconds=0.5, push=False)
SERVICE = Service("games", "room")


@pytest.fixture
async def executor(server, flushed):
    one = StatefulExecutor.from_url(server.url)
    yield one
    await one.close()


@pytest.fixture
async def flushed(server):
    async with Redis.from_url(server.url) as raw:
        await raw.flushall()
        yield raw


@pytest.fixture
async def publish(executor):
    async def say(pods, word=READY, load=0):
        for pod in pods:
            await set_state(await executor.store(), SERVICE, pod, word, load=load, incarnation=str(UUID(int=pod)))

    await say(range(PODS))
    return say


@pytest.fixture
async def cache(executor, publish):
    one = ServiceStateCache(executor, DEAF)
    yield one
    await one.close()


async def sent(raw: Redis) -> int:
    return (await raw.info("stats"))["total_net_output_bytes"]


async def test_nothing_new_is_said_in_a_few_bytes(executor, publish, flushed):
    store = await executor.store()
    everything = await get_service(store, SERVICE)
    before = await sent(flushed)
    news = await get_service_since(store, SERVICE, everything.changes, [])
    assert await sent(flushed) - before < 3000, "of which INFO is the most"
    assert (news.pods, news.changes) == ({}, everything.changes)
    await publish([3], DENY)
    news = await get_service_since(store, SERVICE, everything.changes, [7])
    assert {pod: view.effective for pod, view in news.pods.items()} == {3: DENY, 7: READY}


async def test_who_has_missed_too_much_or_knows_what_the_store_does_not_reads_all(executor, publish, flushed):
    store = await executor.store()
    since = (await get_service(store, SERVICE)).changes
    await publish(range(PODS), DENY)
    await publish(range(PODS), READY)
    assert len((await get_service_since(store, SERVICE, since, [])).pods) == PODS
    await publish(range(PODS), DENY)
    assert await get_service_since(store, SERVICE, since, []) is None, "120 changes"
    await flushed.flushall()
    assert await get_service_since(store, SERVICE, since, []) is None, "it was emptied"
    await publish([0])
    assert await get_service_since(store, SERVICE, since, []) is None, "and others have written since"
    news = await get_service_since(store, SERVICE, "0-0", [5])
    assert (set(news.pods), news.pods[5]) == ({0, 5}, None), "from the beginning; of the other nobody has told"


async def test_a_pod_reads_itself_and_the_one_that_speaks_for_all(cache, publish, flushed):
    await cache.pod_snapshot(SERVICE, 7)
    calls = await _calls(flushed)
    await publish([7], load=5)
    await publish([20], load=6)
    await until(lambda: cache.known(SERVICE).pods[7].state.load == 5)
    assert cache.known(SERVICE).pods[20].state.load == 0, "its load is nobody's business here"
    assert (await _calls(flushed))["hgetall"] - calls["hgetall"] <= 3 * 4, "the configuration alone"


async def test_a_pod_that_has_missed_a_message_finds_it_in_the_stream(cache, publish):
    await cache.pod_snapshot(SERVICE, 7)
    await publish([20], DENY)
    await until(lambda: cache.known(SERVICE).state(20) is DENY)
    await publish([41])
    await until(lambda: 41 in cache.known(SERVICE).routable)


async def test_when_the_pod_that_speaks_for_all_falls_silent_the_next_one_reads_all(cache, publish, executor):
    await claim(await executor.store(), SERVICE, "cluster/route", {"heartbeat": "Auto", "expireSeconds": 2})
    await cache.pod_snapshot(SERVICE, 1)
    await publish([30], load=4)
    async with asyncio.timeout(60):
        while cache.known(SERVICE).pods[30].state.load != 4:
            assert 1 in cache.known(SERVICE).alive
            await publish([1])  # this one lives
            await asyncio.sleep(0.1)
    assert 0 not in cache.known(SERVICE).alive


async def test_who_asks_about_the_others_is_told_what_is_true_now(cache, publish, flushed):
    first = await cache.pod_snapshot(SERVICE, 7)
    await publish([20], load=9)
    await until(lambda: cache.known(SERVICE).read_at > first.read_at + DEAF.refresh_seconds)
    assert cache.known(SERVICE).routable[20] == 0
    assert (await cache.asked(SERVICE)).routable[20] == 9
    await flushed.hset(SERVICE.states, "21", json.dumps({"state": 0, "routingState": "SHUTDOWN", "updateTime": 1}))
    await until(lambda: 21 not in cache.known(SERVICE).alive)


async def test_a_pod_sees_a_store_that_was_emptied(cache, publish, flushed):
    await cache.pod_snapshot(SERVICE, 7)
    await flushed.flushall()
    await until(lambda: not cache.known(SERVICE).pods)
    await publish([7, 9])
    await until(lambda: set(cache.known(SERVICE).routable) == {7, 9})


async def _calls(raw: Redis) -> dict[str, int]:
    stats = await raw.info("commandstats")
    return {name.removeprefix("cmdstat_"): of["calls"] for name, of in stats.items()}
