"""``placement.maxLinksPerPod`` holds whoever links, at once and whatever has expired; both twins."""

import asyncio
from collections import Counter

import pytest

from stateful_route.domain.errors import NoPodAvailable, StoreUnavailable
from stateful_route.domain.routing import LinkAction
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import count_entries, count_links, recount
from stateful_route.store.keys import Service
from stateful_route.store.migrate import Batch, Outcome, migrate
from stateful_route.store.states import claim, set_operator_states
from support.operator_records import record
from support.published import OWNER, PATIENT
from support.waiting import PATIENCE_SECONDS

NS, SVC = "games", "room"
CALLERS = 20
LIMIT = 5
PODS = (0, 1)
WALKING = StoreOptions(deadline_seconds=PATIENCE_SECONDS)
"""Who finds all pods full waits until the links are counted: on a busy machine that takes some seconds."""


@pytest.fixture
async def limited(publish, operate):
    """Two pods, each of which takes `LIMIT` links; the operator has counted none yet."""
    await publish({0: "READY", 1: "READY"})
    await operate({pod: record("READY") for pod in PODS}, maxLinksPerPod=LIMIT)


async def outcomes(calls):
    """The pods that some calls at once have given, None where all were full."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, NoPodAvailable), answer
            assert "full" in str(answer)
    return [None if isinstance(answer, BaseException) else answer for answer in answers]


async def test_twenty_callers_at_once_fill_the_pods_and_not_one_link_more(limited, connect, server, raw, service):
    callers = [await connect(server.url, PATIENT, WALKING) for _ in range(CALLERS)]
    calls = [
        caller.client.compute_linked_pod(NS, f"user-{place}-{number}", SVC)
        for number in range(3)
        for place, caller in enumerate(callers)
    ]
    assert Counter(await outcomes(calls)) == {0: LIMIT, 1: LIMIT, None: len(calls) - 2 * LIMIT}
    links = [await raw.get(key) for key in await raw.keys(service.link("*"))]
    assert Counter(links) == {"0": LIMIT, "1": LIMIT}


async def test_a_batch_keeps_to_the_limit(limited, pushed, executor_here, service):
    with pytest.raises(NoPodAvailable, match=r"every pod of games/room is full \(placement.maxLinksPerPod: 5\)"):
        await pushed.client.compute_linked_pods(NS, [f"user-{number}" for number in range(30)], SVC)
    assert await count_links(await executor_here.store(), service) == {0: LIMIT, 1: LIMIT}


async def test_who_is_linked_keeps_the_pod_although_it_is_full(limited, pushed):
    uids = [f"user-{number}" for number in range(2 * LIMIT)]
    pods = await pushed.client.compute_linked_pods(NS, uids, SVC)
    with pytest.raises(NoPodAvailable, match="full"):
        await pushed.client.compute_linked_pod(NS, "late", SVC)
    for uid in uids:
        pushed.client.cache_expired(NS, uid, SVC)
    assert await pushed.client.compute_linked_pods(NS, uids, SVC) == pods


async def test_a_link_that_has_expired_makes_room_at_once(limited, pushed, raw, service, eventually):
    await pushed.client.compute_linked_pods(NS, [f"user-{number}" for number in range(2 * LIMIT)], SVC)
    with pytest.raises(NoPodAvailable, match="full"):
        await pushed.client.compute_linked_pod(NS, "late", SVC)
    await pushed.executor.remove_linked_pod(NS, "user-3", SVC, 1)  # retained: it ends by itself

    async def expired():
        return not await raw.exists(service.link("user-3"))

    with pytest.raises(NoPodAvailable, match="full"):
        await pushed.client.compute_linked_pod(NS, "late", SVC)
    await eventually(expired)
    assert await pushed.client.compute_linked_pod(NS, "late", SVC) in PODS


async def test_a_link_that_is_removed_makes_room_at_once(limited, pushed):
    await pushed.client.compute_linked_pods(NS, [f"user-{number}" for number in range(2 * LIMIT)], SVC)
    with pytest.raises(NoPodAvailable, match="full"):
        await pushed.client.compute_linked_pod(NS, "late", SVC)
    left = await pushed.executor.get_linked_pod(NS, "user-3", SVC)
    await pushed.executor.remove_linked_pod(NS, "user-3", SVC)
    assert await pushed.client.compute_linked_pod(NS, "late", SVC) == left


async def test_links_of_before_anybody_counted_are_counted(limited, connect, server, executor_here, service):
    """As after an update of the library, or an archive's import into an empty store."""
    for number in range(LIMIT):
        await executor_here.set_linked_pod(NS, f"old-{number}", SVC, 0)
    callers = [await connect(server.url, PATIENT, WALKING) for _ in range(CALLERS)]
    calls = [caller.client.compute_linked_pod(NS, f"user-{place}", SVC) for place, caller in enumerate(callers)]
    assert Counter(await outcomes(calls)) == {1: LIMIT, None: CALLERS - LIMIT}


async def test_the_limit_holds_after_the_store_was_emptied(limited, connect, server, raw, publish, operate):
    callers = [await connect(server.url, store=WALKING) for _ in range(CALLERS)]
    await callers[0].client.compute_linked_pods(NS, [f"user-{number}" for number in range(LIMIT)], SVC)
    await raw.flushall()
    await publish({0: "READY", 1: "READY"})
    await operate({pod: record("READY") for pod in PODS}, maxLinksPerPod=LIMIT)
    calls = [caller.client.compute_linked_pod(NS, f"later-{place}", SVC) for place, caller in enumerate(callers)]
    assert Counter(await outcomes(calls)) == {0: LIMIT, 1: LIMIT, None: CALLERS - 2 * LIMIT}


async def test_uids_of_a_pod_that_is_left_find_room_or_stay(publish, operate, connect, server, executor_here, service):
    """Callers move them by themselves; who finds no room keeps a pod that drains."""
    await publish({0: "READY", 1: "DENY_NEW_CALL"})
    await operate({0: record("READY"), 1: record("DENY_NEW_CALL", links=LinkAction.DRAIN)}, maxLinksPerPod=LIMIT)
    for number in range(2 * LIMIT):
        await executor_here.set_linked_pod(NS, f"user-{number}", SVC, 1)
    callers = [await connect(server.url, PATIENT, WALKING) for _ in range(2 * LIMIT)]
    calls = [caller.client.compute_linked_pod(NS, f"user-{place}", SVC) for place, caller in enumerate(callers)]
    assert Counter(await outcomes(calls)) == {0: LIMIT, 1: LIMIT}
    assert await count_links(await executor_here.store(), service) == {0: LIMIT, 1: LIMIT}


async def moved_at_once(store, service):
    """Two migrations that both see five free places on pod 2; what moved there, and what stayed for want of room."""
    batches = {source: [] for source in PODS}
    for source in PODS:
        for number in range(LIMIT):
            uid = f"user-{source}-{number}"
            batches[source].append(Batch(service.bucket(uid), [uid], [2]))
    both = await asyncio.gather(*(migrate(store, service, pod, some, None, LIMIT) for pod, some in batches.items()))
    results = [outcome for results in both for result in results for outcome in result.outcomes]
    return Counter(results)


async def test_two_migrations_at_once_do_not_overrun_a_limit(limited, executor_here, service):
    store = await executor_here.store()
    for source in PODS:
        for number in range(LIMIT):
            await executor_here.set_linked_pod(NS, f"user-{source}-{number}", SVC, source)
    assert await recount(store, service)
    assert await moved_at_once(store, service) == {Outcome.MOVED: LIMIT, Outcome.FULL: LIMIT}
    counts = await count_links(store, service)
    assert counts[2] == LIMIT
    assert sum(counts.values()) == 2 * LIMIT
    assert counts == await count_entries(store, service)


@pytest.fixture
async def on_cluster(cluster):
    """A Redis Cluster that is empty, but for two pods that take `LIMIT` links each; the operator's executor."""
    for node in cluster.nodes:
        node.flushall()
    async with StatefulExecutor.from_url(cluster.url) as executor:
        for pod in PODS:
            await executor.set_service_state(NS, SVC, pod, "READY")
        store = await executor.store()
        await claim(store, Service(NS, SVC), OWNER, {"heartbeat": "Auto", "maxLinksPerPod": LIMIT})
        await set_operator_states(store, Service(NS, SVC), OWNER, {pod: record("READY") for pod in PODS})
        assert await recount(store, Service(NS, SVC))  # as an operator does with its first pass
        yield executor


async def test_twenty_callers_of_a_cluster_do_not_overrun_the_limit(on_cluster, cluster, connect, service):
    callers = [await connect(cluster.url, PATIENT, WALKING) for _ in range(CALLERS)]
    calls = [caller.client.compute_linked_pod(NS, f"user-{place}", SVC) for place, caller in enumerate(callers)]
    assert Counter(await outcomes(calls)) == {0: LIMIT, 1: LIMIT, None: CALLERS - 2 * LIMIT}
    store = await on_cluster.store()
    assert await count_links(store, service) == await count_entries(store, service) == {0: LIMIT, 1: LIMIT}


async def test_on_a_cluster_what_leaves_makes_room_at_once(on_cluster, cluster, connect, service, eventually):
    caller = await connect(cluster.url, PATIENT)
    uids = [f"user-{number}" for number in range(2 * LIMIT)]
    pods = await caller.client.compute_linked_pods(NS, uids, SVC)

    async def said(uid):
        """The pod, or "full"; nothing while they are being counted: a walk over a Cluster takes some seconds here."""
        try:
            return str(await caller.client.compute_linked_pod(NS, uid, SVC))
        except NoPodAvailable:
            return "full"
        except StoreUnavailable:
            return None

    assert await eventually(lambda: said("late")) == "full"
    await caller.executor.remove_linked_pod(NS, "user-3", SVC)
    assert await eventually(lambda: said("late")) == str(pods["user-3"])
    await caller.executor.remove_linked_pod(NS, "user-4", SVC, 1)

    async def has_room():
        return await said("later") == str(pods["user-4"])

    await eventually(has_room)


async def test_on_a_cluster_two_migrations_at_once_do_not_overrun_a_limit(on_cluster, service):
    store = await on_cluster.store()
    for source in PODS:
        for number in range(LIMIT):
            await on_cluster.set_linked_pod(NS, f"user-{source}-{number}", SVC, source)
    assert await moved_at_once(store, service) == {Outcome.MOVED: LIMIT, Outcome.FULL: LIMIT}
    counts = await count_links(store, service)
    assert counts[2] == LIMIT
    assert counts == await count_entries(store, service)


async def test_the_turns_of_a_full_pod_are_divided_among_the_others(publish, operate, pushed, executor_here, service):
    await publish(dict.fromkeys(range(4), "READY"))
    await operate({pod: record("READY") for pod in range(4)}, maxLinksPerPod=30)
    for number in range(30):
        await executor_here.set_linked_pod(NS, f"early-{number}", SVC, 0)
    await recount(await executor_here.store(), service)
    for number in range(30):
        await pushed.client.compute_linked_pod(NS, f"user-{number}", SVC)
    counts = await count_links(await executor_here.store(), service)
    assert counts.pop(0) == 30
    assert sum(counts.values()) == 30
    assert max(counts.values()) - min(counts.values()) <= 3, counts
