"""Where 100,000 new uids go: as the strategies promise, whoever asks, and however often the pods are looked at anew."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stateful_route.domain.placement import Strategy
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.client import ClientDriver
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim, set_operator_states
from support.operator_records import record
from support.waiting import eventually, until

NS, SVC = "games", "room"
OWNER = "test/route"
MANY = 100_000
BATCH = 5_000
LOADS = [0, 90, 180, 330, 420, 500, 501, 640, 800, 2000]
"""Six are within the range of 500; the seventh is just beyond it."""
GOOD = range(6)
OFTEN = CacheOptions(refresh_seconds=0.5)
"""Some look at the pods again and again while they place."""
ONCE = CacheOptions(refresh_seconds=600.0, push=False)

PATIENT = StoreOptions(timeout_seconds=20.0, deadline_seconds=30.0)
"""What is asked is where uids go, not how quickly: the machine may be busy."""

Prepare = Callable[..., Awaitable[object]]
Call = Callable[..., ClientDriver]


@pytest.fixture
async def executor(redis_url) -> AsyncIterator[StatefulExecutor]:
    async with StatefulExecutor.from_url(redis_url, PATIENT) as made:
        await (await made.store()).command("FLUSHALL")
        yield made


@pytest.fixture
def pods(executor) -> Prepare:
    """Ten pods with these loads and, as the operator counts them, links: ``pods(loads, links, strategy=…)``."""

    async def prepare(loads, links=(), **config) -> None:
        store, service = await executor.store(), Service(NS, SVC)
        await claim(store, service, OWNER, {"heartbeat": "Auto"} | config)
        for pod, load in enumerate(loads):
            await executor.set_service_state(NS, SVC, pod, "READY", load=load)
        records = {pod: record(count=count) for pod, count in enumerate(links)}
        await set_operator_states(store, service, OWNER, records)

    return prepare


@pytest.fixture
async def caller(executor) -> AsyncIterator[Call]:
    """A calling process's driver, with a snapshot of its own."""
    caches = []

    def connect(options: CacheOptions) -> ClientDriver:
        caches.append(ServiceStateCache(executor, options))
        return ClientDriver(caches[-1])

    yield connect
    for cache in caches:
        await cache.close()


async def placed(driver: ClientDriver, count: int = MANY, prefix: str = "uid") -> Counter[int]:
    """Pod → how many of so many new uids it was given."""
    found: Counter[int] = Counter()
    for start in range(0, count, BATCH):
        uids = [f"{prefix}-{number}" for number in range(start, min(count, start + BATCH))]
        found.update((await driver.compute_linked_pods(NS, uids, SVC)).values())
    return found


async def test_new_uids_go_evenly_to_the_pods_within_the_good_range_and_to_no_other(pods, caller, executor):
    await pods(LOADS)
    found = await placed(caller(OFTEN))
    assert found.keys() == set(GOOD)
    assert max(found.values()) - min(found.values()) <= MANY / len(GOOD) * 0.01
    assert await executor.count_links(NS, SVC) == found


async def test_many_callers_with_the_same_view_are_no_herd_on_the_least_loaded_pod(pods, caller):
    """Each places a few: if they began with the best pod, it would have them all."""
    await pods(LOADS)
    callers = [caller(ONCE) for _ in range(200)]
    found: Counter[int] = Counter()
    for part in await asyncio.gather(*(placed(one, 4, f"of-{number}") for number, one in enumerate(callers))):
        found.update(part)
    assert found.keys() == set(GOOD)
    fair = found.total() / len(GOOD)
    assert all(0.75 * fair < count < 1.25 * fair for count in found.values()), found


async def test_by_weights_each_pod_has_its_share_within_two_per_cent(pods, caller):
    weights = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 10, 6: 0, 7: 1, 8: 1}  # a pod without one counts 1
    await pods(LOADS, strategy=Strategy.WEIGHTED_ROUND_ROBIN, weights=weights)
    found = await placed(caller(OFTEN))
    shares = weights | {9: 1}
    for pod, weight in shares.items():
        assert found[pod] == pytest.approx(MANY * weight / sum(shares.values()), rel=0.02)


async def test_by_connections_all_pods_have_as_many_in_the_end_within_two_per_cent(pods, caller):
    """What the operator has counted, and what was placed since: it counts but seldom, callers look often."""
    links = [0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000]
    await pods(LOADS, links, strategy=Strategy.LEAST_CONNECTIONS)
    found = await placed(caller(OFTEN))
    fair = (sum(links) + MANY) / len(links)
    for pod, count in enumerate(links):
        assert count + found[pod] == pytest.approx(fair, rel=0.02)


async def test_no_pod_is_filled_over_its_limit_between_two_counts(pods, caller):
    links = [900, 500, 500]
    await pods([0, 0, 0], links, strategy=Strategy.LEAST_LOAD, maxLinksPerPod=1_000)
    driver = caller(CacheOptions(refresh_seconds=0.05))
    found: Counter[int] = Counter()
    for number in range(10):
        found.update(await placed(driver, 100, f"part-{number}"))
        await asyncio.sleep(0.06)
    assert found[0] == 100
    assert found[1] == pytest.approx(found[2], abs=5), "they take turns, each time beginning anywhere"


async def test_a_pod_that_denies_gets_nobody_more_of_a_batch_that_is_under_way(pods, caller, executor):
    """A caller that has received it links no new uid there, however many it was asked for before."""
    await pods([0, 0])
    driver = caller(CacheOptions(refresh_seconds=600.0))
    service = Service(NS, SVC)
    batch = asyncio.create_task(driver.compute_linked_pods(NS, [f"uid-{n}" for n in range(20_000)], SVC))
    await eventually(lambda: executor.count_links(NS, SVC), lambda links: links.get(0, 0) >= 1_000, "it is under way")
    await executor.set_service_state(NS, SVC, 0, "DENY_NEW_CALL")
    await until(lambda: driver._states.known(service).state(0) == "DENY_NEW_CALL")
    before = (await executor.count_links(NS, SVC))[0]
    found = Counter((await batch).values())
    assert found.total() == 20_000
    assert found[0] <= before + 1_000, "one trip was under way"
