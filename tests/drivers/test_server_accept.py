"""Whom a pod serves: what it may take while it is READY, denies, ends or gives a uid away; both twins."""

import asyncio
import threading
import time

import pytest

from stateful_route.domain.errors import InTransit, StatefulRouteError
from stateful_route.domain.routing import RoutingState
from stateful_route.store.migrate import Batch, append_moves, migrate
from stateful_route.store.moves import read_moves
from stateful_route.store.states import NO_ENTRY, claim, set_operator_states
from support.operator_records import record
from support.pod_drivers import PATIENT, SILENT
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
ME, OTHER = 2, 5


@pytest.fixture
def moves(executor_here, service):
    """All that was told: (from, reason, {uid: to}) of each entry."""

    async def told():
        read = await read_moves(await executor_here.store(), service, NO_ENTRY)
        return [(entry.source, entry.reason, {link.uid: link.to for link in entry.links}) for entry in read.entries]

    return told


class Save:
    """An ``on_release`` that takes until it is told to end, for both twins; what memory held when it began."""

    def __init__(self, colour, memory):
        self.begun, self.end = threading.Event(), threading.Event()
        self.saved = []
        self._colour, self._memory = colour, memory

    @property
    def hook(self):
        return self._wait if self._colour == "async" else self._block

    async def _wait(self, uid):
        value = self._begin(uid)
        while not self.end.is_set():  # noqa: ASYNC110  it is set from another thread, too
            await asyncio.sleep(0.005)  # the event is a thread's
        self.saved.append((uid, value))

    def _block(self, uid):
        value = self._begin(uid)
        self.end.wait(60)
        self.saved.append((uid, value))

    def _begin(self, uid):
        self.begun.set()
        return self._memory.get(uid)


@pytest.fixture
def save(colour):
    save = Save(colour, {})
    yield save
    save.end.set()


# While a uid is given away


async def test_a_uid_that_is_being_saved_is_refused_and_released_once(start_pod, save, executor_here):
    pod = await start_pod(ME, hooks={"on_release": save.hook})
    assert await pod.server.accept("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(save.begun.is_set)
    assert not await pod.server.accept("ada")
    assert pod.server.is_in_transit("ada")
    with pytest.raises(InTransit):
        await pod.server.set_linked_pod("ada")
    with pytest.raises(InTransit):
        await pod.server.try_set_linked_pod("ada")
    save.end.set()
    await stopping
    assert [uid for uid, _ in save.saved] == ["ada"]
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_an_active_user_does_not_keep_a_pod_from_stopping(start_pod, colour, executor_here):
    memory, saved = {"ada": 0}, {}

    async def waiting(uid):
        value = memory[uid]
        await asyncio.sleep(0.1)
        saved[uid] = value

    def blocking(uid):
        value = memory[uid]
        time.sleep(0.1)
        saved[uid] = value

    pod = await start_pod(ME, stop_seconds=20, hooks={"on_release": waiting if colour == "async" else blocking})
    assert await pod.server.accept("ada")
    stopping = asyncio.create_task(pod.server.stop())
    while not stopping.done():
        if pod.server.running and await accepted(pod, "ada"):
            memory["ada"] += 1
        await asyncio.sleep(0.01)
    assert saved == memory
    assert memory["ada"] > 0
    assert pod.server.stats.released == 1
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def accepted(pod, uid):
    try:
        return await pod.server.accept(uid)
    except StatefulRouteError:
        assert not pod.server.running
        return False


async def test_a_save_waits_for_the_requests_that_are_under_way(start_pod, save, colour):
    if colour == "sync":
        pytest.skip("the block of a request runs in one thread: the next test has the synchronous driver")
    pod = await start_pod(ME, hooks={"on_release": save.hook})
    async with pod.server.serving("ada") as mine:
        assert mine
        stopping = asyncio.create_task(pod.server.stop())
        await until(lambda: pod.server.is_in_transit("ada"))
        async with pod.server.serving("ada") as second:
            assert not second
        await asyncio.sleep(0.05)
        assert not save.begun.is_set()
        save._memory["ada"] = "the last change"
    save.end.set()
    await stopping
    assert save.saved == [("ada", "the last change")]


async def test_a_request_in_another_thread_is_waited_for(start_pod, save, colour):
    pod = await start_pod(ME, hooks={"on_release": save.hook})
    assert await pod.server.accept("ada")
    holdings = pod.server._holdings
    assert holdings.begin_request("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: pod.server.is_in_transit("ada"))
    save._memory["ada"] = "the last change"
    holdings.end_request("ada")
    save.end.set()
    await stopping
    assert save.saved == [("ada", "the last change")]


async def test_a_request_that_does_not_end_holds_up_a_save_no_longer_than_it_may(start_pod, save):
    pod = await start_pod(ME, request_seconds=0.1, hooks={"on_release": save.hook})
    assert await pod.server.accept("ada")
    assert pod.server._holdings.begin_request("ada")
    save.end.set()
    await pod.server.stop()
    assert [uid for uid, _ in save.saved] == ["ada"]


async def test_who_has_lost_a_uid_unheard_does_not_save_it(start_pod, executor_here, service):
    pod = await start_pod(ME, known=SILENT)
    assert await pod.server.accept("ada")
    await migrate(await executor_here.store(), service, ME, [Batch(service.bucket("ada"), ["ada"], [OTHER])])
    await pod.server.stop()
    assert pod.told.released == []
    assert pod.told.moved == [("ada", OTHER)]


# While the pod denies, or ends


async def test_a_pod_that_denies_takes_only_who_is_linked_to_it(start_pod, executor_here):
    pod = await start_pod(ME)
    await pod.server.set_routing_state(DENY)
    await executor_here.set_linked_pod(NS, "linked", SVC, ME, 60)
    await executor_here.set_linked_pod(NS, "elsewhere", SVC, OTHER, 60)
    assert await pod.server.accept("linked")
    assert not await pod.server.accept("elsewhere")
    assert not await pod.server.accept("new")
    assert await executor_here.get_linked_pod(NS, "new", SVC) is None
    assert await executor_here.get_linked_pod(NS, "elsewhere", SVC) == OTHER


async def test_a_pod_that_the_operator_denies_takes_nobody_new(start_pod, executor_here, service):
    pod = await start_pod(ME, known=PATIENT)
    await claim(await executor_here.store(), service, "cluster/route", {"heartbeat": "Auto"})
    await set_operator_states(await executor_here.store(), service, "cluster/route", {ME: record(DENY)})
    await until(lambda: pod.server.effective_state is DENY)
    assert not await pod.server.accept("new")


async def test_a_pod_that_is_down_takes_nobody_and_asks_nobody(start_pod, executor_here):
    pod = await start_pod(ME)
    await executor_here.set_linked_pod(NS, "linked", SVC, ME, 60)
    await pod.server.set_routing_state(SHUTDOWN)
    assert not await pod.server.accept("linked")


async def test_nobody_new_is_left_behind_on_a_pod_that_stops(start_pod, executor_here):
    pod = await start_pod(ME, settle_seconds=0.3)
    taken, stopping = [], None
    for number in range(10_000):
        uid = f"new-{number}"
        if stopping is not None and stopping.done():
            break
        if await accepted(pod, uid):
            taken.append(uid)
        if number == 20:
            stopping = asyncio.create_task(pod.server.stop())
        await asyncio.sleep(0.001)
    assert stopping is not None
    await stopping
    assert taken
    assert sorted(pod.told.released) == sorted(taken)
    assert (await executor_here.batch_get_linked_pod(NS, taken, SVC)) == {}


# What is taken, and from whom


async def test_who_loses_a_temporary_link_to_the_pod_is_told(start_pod, executor_here, moves):
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER, 60)
    pod = await start_pod(ME)
    assert await pod.server.accept("ada")
    assert (OTHER, "Taken", {"ada": ME}) in await moves()


async def test_a_temporary_link_that_was_moved_here_becomes_persistent_at_the_first_request(
    start_pod, executor_here, service
):
    pod = await start_pod(ME, known=PATIENT)
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER, 60)
    store = await executor_here.store()
    [result] = await migrate(store, service, OTHER, [Batch(service.bucket("ada"), ["ada"], [ME])])
    await append_moves(store, service, OTHER, "Test", result.moved)
    await until(lambda: pod.told.gained == [("ada", OTHER)])
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) is None
    assert await pod.server.accept("ada")
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) == ME
    assert pod.server.stats.gained == 1, "nobody else has had it in between"


async def test_many_requests_of_one_uid_take_it_once(start_pod, executor_here):
    pod = await start_pod(ME)
    assert all(await asyncio.gather(*(pod.server.accept("ada") for _ in range(20))))
    assert pod.server.token("ada") == (await executor_here.get_link(NS, "ada", SVC)).epoch
    assert pod.told.gained == []


async def test_who_comes_late_is_saved_while_the_save_of_another_hangs(start_pod, executor_here, colour):
    """The hand-over has begun; a caller has linked a user to the pod just before that."""
    hanging, saved = threading.Event(), []

    async def waiting(uid):
        if uid == "ada":
            while not hanging.is_set():  # noqa: ASYNC110  it is set from another thread, too
                await asyncio.sleep(0.005)
        saved.append(uid)

    def blocking(uid):
        if uid == "ada":
            hanging.wait(60)
        saved.append(uid)

    pod = await start_pod(ME, stop_seconds=20, hooks={"on_release": waiting if colour == "async" else blocking})
    assert await pod.server.accept("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: pod.server.is_in_transit("ada"))
    await executor_here.set_linked_pod(NS, "bob", SVC, ME, 60)
    assert await pod.server.accept("bob")
    await until(lambda: saved == ["bob"])
    hanging.set()
    await stopping
    assert saved == ["bob", "ada"]


async def test_a_token_never_falls_below_the_one_that_the_pod_has(start_pod, raw, service, executor_here):
    """The store is emptied, and its clock was set back: only the pod knows how far its epochs had come."""
    await raw.zadd(service.index(service.bucket("ada")), {"": -(2**39)})
    pod = await start_pod(ME, update_seconds=0.3)
    assert await pod.server.accept("ada")
    token = pod.server.token("ada")
    assert token > 2**39
    await raw.flushall()
    await until(lambda: pod.server.stats.reasserted == 1)
    assert pod.server.token("ada") > token
