"""Users who are held while their connection is open; both twins."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable, NotRunning
from stateful_route.store.migrate import NOBODY, Batch, Moved, append_moves, migrate
from support.operator_records import record
from support.published import HURRIED, PATIENT
from support.waiting import always, eventually, until

NS, SVC = "games", "room"
SECONDS = 2


@asynccontextmanager
async def holding(caller, uid="ada", **options):
    """``async with`` for both twins."""
    held = caller.client.hold(NS, uid, SVC, **options)
    if hasattr(held, "__aenter__"):
        async with held:
            yield held
        return
    await asyncio.to_thread(held.__enter__)
    try:
        yield held
    finally:
        await asyncio.to_thread(held.__exit__, None, None, None)


@pytest.fixture
async def short(operate):
    """Two pods that take new uids; a link lives for a few seconds."""
    await operate({0: record(), 1: record()}, temporaryTTLSeconds=SECONDS)


@pytest.fixture
def at(executor_here):
    """Where the store says that a uid is; None: nowhere."""

    async def pod(uid="ada"):
        return await executor_here.get_linked_pod(NS, uid, SVC)

    return pod


async def test_a_held_users_link_lives_until_it_is_released(short, pushed, executor_here, at):
    async with holding(pushed) as held:
        first = await executor_here.get_link(NS, "ada", SVC)
        assert held.pod == first.ordinal
        await always(at, lambda pod: pod == held.pod, "the link stands", seconds=1.7 * SECONDS)
        assert await executor_here.get_link(NS, "ada", SVC) == first
    await eventually(at, lambda pod: pod is None, "it ends by itself")


async def test_of_many_held_users_each_link_lives(short, pushed, executor_here):
    helds = [pushed.client.hold(NS, f"uid-{number}", SVC) for number in range(300)]
    for held in helds:
        await held.__aenter__() if hasattr(held, "__aenter__") else await asyncio.to_thread(held.__enter__)
    before = (await executor_here.get_links(NS, [held.uid for held in helds], SVC)).all()
    await asyncio.sleep(1.5 * SECONDS)
    assert (await executor_here.get_links(NS, [held.uid for held in helds], SVC)).all() == before


async def test_a_held_user_who_has_moved_is_told(short, pushed, executor_here, service):
    told = []
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    async with holding(pushed, on_moved=lambda uid, pod: told.append((uid, pod))) as held:
        assert held.pod == 0
        store = await executor_here.store()
        (result,) = await migrate(store, service, 0, [Batch(service.bucket("ada"), ["ada"], [1])])
        await append_moves(store, service, 0, "Rebalance", result.moved)
        await until(lambda: told == [("ada", 1)], seconds=1)
        assert held.pod == 1


async def test_a_move_that_was_not_told_is_found_at_the_next_look(short, pushed, executor_here):
    async with holding(pushed) as held:
        other = 1 - held.pod
        await executor_here.set_linked_pod(NS, "ada", SVC, other)
        await until(lambda: held.pod == other)


async def test_a_link_that_the_store_has_lost_is_made_again_to_the_same_pod(short, pushed, raw, service, at):
    async with holding(pushed) as held, holding(pushed, "bob") as other:
        assert {held.pod, other.pod} == {0, 1}
        for _ in range(2):
            for uid in ("ada", "bob"):
                await raw.delete(service.link(uid), service.links(uid), service.index(service.bucket(uid)))
            await eventually(at, lambda pod: pod is not None, "it is linked again")
            assert await at() == held.pod
            await eventually(lambda: at("bob"), lambda pod: pod == other.pod, "so is the other")


async def test_a_lost_link_to_a_pod_that_takes_no_new_uids_is_left_to_a_question(
    short, operate, pushed, raw, service, at
):
    async with holding(pushed) as held:
        first = held.pod
        await operate({first: record("SHUTDOWN")}, temporaryTTLSeconds=SECONDS)
        await until(lambda: first not in pushed.states.known(service).routable)
        await raw.delete(service.link("ada"))
        await always(at, lambda pod: pod is None, "nobody links it", seconds=SECONDS)
        assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1 - first
        assert held.pod == 1 - first, "a question has found it another one"


async def test_the_background_moves_nobody_off_a_dead_pod(short, operate, pushed, service, at):
    async with holding(pushed) as held:
        first = held.pod
        await operate({first: record("SHUTDOWN")}, temporaryTTLSeconds=SECONDS)
        await always(at, lambda pod: pod == first, "the link stands", seconds=SECONDS)


async def test_a_user_whom_its_pod_has_released_is_not_linked_to_it_again(short, pushed, executor_here, service, at):
    async with holding(pushed) as held:
        link = await executor_here.get_link(NS, "ada", SVC)
        await executor_here.remove_linked_pod(NS, "ada", SVC)
        await append_moves(
            await executor_here.store(), service, held.pod, "Released", [Moved("ada", NOBODY, link.epoch)]
        )
        await always(at, lambda pod: pod is None, "nobody links it", seconds=SECONDS)


async def test_one_link_that_cannot_be_renewed_keeps_no_other(short, pushed, raw, service, at):
    async with holding(pushed) as held, holding(pushed, "odd"):
        await raw.set(service.link("odd"), "elsewhere")
        await always(at, lambda pod: pod == held.pod, "the link stands", seconds=1.5 * SECONDS)


async def test_a_callback_that_raises_stops_nothing(short, pushed, executor_here):
    def fails(_uid, _pod):
        raise RuntimeError("not today")

    async with holding(pushed, on_moved=fails) as held:
        for pod in (1 - held.pod, held.pod):
            await executor_here.set_linked_pod(NS, "ada", SVC, pod)
            await until(lambda pod=pod: held.pod == pod)


async def test_a_hold_survives_an_outage(start_server, connect):
    running = start_server()
    caller = await connect(running.url, PATIENT, HURRIED)
    for pod in (0, 1):
        await caller.executor.set_service_state(NS, SVC, pod, "READY")
    await caller.executor.set_linked_pod(NS, "ada", SVC, 1)
    async with holding(caller) as held:
        client = getattr(caller.client, "_twin", caller.client)
        client._holds._due[held.service] = 0
        client._holds._renewing.wake()
        running.pause()
        await asyncio.sleep(1)
        running.resume()
        await until(lambda: not caller.states.trouble)
        await caller.executor.set_linked_pod(NS, "ada", SVC, 0)
        client._holds._due[held.service] = 0
        client._holds._renewing.wake()
        await until(lambda: held.pod == 0)


async def test_a_user_whom_nobody_can_take_is_not_held(publish, pushed, raw):
    await publish({0: "DENY_NEW_CALL"})
    with pytest.raises(NoPodAvailable):
        async with holding(pushed):
            pass
    with pytest.raises(InvalidArgument):
        pushed.client.hold(NS, "", SVC)
    with pytest.raises(NotRunning):
        _ = pushed.client.hold(NS, "ada", SVC).pod


async def test_several_may_hold_a_user_and_nothing_is_left_of_those_who_have_ended(short, pushed, at):
    client = getattr(pushed.client, "_twin", pushed.client)
    async with holding(pushed) as held:
        async with holding(pushed):
            pass
        await always(at, lambda pod: pod == held.pod, "the link stands", seconds=1.5 * SECONDS)
    assert (client._holds._users, client._holds._due) == ({}, {})


async def test_closed_it_holds_nobody(short, pushed):
    threads = set(threading.enumerate())
    await pushed.client.compute_linked_pod(NS, "ada", SVC)
    began = time.monotonic()
    async with holding(pushed, on_moved=print):
        await pushed.client.close()
    assert time.monotonic() - began < 5
    names = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not names & {"held links", "moved callbacks"}
    assert len([task for task in asyncio.all_tasks() if task.get_name() in {"held links", "moved callbacks"}]) == 0
