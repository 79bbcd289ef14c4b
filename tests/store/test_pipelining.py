"""Many callers of one event loop share round trips, and nothing of one caller's fate but that."""

import asyncio

from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.links import Candidates, get_link, set_link, set_link_if_absent
from stateful_route.store.patience import PatientStore
from stateful_route.store.pipelining import CALLS_PER_TRIP, Pipelining

CALLERS = 300
POD_LIMIT = 8000


async def reads_of_callers(raw) -> int:
    """How often the server has read from its clients, the one that asks left out: a round trip each, or a few."""
    return int((await raw.info("stats"))["total_reads_processed"])


async def link_all(store, service, count, prefix="user"):
    return await asyncio.gather(*(set_link(store, service, f"{prefix}-{n}", n % POD_LIMIT) for n in range(count)))


async def test_each_of_many_callers_gets_its_own_reply(store, service):
    await link_all(store, service, CALLERS)

    async def mixed(number):
        uid = f"user-{number}"
        if number % 3 == 0:
            return (await get_link(store, service, uid)).ordinal
        if number % 3 == 1:
            return (await set_link(store, service, uid, number + 1)).previous
        return (await set_link_if_absent(store, service, uid, number + 2, 60)).ordinal

    assert await asyncio.gather(*map(mixed, range(CALLERS))) == list(range(CALLERS))
    after = await asyncio.gather(*(get_link(store, service, f"user-{n}") for n in range(CALLERS)))
    assert [link.ordinal for link in after] == [n + 1 if n % 3 == 1 else n for n in range(CALLERS)]


async def test_callers_of_one_moment_share_a_few_round_trips(store, service, raw):
    await link_all(store, service, 2)
    before = await reads_of_callers(raw)
    await link_all(store, service, CALLERS)
    shared = await reads_of_callers(raw) - before
    assert shared < CALLERS / 10


async def test_many_callers_use_two_connections(store, service, raw):
    await link_all(store, service, CALLERS)
    assert len(await raw.client_list()) - 1 <= 3  # two trips, and the first caller's


async def test_on_a_cluster_callers_share_round_trips_and_get_their_own_replies(cluster, service, connect):
    store = connect(cluster.url)
    await link_all(store, service, 3)
    before = [node.info("stats")["total_reads_processed"] for node in cluster.nodes]
    await link_all(store, service, CALLERS)
    after = [node.info("stats")["total_reads_processed"] for node in cluster.nodes]
    assert sum(after) - sum(before) < CALLERS / 2  # the nodes' own talk among each other is read, too
    found = await asyncio.gather(*(get_link(store, service, f"user-{n}") for n in range(CALLERS)))
    assert [link.ordinal for link in found] == list(range(CALLERS))


async def test_a_cancelled_caller_disturbs_no_other(store, service):
    tasks = [asyncio.create_task(set_link(store, service, f"user-{n}", n)) for n in range(CALLERS)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    for number, reply in enumerate(replies):
        if number % 3 == 0:
            assert isinstance(reply, asyncio.CancelledError)
        else:
            assert reply.previous is None
            assert (await get_link(store, service, f"user-{number}")).ordinal == number
    assert not _tasks_of_pipelining()


async def test_a_call_that_was_sent_is_carried_out_although_its_caller_was_cancelled(
    store, service, server, eventually
):
    await link_all(store, service, 2)
    server.pause()
    tasks = [asyncio.create_task(set_link(store, service, f"user-{n}", n)) for n in range(20)]
    try:
        await eventually(lambda: _is_true(_sent_in_trips(store) == 19))  # the first one goes alone, at once
        tasks[10].cancel()
    finally:
        server.resume()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(replies[10], asyncio.CancelledError)
    assert not any(isinstance(reply, Exception) for reply in replies)
    assert (await get_link(store, service, "user-10")).ordinal == 10


async def test_a_callers_own_error_leaves_the_others_alone(store, service, raw):
    await raw.set(service.link("user-7"), "no pod")
    replies = await asyncio.gather(
        *(set_link_if_absent(store, service, f"user-{n}", n, 60) for n in range(50)), return_exceptions=True
    )
    failed = [number for number, reply in enumerate(replies) if isinstance(reply, Exception)]
    assert failed == [7]
    assert isinstance(replies[7], StoreRejected)
    assert "FOREIGN" in str(replies[7])


async def test_scripts_that_are_lost_meanwhile_are_sent_again_and_each_caller_is_answered(store, service, raw):
    done = asyncio.Event()

    async def keep_flushing():
        while not done.is_set():
            await raw.script_flush()

    flushing = asyncio.create_task(keep_flushing())
    try:
        for round_number in range(10):
            replies = await link_all(store, service, 64, f"round-{round_number}")
            assert all(reply.previous is None for reply in replies)
    finally:
        done.set()
        await flushing


async def test_a_server_that_ends_meanwhile_fails_who_was_sent_as_maybe_written(
    start_server, service, connect, eventually
):
    server = start_server()
    store = connect(server.url, timeout_seconds=5)
    await link_all(store, service, 2)
    server.pause()
    tasks = [asyncio.create_task(set_link(store, service, f"user-{n}", n)) for n in range(CALLERS)]
    reading = [asyncio.create_task(get_link(store, service, f"user-{n}")) for n in range(20)]
    await eventually(lambda: _is_true(_sent_in_trips(store) >= 20))
    server.kill()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(reply, StoreUnavailable) for reply in replies)
    assert any(reply.maybe_written for reply in replies)
    reads = await asyncio.gather(*reading, return_exceptions=True)
    assert all(isinstance(reply, StoreUnavailable) and not reply.maybe_written for reply in reads)
    refused = await asyncio.gather(
        *(set_link(store, service, f"user-{n}", n) for n in range(20)), return_exceptions=True
    )
    assert all(isinstance(reply, StoreUnavailable) and not reply.maybe_written for reply in refused)
    server.start()
    assert len(await link_all(store, service, 40)) == 40
    assert not _tasks_of_pipelining()


async def test_each_caller_has_its_own_deadline(start_server, service):
    server = start_server()
    impatient = PatientStore.over(Store.from_url(server.url, StoreOptions(timeout_seconds=10, deadline_seconds=1)))
    await link_all(impatient, service, 2)
    server.pause()
    replies = await asyncio.gather(
        *(set_link(impatient, service, f"user-{n}", n) for n in range(50)), return_exceptions=True
    )
    assert all(isinstance(reply, StoreUnavailable) for reply in replies)
    assert "within 1 s" in str(replies[20])
    server.resume()
    assert len(await link_all(impatient, service, 50)) == 50
    await impatient.close()


async def test_the_operations_of_the_executor_share_round_trips(server, raw, service):
    async with StatefulExecutor.from_url(server.url) as executor:
        candidates = Candidates(dict.fromkeys(range(5), 0))
        names = service.namespace, service.name

        async def compute(number):
            return await executor.compute_linked_pod_if_absent(names[0], f"u{number}", names[1], candidates, 60)

        await compute(0)
        before = await reads_of_callers(raw)
        assert set(await asyncio.gather(*map(compute, range(CALLERS)))) <= set(range(5))
        assert await reads_of_callers(raw) - before < CALLERS / 10
    assert not _tasks_of_pipelining()


async def test_nothing_runs_when_nobody_waits_and_after_closing(store, service):
    await link_all(store, service, CALLERS)
    assert not _tasks_of_pipelining()
    tasks = [asyncio.create_task(set_link(store, service, f"user-{n}", n)) for n in range(CALLERS)]
    await asyncio.sleep(0)
    await store.close()
    assert not _tasks_of_pipelining()
    await asyncio.wait(tasks, timeout=60)
    for task in tasks:
        error = task.exception()
        assert error is None or (isinstance(error, StoreUnavailable) and not error.maybe_written)
    assert any(task.exception() for task in tasks)
    assert len(await link_all(store, service, 40)) == 40


async def test_a_trip_is_bounded():
    sizes = []

    async def send(calls):
        sizes.append(len(calls))
        await asyncio.sleep(0)
        return list(calls)

    pipelining = Pipelining(send, 10, lambda _call, _sent: StoreUnavailable("late", maybe_written=False))
    asked = list(range(3 * CALLS_PER_TRIP))
    assert await asyncio.gather(*(pipelining.run(number) for number in asked)) == asked
    assert max(sizes) <= CALLS_PER_TRIP
    assert len(sizes) < 10


async def test_a_lone_caller_needs_no_task(store, service):
    await link_all(store, service, 2)
    running = asyncio.create_task(set_link(store, service, "user-1", 1))
    await asyncio.sleep(0)
    assert not _tasks_of_pipelining()
    await running


def _tasks_of_pipelining():
    return [task for task in asyncio.all_tasks() if "Pipelining" in repr(task.get_coro())]


def _sent_in_trips(store):
    """How many calls have been taken along by trips that are under way."""
    trips = [trip for one in store._shared.values() for trip in one._trips if isinstance(trip, asyncio.Task)]
    return sum(len(trip.get_coro().cr_frame.f_locals["taken"]) for trip in trips)


async def _is_true(value):
    return value
