"""Services without an operator: pods and route managers remove what has expired, in small steps."""

import pytest

from stateful_route.drivers import chores as module
from stateful_route.drivers.cache import ServiceStateCache
from stateful_route.drivers.chores import BUCKETS_PER_STEP, Chores
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import count_links
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.links import set_link_call
from stateful_route.store.migrate import MOVES_STREAM_SECONDS
from stateful_route.store.states import claim

SERVICE = Service("games", "room")
STEPS = BUCKETS // BUCKETS_PER_STEP
UIDS = [f"user-{number}" for number in range(300)]


@pytest.fixture
async def cache(server, raw):
    executor = StatefulExecutor.from_url(server.url)
    one = ServiceStateCache(executor)
    yield one
    await one.close()
    await executor.close()


@pytest.fixture
async def store(cache, raw):
    """With links that have expired: the index and the uids' hashes still name them."""
    one = await cache.executor.store()
    await one.run_many([set_link_call(SERVICE, uid, 0, 60) for uid in UIDS])
    await one.run_many([set_link_call(SERVICE, "ada", 0)])
    await raw.delete(*(SERVICE.link(uid) for uid in UIDS))
    return one


async def test_a_round_removes_what_has_expired_and_nothing_else(cache, store, raw):
    chores = Chores(cache, lambda: [SERVICE])
    for _ in range(STEPS + 1):
        assert await chores.step() > 0
    assert await count_links(store, SERVICE) == {0: 1}
    assert await raw.keys(SERVICE.links("*")) == [SERVICE.links("ada")]


async def test_the_first_step_only_rests_and_a_round_takes_its_time(cache, store):
    chores = Chores(cache, lambda: [SERVICE], round_seconds=600)
    assert 0 < await chores.step() < 600 / STEPS
    assert await count_links(store, SERVICE) == {0: 301}
    assert await chores.step() == 600 / STEPS


async def test_an_operators_service_is_left_to_it(cache, store):
    await claim(store, SERVICE, "cluster/route", {"heartbeat": "Auto"})
    chores = Chores(cache, lambda: [SERVICE])
    for _ in range(STEPS + 1):
        await chores.step()
    assert await count_links(store, SERVICE) == {0: 301}


async def test_a_pod_whose_turn_it_is_not_does_nothing(cache, store):
    chores = Chores(cache, list)
    for _ in range(STEPS + 1):
        await chores.step()
    assert await count_links(store, SERVICE) == {0: 301}


async def test_after_trouble_it_goes_on_where_it_was(cache, store, monkeypatch):
    chores = Chores(cache, lambda: [SERVICE])
    for _ in range(STEPS // 2):
        await chores.step()
    real, asked = module.repair_buckets, []

    async def fails_once(store, service, buckets):
        asked.append(buckets.start)
        if len(asked) == 1:
            raise module.StatefulRouteError("away")
        return await real(store, service, buckets)

    monkeypatch.setattr(module, "repair_buckets", fails_once)
    for _ in range(STEPS // 2 + 2):
        await chores.step()
    assert asked[0] == asked[1] > 0
    assert await count_links(store, SERVICE) == {0: 1}


async def test_a_round_lets_the_stream_of_moves_age(cache, store, raw):
    now, _ = await raw.time()
    for number in range(3):
        await raw.xadd(SERVICE.moves, {"from": "0"}, id=f"{(now - MOVES_STREAM_SECONDS - 60) * 1000}-{number}")
    chores = Chores(cache, lambda: [SERVICE])
    for _ in range(STEPS + 1):
        await chores.step()
    assert await raw.xlen(SERVICE.moves) == 1
