"""What a pod makes of a link that is gone: lost by the store, or moved, removed, purged while it was cut off."""

import asyncio

import pytest

from stateful_route.domain.errors import Replaced
from stateful_route.domain.routing import RoutingState
from stateful_route.store.connection import StoreOptions
from stateful_route.store.index import purge
from stateful_route.store.migrate import Batch, Moved, append_moves, append_purge, migrate
from stateful_route.store.states import claim, get_service_pod, set_operator_states
from support.operator_records import record
from support.pod_drivers import PATIENT, QUICK, SILENT
from support.tcp_proxy import TcpProxy
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
ME, OTHER = 2, 5
BRIEF = StoreOptions(timeout_seconds=0.3, deadline_seconds=0.5)


@pytest.fixture
def move(executor_here, service):
    """Move links off a pod as the operator does; ``told=False``: it dies before it tells."""

    async def moved(uid, source, target, *, told=True):
        store = await executor_here.store()
        [result] = await migrate(store, service, source, [Batch(service.bucket(uid), [uid], [target])])
        assert len(result.moved) == 1
        if told:
            await append_moves(store, service, source, "Test", result.moved)

    return moved


@pytest.fixture
def purged(executor_here, service):
    """Delete all links as the operator does when a StatefulRoute goes with them."""

    async def done():
        await purge(await executor_here.store(), service)

    return done


@pytest.fixture
async def proxy(server):
    """A network between one pod and the store, which can be cut."""
    async with TcpProxy(server.port) as proxy:
        yield proxy


def cut(proxy):
    proxy.refusing = True
    proxy.cut_all()


@pytest.fixture
def cut_off_pod(start_pod, proxy):
    """A pod behind the proxy, which compares often."""

    async def started(**options):
        return await start_pod(ME, url=proxy.url, known=QUICK, store=BRIEF, update_seconds=0.3, **options)

    return started


async def seen_again(pod):
    """The pod has compared everything anew."""
    before = pod.server.stats
    await until(lambda: pod.server.stats.published > before.published and pod.states.trouble is None)


async def test_a_user_who_was_served_elsewhere_and_released_does_not_come_back(
    cut_off_pod, start_pod, proxy, move, executor_here
):
    """The former pod was cut off while its user was moved, accepted and released by the other: it finds no link."""
    pod, other = await cut_off_pod(), await start_pod(OTHER)
    assert await pod.server.accept("ada")
    cut(proxy)
    await move("ada", ME, OTHER)
    assert await other.server.accept("ada")
    await other.server.stop()
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None
    proxy.refusing = False
    await until(lambda: pod.told.moved != [])
    assert not pod.server.owns("ada")
    assert pod.server.stats.reasserted == 0
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_a_move_that_nobody_told_is_seen_by_what_its_new_pod_tells(start_pod, move, executor_here):
    """The operator has died between moving and telling; the new pod releases the user: that is told."""
    pod, other = await start_pod(ME, known=SILENT, update_seconds=50), await start_pod(OTHER, known=PATIENT)
    assert await pod.server.accept("ada")
    await move("ada", ME, OTHER, told=False)
    assert await other.server.accept("ada")
    await other.server.stop()
    assert not await pod.server.is_owner("ada")
    await until(lambda: pod.told.moved == [("ada", None)])
    assert pod.server.stats.reasserted == 0
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_where_moves_may_be_missing_the_app_loads_what_is_asserted_anew(cut_off_pod, proxy, raw):
    pod = await cut_off_pod()
    assert await pod.server.accept("ada")
    cut(proxy)
    await raw.flushall()
    proxy.refusing = False
    await until(lambda: pod.server.stats.reasserted == 1)
    await until(lambda: pod.told.gained == [("ada", ME)])
    await until(lambda: pod.server.owns("ada"))
    assert await pod.server.is_owner("ada")


async def test_what_a_connected_pod_sees_lost_is_its_own_as_it_is(start_pod, raw):
    pod = await start_pod(ME, known=QUICK, update_seconds=0.3)
    assert await pod.server.accept("ada")
    await raw.flushall()
    await until(lambda: pod.server.stats.reasserted == 1)
    assert (pod.told.gained, pod.told.moved) == ([], [])


async def test_nobody_is_served_from_old_memory_before_the_app_was_told(cut_off_pod, proxy, raw, colour):
    if colour == "sync":
        pytest.skip("the hook waits in the test's loop")
    told, may_end = asyncio.Event(), asyncio.Event()

    async def load(uid, source):
        told.set()
        await may_end.wait()

    pod = await cut_off_pod(hooks={"on_gained": load})
    assert await pod.server.accept("ada")
    cut(proxy)
    await raw.flushall()
    proxy.refusing = False
    await asyncio.wait_for(told.wait(), 15)
    assert not pod.server.owns("ada")
    assert pod.server.is_in_transit("ada")
    asking = asyncio.create_task(pod.server.accept("ada"))
    await asyncio.sleep(0.05)
    assert not asking.done()
    may_end.set()
    assert await asking


async def test_who_wants_to_hear_only_of_losses_hears_of_one(cut_off_pod, proxy, raw):
    pod = await cut_off_pod(hooks={"on_gained": None})
    assert await pod.server.accept("ada")
    cut(proxy)
    await raw.flushall()
    proxy.refusing = False
    await until(lambda: pod.told.moved == [("ada", None)])
    await until(lambda: pod.server.owns("ada"))


@pytest.mark.parametrize("keep_seconds", [0, 60])
async def test_a_removal_by_another_process_is_told_and_not_undone(start_pod, executor_here, keep_seconds):
    pod = await start_pod(ME, known=PATIENT)
    assert await pod.server.accept("ada")
    await executor_here.remove_linked_pod(NS, "ada", SVC, keep_seconds)
    await until(lambda: pod.told.moved == [("ada", None)])
    assert not pod.server.owns("ada")
    assert pod.server.stats.reasserted == 0


async def test_a_purge_is_told_and_not_undone(start_pod, executor_here, purged):
    pod = await start_pod(ME, known=PATIENT)
    assert await pod.server.accept("ada")
    await purged()
    await until(lambda: pod.told.moved == [("ada", None)])
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None
    assert await pod.server.accept("ada"), "she comes back: a new user"


async def test_a_purge_while_the_pod_is_cut_off_is_not_undone(cut_off_pod, proxy, executor_here, purged):
    pod = await cut_off_pod()
    assert await pod.server.accept("ada")
    cut(proxy)
    await purged()
    proxy.refusing = False
    await until(lambda: pod.told.moved == [("ada", None)])
    assert pod.server.stats.reasserted == 0
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_a_purge_does_not_end_what_was_taken_after_it(start_pod, executor_here, service):
    pod = await start_pod(ME, known=PATIENT)
    assert await pod.server.accept("ada")
    token = pod.server.token("ada")
    await append_purge(await executor_here.store(), service, token - 1)
    await append_moves(await executor_here.store(), service, ME, "Test", [])
    await executor_here.set_linked_pod(NS, "eve", SVC, ME)
    await executor_here.remove_linked_pod(NS, "eve", SVC)
    await asyncio.sleep(0.1)
    assert pod.server.owns("ada")


# Two lives of one pod


async def test_after_the_store_was_emptied_a_replaced_pod_is_let_in_by_nobody(start_pod, proxy, raw):
    former = await start_pod(ME, uid="a", url=proxy.url, known=QUICK, store=BRIEF, update_seconds=0.3)
    assert await former.server.accept("ada")
    cut(proxy)
    pod = await start_pod(ME, uid="b", known=QUICK, update_seconds=0.3)
    assert await pod.server.accept("ada")
    await raw.flushall()
    await until(lambda: pod.server.stats.reasserted == 1)
    proxy.refusing = False
    await until(lambda: former.told.replaced == 1)
    with pytest.raises(Replaced):
        await former.server.accept("bob")
    assert await pod.server.is_owner("ada")


async def test_a_former_pod_that_is_quicker_than_its_successor_ends_as_soon_as_that_speaks(start_pod, proxy, raw):
    former = await start_pod(ME, uid="a", url=proxy.url, known=QUICK, store=BRIEF, update_seconds=0.3)
    cut(proxy)
    async with TcpProxy(int(raw.connection_pool.connection_kwargs["port"])) as second:
        pod = await start_pod(ME, uid="b", url=second.url, known=QUICK, store=BRIEF, update_seconds=0.3)
        assert await pod.server.accept("ada")
        cut(second)
        await raw.flushall()
        proxy.refusing = False
        assert await eventually_accepts(former, "ada")
        token = former.server.token("ada")
        second.refusing = False
        await until(lambda: former.told.replaced == 1)
        await until(lambda: pod.server.owns("ada"))
        await until(lambda: pod.server.token("ada") is not None and pod.server.token("ada") > token)
        assert await pod.server.is_owner("ada")
        assert not former.server.owns("ada")


async def eventually_accepts(pod, uid):
    async def accepted():
        try:
            return await pod.server.accept(uid)
        except Exception:  # noqa: BLE001  it is cut off still
            return False

    for _ in range(300):
        if await accepted():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_the_operator_says_again_which_pod_was_replaced(start_pod, executor_here, service, raw):
    store = await executor_here.store()
    await claim(store, service, "cluster/route", {"heartbeat": "Auto"})
    former = await start_pod(ME, uid="a", known=PATIENT, update_seconds=50)
    await raw.flushall()
    await claim(store, service, "cluster/route", {"heartbeat": "Auto"})
    await set_operator_states(store, service, "cluster/route", {ME: record(READY, former=("a",))})
    await until(lambda: former.told.replaced == 1)
    view = await get_service_pod(store, service, ME)
    assert view.record.former == ("a",)


async def test_a_uid_that_no_request_can_name_holds_up_no_others(start_pod, raw, executor_here, service, move):
    """A foreign client's, of bytes that are no text; the operator moves it like any other."""
    pod = await start_pod(ME, known=PATIENT)
    await raw.set(f"sf:{{{NS}:lk:".encode() + b"\xff\xfe}" + SVC.encode(), ME)
    store = await executor_here.store()
    await append_moves(store, service, OTHER, "Test", [Moved("\udcff\udcfe", ME, 1)])
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    await move("ada", OTHER, ME)
    await until(lambda: pod.told.gained == [("ada", OTHER)])
    assert pod.server.owned() == ["ada"]


async def test_a_former_pod_that_finds_another_in_its_place_knows_that_it_was_replaced(start_pod, proxy, raw):
    """The store was emptied before the successor spoke first: nobody has told it of the former one."""
    former = await start_pod(ME, uid="a", url=proxy.url, known=QUICK, store=BRIEF, update_seconds=0.3)
    cut(proxy)
    await raw.flushall()
    pod = await start_pod(ME, uid="b", known=QUICK, update_seconds=0.3)
    proxy.refusing = False
    await until(lambda: former.told.replaced == 1)
    assert await pod.server.accept("ada")


async def test_a_user_who_was_accepted_stays_accepted_when_a_caller_links_her_anew(
    start_pod, executor_here, purged, service
):
    pod = await start_pod(ME, known=SILENT, update_seconds=0.3)
    assert await pod.server.accept("ada")
    await migrate(await executor_here.store(), service, ME, [Batch(service.bucket("ada"), ["ada"], [OTHER])])
    await executor_here.set_linked_pod(NS, "ada", SVC, ME, 60)
    await until(lambda: pod.told.gained == [("ada", ME)])
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) == ME
