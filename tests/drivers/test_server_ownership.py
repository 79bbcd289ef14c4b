"""Which uids a pod owns: from memory, by push, by comparing with the store, and when the store was away; both twins."""

import asyncio
import inspect
import threading

import pytest

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers import cache, cache_sync
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.migrate import Batch, Moved, append_moves, migrate
from stateful_route.store.states import claim
from support.operator_records import record
from support.pod_drivers import PATIENT, SILENT
from support.published import HURRIED
from support.tcp_proxy import TcpProxy
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
ME, OTHER = 2, 5
UIDS = [f"uid-{number}" for number in range(700)]
"""More than fit into one round trip of a comparison."""


@pytest.fixture
def move(executor_here, service):
    """Move links off a pod as the operator does, and tell all who listen; ``told=False``: nobody."""

    async def moved(uids, source, target, *, told=True):
        store = await executor_here.store()
        batches = [Batch(service.bucket(uid), [uid], [target]) for uid in uids]
        results = await migrate(store, service, source, batches)
        links = [link for result in results for link in result.moved]
        assert len(links) == len(uids)
        if told:
            await append_moves(store, service, source, "Test", links)
        return links

    return moved


async def take(pod, *uids):
    for uid in uids:
        await pod.server.set_linked_pod(uid)


async def take_many(pod, uids):
    await asyncio.gather(*(pod.server.set_linked_pod(uid) for uid in uids))


# The token and the fence


async def test_token_is_the_epoch_of_the_link(start_pod, executor_here):
    pod = await start_pod(ME)
    await take(pod, "ada")
    assert pod.server.token("ada") == (await executor_here.get_link(NS, "ada", SVC)).epoch
    assert pod.server.token("nobody") is None


async def test_is_owner_asks_the_store(start_pod, executor_here):
    pod = await start_pod(ME, known=SILENT)
    await take(pod, "ada")
    assert await pod.server.is_owner("ada")
    assert not await pod.server.is_owner("nobody")
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    assert not await pod.server.is_owner("ada"), "nobody has told the pod"


async def test_a_pod_that_the_fence_has_refused_looks_what_has_happened(start_pod, executor_here):
    pod = await start_pod(ME, known=SILENT)
    await take(pod, "ada")
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    await pod.server.is_owner("ada")
    await until(lambda: pod.told.moved == [("ada", OTHER)])
    assert not pod.server.owns("ada")


# By push


async def test_what_is_moved_off_is_told_at_once(start_pod, move):
    pod = await start_pod(ME, known=PATIENT)
    await take(pod, "ada", "bob")
    await move(["ada"], ME, OTHER)
    await until(lambda: pod.told.moved == [("ada", OTHER)])
    assert not pod.server.owns("ada")
    assert pod.server.owns("bob")
    assert pod.server.stats.moved == 1


async def test_what_is_moved_here_is_told_at_once_and_owned(start_pod, executor_here, move):
    pod = await start_pod(ME, known=PATIENT)
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    [link] = await move(["ada"], OTHER, ME)
    await until(lambda: pod.told.gained == [("ada", OTHER)])
    assert pod.server.owns("ada")
    assert pod.server.token("ada") > link.epoch, "whoever moved it here may have told another life of this pod, too"
    assert await pod.server.is_owner("ada")
    assert pod.server.stats.gained == 1


async def test_what_goes_from_pod_to_pod_is_told_on_both(start_pod, move):
    two, five = await start_pod(ME, known=PATIENT), await start_pod(OTHER, known=PATIENT)
    await take_many(two, UIDS)
    await move(UIDS, ME, OTHER)
    await until(lambda: len(five.told.gained) == len(UIDS) and len(two.told.moved) == len(UIDS))
    assert sorted(five.server.owned()) == sorted(UIDS)
    assert two.server.owned() == []
    assert set(five.told.gained) == {(uid, ME) for uid in UIDS}
    assert set(two.told.moved) == {(uid, OTHER) for uid in UIDS}


async def test_what_another_pod_takes_is_told_at_once(start_pod):
    """By `set_linked_pod`, which asks nobody."""
    two, five = await start_pod(ME, known=PATIENT), await start_pod(OTHER, known=PATIENT)
    await take(two, "ada")
    assert await five.server.set_linked_pod("ada") == ME
    await until(lambda: two.told.moved == [("ada", OTHER)])
    assert not two.server.owns("ada")
    assert five.server.owns("ada")
    assert five.told.gained == [], "it has asked for it"


async def test_what_comes_back_is_told_as_gained(start_pod, move):
    pod = await start_pod(ME, known=PATIENT)
    await take(pod, "ada")
    before = pod.server.token("ada")
    await move(["ada"], ME, OTHER)
    await move(["ada"], OTHER, ME)
    await until(lambda: pod.told.gained and pod.server.owns("ada"))
    assert pod.told.gained in ([("ada", OTHER)], [("ada", ME)]), "the latter while the app is still being told the loss"
    assert pod.server.token("ada") > before


async def test_the_uids_of_an_earlier_life_are_told_as_gained_from_the_pod_itself(start_pod, executor_here, move):
    """Policy Keep: the operator lets them stay and raises their epochs."""
    await executor_here.set_linked_pod(NS, "ada", SVC, ME)
    pod = await start_pod(ME, known=PATIENT)
    assert not pod.server.owns("ada")
    await move(["ada"], ME, ME)
    await until(lambda: pod.told.gained == [("ada", ME)])
    assert pod.server.owns("ada")


async def test_moves_between_other_pods_are_not_read(start_pod, executor_here, move, monkeypatch):
    reads = []
    for module in (cache, cache_sync):

        def counted(*args, read=module.read_moves):
            reads.append(args)
            return read(*args)

        monkeypatch.setattr(module, "read_moves", counted)
    pod = await start_pod(ME, known=PATIENT)
    await executor_here.set_linked_pod(NS, "ada", SVC, 7)
    before = pod.states.moves_seen(Service(NS, SVC))
    await move(["ada"], 7, OTHER)
    await until(lambda: pod.states.moves_seen(Service(NS, SVC)) != before)
    assert reads == []
    await take(pod, "bob")
    await move(["bob"], ME, OTHER)
    await until(lambda: pod.told.moved == [("bob", OTHER)])
    assert reads
    assert pod.told.gained == []


async def test_a_message_about_a_link_from_before_changes_nothing(start_pod, executor_here, service):
    pod = await start_pod(ME, known=PATIENT)
    await take(pod, "ada", "bob")
    late = [Moved("ada", OTHER, pod.server.token("ada") - 1), Moved("bob", OTHER, pod.server.token("bob"))]
    await append_moves(await executor_here.store(), service, ME, "Test", late)
    await until(lambda: pod.told.moved == [("bob", OTHER)])
    assert pod.server.owns("ada")


async def test_a_message_about_a_gain_that_is_not_true_any_more_changes_nothing(start_pod, executor_here, service):
    pod = await start_pod(ME, known=PATIENT)
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    await take(pod, "bob")
    told = [Moved("ada", ME, 1), Moved("nobody", ME, 1), Moved("bob", OTHER, 2**40 - 1)]
    store = await executor_here.store()
    await append_moves(store, service, OTHER, "Test", told)
    await until(lambda: pod.told.moved == [("bob", OTHER)])
    await executor_here.set_linked_pod(NS, "true", SVC, ME)
    await append_moves(store, service, OTHER, "Test", [Moved("true", ME, 1)])
    await until(lambda: pod.told.gained)
    assert pod.told.gained == [("true", OTHER)]
    assert pod.server.owned() == ["true"]


async def test_what_is_only_retained_is_not_gained(start_pod, executor_here, service):
    await executor_here.set_linked_pod(NS, "ada", SVC, ME)
    await executor_here.remove_linked_pod(NS, "ada", SVC, 60)
    epoch = (await executor_here.get_link(NS, "ada", SVC)).epoch
    pod = await start_pod(ME, known=PATIENT)
    await executor_here.set_linked_pod(NS, "bob", SVC, ME, 60)
    told = [Moved("ada", ME, epoch), Moved("bob", ME, 1)]
    await append_moves(await executor_here.store(), service, OTHER, "Test", told)
    await until(lambda: pod.told.gained)
    assert pod.told.gained == [("bob", OTHER)]


async def test_a_former_pod_learns_that_it_is_one_before_it_takes_what_is_meant_for_its_successor(
    start_pod, executor_here, operate, move
):
    """It has not noticed the record of its successor (here: is kept from it); the gain itself makes it ask."""
    await operate({ME: record("READY", incarnation=Incarnation("pod-a", 0))})
    former = await start_pod(ME, uid="pod-a", known=PATIENT)
    former.server._upkeep.publisher.is_doubtful = lambda _: False
    await operate({ME: record("READY", incarnation=Incarnation("pod-b", 0))})
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    await move(["ada"], OTHER, ME)
    await until(lambda: former.told.replaced)
    assert former.told.gained == []
    assert not former.server.owns("ada")


# By comparing, each period


@pytest.fixture
async def deaf(start_pod):
    """A pod that hears nothing by push, and compares often."""
    return await start_pod(ME, known=SILENT, update_seconds=0.1)


async def test_without_push_what_was_moved_off_is_found_one_period_later(deaf, move):
    await take_many(deaf, UIDS)
    await move(UIDS[:600], ME, OTHER)
    await until(lambda: len(deaf.told.moved) == 600)
    assert sorted(deaf.server.owned()) == sorted(UIDS[600:])
    assert set(deaf.told.moved) == {(uid, OTHER) for uid in UIDS[:600]}


async def test_without_push_what_was_moved_here_is_found_with_the_next_reading(start_pod, executor_here, move, raw):
    """The states are read each refresh period, and with them the id of the last move."""
    pod = await start_pod(ME, known=CacheOptions(refresh_seconds=0.3, push=False))
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    await move(["ada"], OTHER, ME)
    await until(lambda: pod.told.gained == [("ada", OTHER)])
    assert pod.server.owns("ada")
    assert (await raw.pubsub_numsub(Service(NS, SVC).channel))[0][1] == 0


async def test_what_went_away_and_came_back_unseen_has_a_new_token_and_is_told(deaf, move):
    await take(deaf, "ada", "bob")
    before = deaf.server.token("ada")
    await move(["ada"], ME, OTHER, told=False)
    [link] = await move(["ada"], OTHER, ME, told=False)
    await until(lambda: deaf.told.gained == [("ada", ME)])
    assert deaf.server.token("ada") > link.epoch > before
    await until(lambda: deaf.server.owns("ada"))
    assert deaf.told.moved == []


async def test_what_the_store_has_lost_is_asserted_again_and_counted(deaf, executor_here, raw):
    await take_many(deaf, UIDS)
    tokens = {uid: deaf.server.token(uid) for uid in UIDS}
    await raw.flushall()
    await until(lambda: deaf.server.stats.reasserted == len(UIDS))
    found = await executor_here.batch_get_linked_pod(NS, UIDS, SVC)
    assert found == {ME: UIDS}
    assert await executor_here.get_linked_pod_if_persist(NS, UIDS[0], SVC) == ME
    assert all(deaf.server.owns(uid) and deaf.server.token(uid) > tokens[uid] for uid in UIDS)
    assert await deaf.server.is_owner(UIDS[0])
    assert (deaf.told.moved, deaf.told.gained) == ([], [])


async def test_what_another_pod_has_for_good_by_then_is_not_taken_back(deaf, executor_here, raw, service):
    await take(deaf, "ada", "bob")
    async with raw.pipeline(transaction=True) as at_once:
        at_once.flushall().set(service.link("ada"), OTHER)
        await at_once.execute()
    await until(lambda: deaf.server.stats.reasserted == 1)
    await until(lambda: deaf.told.moved == [("ada", OTHER)])
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == OTHER
    assert deaf.server.owned() == ["bob"]


async def test_who_is_quicker_than_the_assertion_wins(start_pod, executor_here, raw, monkeypatch):
    """The link was absent when the pod looked, and another pod's for good when it asserted it again."""
    pod = await start_pod(ME, known=SILENT, update_seconds=0.1)
    await take(pod, "ada")
    comparison = pod.server._upkeep._comparison
    asserting = comparison._assert_again

    async def late(watch, lost):
        if lost:
            await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
        return await asserting(watch, lost)

    def late_sync(watch, lost):
        if lost:
            asyncio.run_coroutine_threadsafe(executor_here.set_linked_pod(NS, "ada", SVC, OTHER), loop).result(5)
        return asserting(watch, lost)

    loop = asyncio.get_running_loop()
    comparison._assert_again = late if asyncio.iscoroutinefunction(asserting) else late_sync
    await raw.flushall()
    await until(lambda: pod.told.moved == [("ada", OTHER)])
    assert pod.server.stats.reasserted == 0
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == OTHER


async def test_a_temporary_link_that_has_expired_is_dropped_and_told(deaf, executor_here, raw, service):
    await take(deaf, "ada")
    await executor_here.set_linked_pod(NS, "ada", SVC, ME, 300)
    compared = deaf.server.stats.compared
    await until(lambda: deaf.server.stats.compared >= compared + 2)
    assert deaf.server.owns("ada")
    await raw.delete(service.link("ada"))  # as its expiry does
    await until(lambda: deaf.told.moved == [("ada", None)])
    assert not deaf.server.owns("ada")
    assert deaf.server.stats.expired == 1
    assert deaf.server.stats.reasserted == 0
    assert not await raw.exists(service.link("ada"))


async def test_what_somebody_else_has_removed_with_a_delay_is_not_asserted_again(deaf, executor_here):
    await take(deaf, "ada")
    await executor_here.remove_linked_pod(NS, "ada", SVC, 60)
    await until(lambda: deaf.told.moved == [("ada", None)])
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == ME, "for late callers"
    assert not deaf.server.owns("ada")


async def test_a_link_without_an_epoch_is_given_one(deaf, executor_here, raw, service):
    """The index was lost, or a foreign client wrote the link anew."""
    await take(deaf, "ada")
    before = deaf.server.token("ada")
    await raw.zrem(service.index(service.bucket("ada")), "ada")
    await until(lambda: deaf.told.gained == [("ada", ME)])
    assert deaf.server.token("ada") > before
    assert await deaf.server.is_owner("ada")
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) == ME


async def test_links_that_the_store_refuses_to_tell_of_hold_up_no_others(deaf, raw, service, executor_here, caplog):
    await take(deaf, "ada", "bob")
    assert service.bucket("ada") != service.bucket("bob")
    index = service.index(service.bucket("ada"))
    await raw.delete(index)
    await raw.set(index, "of another type")
    await executor_here.set_linked_pod(NS, "bob", SVC, OTHER)
    await until(lambda: deaf.told.moved == [("bob", OTHER)])
    assert deaf.server.owns("ada")
    await until(lambda: "1 links of pod 2 of games/room cannot be compared" in caplog.text)


# The store was away, or has lost messages


async def test_when_moves_were_dropped_unread_everything_is_compared_and_the_index_searched(
    start_pod, executor_here, raw, move, service
):
    """The stream of moves does not hold any more what the pod has read last."""
    store = await executor_here.store()
    await append_moves(store, service, 7, "Test", [Moved("nobody", 8, 1)])
    await executor_here.set_linked_pod(NS, "eve", SVC, OTHER)
    pod = await start_pod(ME, known=PATIENT)
    await take(pod, "ada", "bob")
    await move(["ada"], ME, OTHER, told=False)
    await move(["eve"], OTHER, ME, told=False)
    await raw.delete(service.moves)
    await append_moves(store, service, 7, "Test", [Moved("nobody", 8, 1)])
    await until(lambda: pod.told.moved == [("ada", OTHER)] and pod.told.gained == [("eve", None)])
    assert sorted(pod.server.owned()) == ["bob", "eve"]


async def test_what_an_emptied_store_has_lost_is_asserted_again_long_before_the_period(start_pod, raw):
    """The pod reads that its own state is gone."""
    pod = await start_pod(ME)
    await take(pod, "ada")
    await until(lambda: ME in pod.states.known(Service(NS, SVC)).pods)
    await raw.flushall()
    await until(lambda: pod.server.stats.reasserted == 1)
    assert pod.server.owns("ada")
    await until(lambda: pod.server.stats.published >= 2)


@pytest.fixture
async def brief(start_pod, start_server, service):
    """A pod whose states expire after a second, and its own store, which a test may take away."""
    store = start_server()
    async with StatefulExecutor.from_url(store.url) as executor:
        await claim(await executor.store(), service, "test/route", {"heartbeat": "Auto", "expireSeconds": 1})
        pod = await start_pod(ME, url=store.url, store=HURRIED, update_seconds=0.3)
        await until(lambda: pod.server.running)
        yield pod, store, executor


async def test_a_pod_that_can_publish_nothing_for_longer_than_the_expiry_owns_nothing(brief):
    pod, store, _ = brief
    await take(pod, "ada")
    store.pause()
    try:
        await asyncio.sleep(0)
        assert pod.server.owns("ada"), "for as long as the others cannot take it for dead"
        await until(lambda: not pod.server.owns("ada"))
        await until(lambda: pod.told.assumed == 1)
        assert pod.server.token("ada") is not None
        assert pod.server.stats.lapses == 1
        assert pod.told.moved == []
    finally:
        store.resume()


async def test_an_outage_is_told_once_and_so_is_its_end(brief, caplog):
    pod, store, _ = brief
    caplog.set_level("INFO", "stateful_route")
    await take(pod, "ada")
    store.pause()
    try:
        await until(lambda: "cannot be compared" in caplog.text)
        tried = pod.server.stats.failed
        await until(lambda: pod.server.stats.failed >= tried + 3)
    finally:
        store.resume()
    await until(lambda: "the links of pod 2 of games/room are compared again" in caplog.text)
    assert caplog.text.count("the links of pod 2 of games/room cannot be compared") == 1


async def test_when_the_store_is_back_what_has_not_moved_is_owned_again(brief):
    pod, store, executor = brief
    await take(pod, "ada", "bob")
    lives = pod.server._upkeep._holdings.life
    pod.server._upkeep._compare_at += 3600  # it does not wait for its period
    store.pause()
    await until(lambda: pod.told.assumed == 1)
    store.resume()
    await until(lambda: pod.server.owns("ada") and pod.server.owns("bob"))
    assert pod.server._upkeep._holdings.life > lives
    assert (pod.told.assumed, pod.told.moved, pod.told.gained) == (1, [], [])
    assert await executor.get_linked_pod(NS, "ada", SVC) == ME


async def test_when_the_store_is_back_what_has_moved_meanwhile_is_told(start_pod, executor_here, operate, server):
    """The pod is cut off; others see its state expire, and take one of its uids."""
    await operate({}, expireSeconds=2 * HURRIED.deadline_seconds)
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(ME, url=proxy.url, store=HURRIED, update_seconds=0.3)
        await take(pod, "ada", "bob")
        proxy.flowing.clear()
        await until(lambda: pod.told.assumed == 1)
        assert await executor_here.set_linked_pod(NS, "ada", SVC, OTHER) == ME
        assert not pod.server.owns("ada")
        proxy.flowing.set()
        await until(lambda: pod.server.owns("bob"))
        await until(lambda: pod.told.moved == [("ada", OTHER)])
        assert not pod.server.owns("ada")
        assert pod.told.assumed == 1


async def test_a_call_whose_end_is_not_known_is_looked_into(start_pod, executor_here, server):
    """The link was set, and the answer lost: the pod finds out that it owns the uid."""
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(ME, url=proxy.url, store=HURRIED)
        await take(pod, "warm")
        await pod.server.remove_linked_pod("warm", 0)  # the server knows both scripts now

        async def cut(call):
            """The first uid of which the answer was lost: another reply may be cut instead."""
            for number in range(50):
                proxy.cut_replies = 1
                try:
                    await call(f"uid-{number}")
                except StoreUnavailable:
                    return f"uid-{number}"
            return None

        uid = await cut(pod.server.set_linked_pod)
        await until(lambda: pod.told.gained == [(uid, None)])
        assert pod.server.owns(uid)
        proxy.cut_replies = 0
        await take_many(pod, [f"uid-{number}" for number in range(50)])
        uid = await cut(lambda uid: pod.server.remove_linked_pod(uid, 0))
        assert not pod.server.owns(uid)
        await until(lambda: not pod.server._upkeep._comparison.suspects)
        assert await executor_here.get_linked_pod(NS, uid, SVC) is None
        assert not pod.server.owns(uid)


# A Cluster


async def test_on_a_cluster_uids_are_gained_compared_asserted_again_and_given_away(start_pod, cluster, service):
    async with StatefulExecutor.from_url(cluster.url) as executor:
        two = await start_pod(ME, url=cluster.url, known=PATIENT, update_seconds=1)
        five = await start_pod(OTHER, url=cluster.url, known=PATIENT, update_seconds=1)
        uids = UIDS[:50]
        await take_many(two, uids)
        assert await five.server.set_linked_pod(uids[0]) == ME
        await until(lambda: two.told.moved == [(uids[0], OTHER)])
        store = await executor.store()
        [result] = await migrate(store, service, ME, [Batch(service.bucket(uids[1]), [uids[1]], [OTHER])])
        await append_moves(store, service, ME, "Test", result.moved)
        await until(lambda: five.told.gained == [(uids[1], ME)])
        await store.command("DEL", service.link(uids[2]))
        await until(lambda: two.server.stats.reasserted == 1)
        await two.server.stop()
        await five.server.stop()
        assert sorted(two.told.released) == sorted(uids[2:])
        assert await executor.batch_get_linked_pod(NS, uids, SVC) == {}


# The hooks


async def test_a_hook_that_raises_stops_nothing(start_pod, move, caplog):
    heard = []

    def on_moved(uid, to):
        heard.append(uid)
        raise ZeroDivisionError(to)

    pod = await start_pod(ME, known=PATIENT, hooks={"on_moved": on_moved})
    await take(pod, "ada", "bob")
    await move(["ada"], ME, OTHER)
    await move(["bob"], ME, OTHER)
    await until(lambda: heard == ["ada", "bob"] and caplog.text.count("ZeroDivisionError: ") == 2)


async def test_a_hook_that_takes_its_time_holds_up_neither_publishing_nor_ownership_nor_other_uids(start_pod, move):
    going_on, heard = threading.Event(), []

    async def slow(uid, to):
        heard.append((uid, to))
        if uid == "ada":
            await until(going_on.is_set)

    def slow_sync(uid, to):
        heard.append((uid, to))
        if uid == "ada":
            going_on.wait(60)

    pod = await start_pod(ME, known=PATIENT, update_seconds=0.1)
    plain = not inspect.iscoroutinefunction(getattr(pod.server, "_twin", pod.server).start)
    pod.server._pod.telling._hooks = pod.told.hooks(on_moved=slow_sync if plain else slow)
    await take(pod, "ada", "bob")
    await move(["ada"], ME, OTHER)
    await until(lambda: heard == [("ada", OTHER)])
    before = pod.server.stats.published
    await move(["bob"], ME, OTHER)
    await until(lambda: not pod.server.owns("bob") and pod.server.stats.published > before + 2)
    await until(lambda: heard == [("ada", OTHER), ("bob", OTHER)])
    await move(["ada"], OTHER, ME)
    await until(lambda: pod.server.is_in_transit("ada"))
    assert pod.told.gained == [], "those of one uid are called one after the other"
    going_on.set()
    await until(lambda: pod.server.owns("ada"))


async def test_a_hook_may_stop_the_driver(make_pod, operate, colour):
    ended = []

    async def stop():
        await pod.server.stop()
        ended.append(True)

    def stop_sync():
        pod.server._twin.stop()
        ended.append(True)

    await operate({ME: record("READY", incarnation=Incarnation("pod-a", 0))})
    pod = make_pod(ME, uid="pod-a", hooks={"on_replaced": stop if colour == "async" else stop_sync})
    await pod.server.start()
    await operate({ME: record("READY", incarnation=Incarnation("pod-b", 0))})
    await until(lambda: ended)
    assert not pod.server.running
