"""How a pod gives its uids away: when it stops, and when the operator asks for it; both twins, on a real server."""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.drivers import upkeep, upkeep_sync
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.moves import read_moves
from stateful_route.store.states import NO_ENTRY
from support.operator_records import record
from support.pod_drivers import PATIENT, SILENT
from support.published import HURRIED
from support.tcp_proxy import TcpProxy
from support.waiting import always, eventually, until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
ME, OTHER = 2, 5
UIDS = [f"uid-{number}" for number in range(300)]


@pytest.fixture
def soon(monkeypatch):
    """What failed is tried again soon."""
    for module in (upkeep, upkeep_sync):
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)


@pytest.fixture
def moves(executor_here, service):
    """All that callers were told: (from, reason, {uid: to}) of each entry."""

    async def told():
        read = await read_moves(await executor_here.store(), service, NO_ENTRY)
        return [(entry.source, entry.reason, {link.uid: link.to for link in entry.links}) for entry in read.entries]

    return told


async def take_many(pod, uids):
    await asyncio.gather(*(pod.server.set_linked_pod(uid) for uid in uids))


async def links_of(executor, uids):
    """Pod → how many of the uids are linked to it."""
    return {pod: len(linked) for pod, linked in (await executor.batch_get_linked_pod(NS, uids, SVC)).items()}


def hook(colour, work):
    """The same hook for both twins: ``work(uid)`` is a generator that yields where it waits."""

    async def waiting(uid):
        for _ in work(uid):
            await asyncio.sleep(0.002)

    def blocking(uid):
        for _ in work(uid):
            time.sleep(0.002)

    return waiting if colour == "async" else blocking


# Stopping


async def test_a_stop_saves_and_releases_each_uid_once(start_pod, executor_here, raw, moves, service):
    pod = await start_pod(ME)
    await take_many(pod, UIDS)
    await pod.server.stop()
    assert Counter(pod.told.released) == Counter(UIDS)
    assert await links_of(executor_here, UIDS) == {}
    assert await raw.keys("*lk*") == []
    assert pod.server.stats.released == len(UIDS)
    assert pod.told.moved == [], "they have not been lost, the app was told to save them"


async def test_callers_are_told_what_was_released_many_at_a_time(start_pod, moves):
    pod = await start_pod(ME)
    await take_many(pod, UIDS)
    await pod.server.stop()
    told = await moves()
    assert {(source, reason) for source, reason, _ in told} == {(ME, "Released")}
    assert {uid: to for _, _, links in told for uid, to in links.items()} == dict.fromkeys(UIDS, -1)
    assert len(told) < len(UIDS) / 10


async def test_a_caller_that_had_remembered_the_pod_finds_another_one(start_pod, connect, server):
    pod, other = await start_pod(ME, settle_seconds=0.3), await start_pod(OTHER)
    await take_many(pod, UIDS)
    caller = await connect(server.url)
    assert set((await caller.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {ME}
    await pod.server.stop()
    await until(lambda: all(caller.client.get_linked_in_cache(NS, uid, SVC) is None for uid in UIDS))
    assert set((await caller.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {OTHER}
    assert other.server.running


async def test_while_a_uid_is_saved_nobody_is_served_by_it_and_the_save_can_be_fenced(make_pod, executor_here, colour):
    seen = {}

    def note(uid):
        pods = pod.server
        seen[uid] = pods.owns(uid), pods.token(uid)
        yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, note)})
    await pod.server.start()
    await pod.server.set_linked_pod("ada")
    token = pod.server.token("ada")
    await pod.server.stop()
    assert seen == {"ada": (False, token)}


async def test_the_fence_still_holds_while_a_uid_is_saved(make_pod, executor_here, colour):
    owner = []

    async def ask(uid):
        owner.append(await pod.server.is_owner(uid))

    def ask_sync(uid):
        owner.append(pod.server._twin.is_owner(uid))

    pod = make_pod(ME, hooks={"on_release": ask if colour == "async" else ask_sync})
    await pod.server.start()
    await pod.server.set_linked_pod("ada")
    await pod.server.stop()
    assert owner == [True]


async def test_a_uid_that_another_pod_has_meanwhile_is_left_to_it(make_pod, executor_here, colour, moves):
    """It is taken away while it is being saved."""
    taken, saved = asyncio.Event(), threading.Event()

    def save(uid):
        saved.set()
        while not taken.is_set():
            yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)})
    await pod.server.start()
    await pod.server.set_linked_pod("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(saved.is_set)
    await executor_here.set_linked_pod(NS, "ada", SVC, OTHER)
    taken.set()
    await stopping
    assert await executor_here.get_linked_pod_if_persist(NS, "ada", SVC) == OTHER
    assert await moves() == [(ME, "Taken", {"ada": OTHER})]
    assert pod.server.stats.released == 0


async def test_a_save_that_raises_is_tried_three_times_then_the_link_stays(
    make_pod, executor_here, colour, soon, caplog
):
    calls = Counter()

    def save(uid):
        calls[uid] += 1
        if uid == "bad":
            raise ZeroDivisionError(uid)
        yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)})
    await pod.server.start()
    await take_many(pod, ["ada", "bad", "bob"])
    await pod.server.stop()
    assert calls == {"ada": 1, "bad": 3, "bob": 1}
    assert await executor_here.get_linked_pod_if_persist(NS, "bad", SVC) == ME, "it is left to the operator"
    assert await links_of(executor_here, ["ada", "bob"]) == {}
    assert (pod.server.stats.released, pod.server.stats.unsaved) == (2, 3)
    assert "ZeroDivisionError" in caplog.text


async def test_a_save_that_succeeds_at_the_second_attempt_is_good(make_pod, executor_here, colour, soon):
    calls = Counter()

    def save(uid):
        calls[uid] += 1
        if calls[uid] == 1:
            raise ZeroDivisionError(uid)
        yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)})
    await pod.server.start()
    await take_many(pod, ["ada", "bob"])
    await pod.server.stop()
    assert await links_of(executor_here, ["ada", "bob"]) == {}
    assert (pod.server.stats.released, pod.server.stats.unsaved) == (2, 2)


async def test_at_the_deadline_what_is_left_stays_linked(make_pod, executor_here, colour, raw, service):
    """One save hangs, the others had no turn: the pod is down in time all the same."""
    end = threading.Event()

    def save(uid):
        while uid != "uid-0" and not end.is_set():
            yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)}, releases_at_once=1)
    await pod.server.start()
    uids = UIDS[:5]
    for uid in uids:
        await pod.server.set_linked_pod(uid)
    async with asyncio.timeout(20):
        await pod.server.stop(0.6)
    left = await links_of(executor_here, uids)
    assert left[ME] >= 4
    assert json.loads(await raw.hget(service.states, str(ME)))["routingState"] == "SHUTDOWN"
    end.set()
    await always(lambda: links_of(executor_here, uids), lambda now: now == left, "nothing more happens", seconds=0.2)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_so_many_are_saved_at_the_same_time(at_once, make_pod, colour):
    now, most, lock = Counter(), [0], threading.Lock()

    def save(uid):
        with lock:
            now["saving"] += 1
            most[0] = max(most[0], now["saving"])
        yield
        yield
        with lock:
            now["saving"] -= 1

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)}, releases_at_once=at_once)
    await pod.server.start()
    await take_many(pod, UIDS[:30])
    await pod.server.stop()
    assert most == [at_once]
    assert pod.server.stats.released == 30


async def test_without_a_hook_everything_is_released_as_it_is(make_pod, executor_here):
    pod = make_pod(ME, hooks={"on_release": None})
    await pod.server.start()
    await take_many(pod, UIDS)
    await pod.server.stop()
    assert await links_of(executor_here, UIDS) == {}
    assert pod.server.stats.released == len(UIDS)


async def test_what_is_taken_while_the_pod_stops_is_released_too(make_pod, executor_here, colour):
    begun, go = threading.Event(), threading.Event()

    def save(uid):
        begun.set()
        while uid == "ada" and not go.is_set():
            yield

    pod = make_pod(ME, hooks={"on_release": hook(colour, save)})
    await pod.server.start()
    await pod.server.set_linked_pod("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(begun.is_set)
    await pod.server.set_linked_pod("late")
    go.set()
    await stopping
    assert await links_of(executor_here, ["ada", "late"]) == {}


async def test_a_temporary_link_that_the_pod_owns_is_released_too(start_pod, executor_here):
    pod = await start_pod(ME)
    await pod.server.set_linked_pod("ada")
    await executor_here.set_linked_pod(NS, "ada", SVC, ME, 300)
    await pod.server.stop()
    assert pod.told.released == ["ada"]
    assert await executor_here.get_linked_pod(NS, "ada", SVC) is None


async def test_a_store_that_is_away_for_a_moment_gets_the_releases_later(start_pod, executor_here, server, soon):
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(ME, url=proxy.url, store=HURRIED)
        await take_many(pod, UIDS[:20])
        proxy.flowing.clear()
        stopping = asyncio.create_task(pod.server.stop(10))
        await until(lambda: len(pod.told.released) == 20)
        assert await links_of(executor_here, UIDS[:20]) == {ME: 20}
        proxy.flowing.set()
        await stopping
    assert await links_of(executor_here, UIDS[:20]) == {}
    assert len(pod.told.released) == 20


async def test_replies_that_are_lost_lose_no_release_and_no_word(start_pod, executor_here, server, moves, soon):
    """Links are removed and nobody answers: they are told as released all the same."""
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(ME, url=proxy.url, store=HURRIED)
        await take_many(pod, UIDS[:20])
        proxy.cut_share = 0.3
        await pod.server.stop(10)
        proxy.cut_share = 0
    assert await links_of(executor_here, UIDS[:20]) == {}
    told = {uid for _, _, links in await moves() for uid in links}
    assert told == set(UIDS[:20])
    assert Counter(pod.told.released) == Counter(UIDS[:20])


async def test_a_pod_that_may_have_been_replaced_saves_nothing(start_pod, operate, server, executor_here):
    """Its memory may be old, and somebody else may have saved a newer state."""
    await operate({}, expireSeconds=0.6)
    async with TcpProxy(server.port) as proxy:
        pod = await start_pod(ME, url=proxy.url, store=HURRIED, update_seconds=0.2)
        await pod.server.set_linked_pod("ada")
        proxy.flowing.clear()
        await until(lambda: pod.told.assumed)
        await pod.server.stop(0.5)
    assert pod.told.released == []
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == ME


async def test_a_stop_without_a_store_ends_in_time(start_pod, start_server):
    store = start_server()
    pod = await start_pod(ME, url=store.url, store=HURRIED)
    await pod.server.set_linked_pod("ada")
    store.stop()
    async with asyncio.timeout(60):
        await pod.server.stop(3)
    assert not pod.server.running
    assert pod.told.released == ["ada"], "the state is saved all the same"
    with pytest.raises(StoreUnavailable):
        await pod.executor.get_linked_pod(NS, "ada", SVC)


async def test_a_stop_that_is_to_hurry_gives_nothing_away(start_pod, executor_here, raw, service):
    pod = await start_pod(ME, settle_seconds=30, stop_seconds=60)
    await pod.server.set_linked_pod("ada")
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: pod.server.effective_state is DENY)
    pod.server._upkeep.hurry.give()
    async with asyncio.timeout(25):
        await stopping
    assert pod.told.released == []
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == ME
    assert json.loads(await raw.hget(service.states, str(ME)))["routingState"] == "SHUTDOWN"


# Its next life keeps them


@pytest.fixture
def say(operate):
    """The operator says of pod ME: ``say("DENY_NEW_CALL", Reason.TERMINATING, LinkAction.STAY)``."""

    async def said(state, reason, links=LinkAction.STAY, on_replace="Keep"):
        about = record(state, links, incarnation=Incarnation("pod-a", 0))
        await operate({ME: replace(about, reason=reason)}, onReplace=on_replace)

    return said


@pytest.fixture
def last_word(raw, service):
    """What pod ME itself has said last."""

    async def read():
        return json.loads(await raw.hget(service.states, str(ME)))["app"]

    return read


@pytest.mark.parametrize("on_replace", ["Keep", "Move"])
async def test_a_pod_whose_successor_keeps_its_uids_saves_each_and_gives_none_away(
    start_pod, say, executor_here, last_word, moves, on_replace
):
    """Move: an operator that has decided so already, and has changed the policy since; or one that does not tell it."""
    await say("READY", Reason.READY, on_replace=on_replace)
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await take_many(pod, UIDS[:20])
    await say("DENY_NEW_CALL", Reason.TERMINATING, on_replace=on_replace)
    await until(lambda: pod.server.effective_state is DENY)
    await pod.server.stop()
    assert Counter(pod.told.released) == Counter(UIDS[:20])
    assert await links_of(executor_here, UIDS[:20]) == {ME: 20}
    assert await moves() == []
    assert (pod.server.stats.kept, pod.server.stats.released, pod.server.stats.held) == (20, 0, 0)
    assert await last_word() == "DENY_NEW_CALL", "SHUTDOWN would have them moved"


async def test_a_pod_that_stops_before_the_operator_has_noticed_keeps_what_its_policy_keeps(
    start_pod, say, executor_here, last_word
):
    await say("READY", Reason.READY)
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await take_many(pod, UIDS[:20])
    await pod.server.stop()
    assert Counter(pod.told.released) == Counter(UIDS[:20])
    assert await links_of(executor_here, UIDS[:20]) == {ME: 20}
    assert await last_word() == "DENY_NEW_CALL"


@pytest.mark.parametrize("reason", [Reason.TERMINATING, Reason.SCALED_DOWN, Reason.DRAIN_REQUESTED, Reason.DISOWNED])
async def test_a_pod_that_nobody_succeeds_gives_its_uids_away_whatever_the_policy(
    reason, start_pod, say, executor_here, last_word
):
    await say("READY", Reason.READY)
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await take_many(pod, UIDS[:20])
    await say("DENY_NEW_CALL", reason, LinkAction.DRAIN)
    await until(lambda: pod.server.effective_state is DENY)
    await pod.server.stop()
    assert Counter(pod.told.released) == Counter(UIDS[:20])
    assert await links_of(executor_here, UIDS[:20]) == {}
    assert (pod.server.stats.kept, pod.server.stats.released) == (0, 20)
    assert await last_word() == "SHUTDOWN"


@pytest.mark.parametrize("known", [PATIENT, SILENT], ids=["told", "not told"])
async def test_what_is_saved_to_be_kept_is_given_away_when_the_operator_says_so_meanwhile(
    make_pod, say, executor_here, last_word, colour, known
):
    """Each is saved once. Who is told nothing looks once more before it ends."""
    calls, go = Counter(), threading.Event()

    def save(uid):
        calls[uid] += 1
        while uid == "slow" and not go.is_set():
            yield

    await say("READY", Reason.READY)
    pod = make_pod(ME, uid="pod-a", known=known, hooks={"on_release": hook(colour, save)}, stop_seconds=30)
    await pod.server.start()
    await take_many(pod, ["slow", *UIDS[:10]])
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: len(calls) == 11)
    await until(lambda: len(pod.server._upkeep._handover._kept) == 10)
    assert await links_of(executor_here, UIDS[:10]) == {ME: 10}
    await say("DENY_NEW_CALL", Reason.TERMINATING, LinkAction.DRAIN)
    if known is PATIENT:
        await eventually(lambda: links_of(executor_here, UIDS[:10]), lambda now: now == {}, "at once")
    go.set()
    await stopping
    assert await links_of(executor_here, ["slow", *UIDS[:10]]) == {}
    assert calls == Counter(["slow", *UIDS[:10]])
    assert await last_word() == "SHUTDOWN"


async def test_nobody_is_served_by_what_is_saved_to_be_kept(make_pod, say, colour):
    go = threading.Event()

    def save(uid):
        while uid == "slow" and not go.is_set():
            yield

    await say("READY", Reason.READY)
    pod = make_pod(ME, uid="pod-a", known=PATIENT, hooks={"on_release": hook(colour, save)}, stop_seconds=30)
    await pod.server.start()
    await take_many(pod, ["ada", "slow"])
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: "ada" in pod.server._upkeep._handover._kept)
    assert not await pod.server.accept("ada")
    assert pod.server.is_in_transit("ada")
    go.set()
    await stopping


async def test_a_hurried_stop_takes_nothing_from_the_next_life(make_pod, say, executor_here, colour, last_word):
    """A second signal: what is saved stays, and so does what is not."""
    end = threading.Event()

    def save(uid):
        while uid == "slow" and not end.is_set():
            yield

    await say("READY", Reason.READY)
    pod = make_pod(ME, uid="pod-a", known=PATIENT, hooks={"on_release": hook(colour, save)}, stop_seconds=60)
    await pod.server.start()
    await take_many(pod, ["ada", "slow"])
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: "ada" in pod.server._upkeep._handover._kept)
    pod.server._upkeep.hurry.give()
    await stopping
    end.set()
    assert await links_of(executor_here, ["ada", "slow"]) == {ME: 2}
    assert pod.server.stats.kept == 1
    assert await last_word() == "DENY_NEW_CALL"


async def test_the_next_life_takes_its_uids_with_higher_epochs_and_the_former_is_fenced(start_pod, say, executor_here):
    await say("READY", Reason.READY)
    former = await start_pod(ME, uid="pod-a")
    await former.server.set_linked_pod("ada")
    token = former.server.token("ada")
    await former.server.stop()
    successor = await start_pod(ME, uid="pod-b")
    assert await successor.server.accept("ada")
    assert successor.server.token("ada") > token
    assert not await executor_here.is_owner(NS, "ada", SVC, ME, token)


# The operator asks for it


@pytest.fixture
def ask(operate, raw):
    """The operator asks the app of pod ME to give its uids away, for so many seconds from now; None: no more."""

    async def asked(seconds, state="DENY_NEW_CALL"):
        now = await raw.time()
        release = None if seconds is None else now[0] * 1000 + now[1] // 1000 + round(seconds * 1000)
        await operate({ME: record(state, incarnation=Incarnation("pod-a", 0), release=release)})

    return asked


async def test_when_the_operator_asks_for_it_the_pod_gives_its_uids_away_and_goes_on(
    start_pod, ask, executor_here, raw, service, moves
):
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await take_many(pod, UIDS[:20])
    await ask(30)
    await until(lambda: pod.server.stats.released == 20)
    assert Counter(pod.told.released) == Counter(UIDS[:20])
    assert await links_of(executor_here, UIDS[:20]) == {}
    await eventually(moves, bool, "it is told")  # they are told after the release, many at a time
    assert {reason for _, reason, _ in await moves()} == {"Released"}
    assert pod.server.running
    state = json.loads(await raw.hget(service.states, str(ME)))
    assert (state["app"], state["routingState"]) == ("READY", "DENY_NEW_CALL"), "the app's own word stays"


async def test_a_pod_that_denies_already_is_asked_just_as_quickly(start_pod, ask, executor_here):
    """No state changes then: the message says that there is something to read."""
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await take_many(pod, UIDS[:20])
    await ask(None)
    await until(lambda: pod.server.effective_state == "DENY_NEW_CALL")
    await ask(30)
    await until(lambda: pod.server.stats.released == 20)
    assert await links_of(executor_here, UIDS[:20]) == {}


async def test_without_push_it_gives_them_away_after_the_next_reading(start_pod, ask):
    pod = await start_pod(ME, uid="pod-a", known=CacheOptions(refresh_seconds=0.3, push=False))
    await pod.server.set_linked_pod("ada")
    await ask(30)
    await until(lambda: pod.told.released == ["ada"])


async def test_when_the_operator_asks_no_more_the_pod_is_as_before(start_pod, ask):
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await pod.server.set_linked_pod("ada")
    await ask(30)
    await until(lambda: pod.told.released == ["ada"])
    await ask(None, "READY")
    await until(lambda: pod.states.known(pod.server.identity.target).state(ME) is READY)
    await pod.server.set_linked_pod("bob")
    await pod.server.set_routing_state(READY)
    assert pod.server.effective_state is READY
    assert pod.server.owns("bob")
    assert pod.told.released == ["ada"]


async def test_what_is_taken_while_the_operator_asks_is_given_away_too(start_pod, ask, soon):
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await pod.server.set_linked_pod("ada")
    await ask(30)
    await until(lambda: pod.told.released == ["ada"])
    await pod.server.set_linked_pod("late")
    await until(lambda: pod.told.released == ["ada", "late"])


async def test_it_waits_until_callers_have_seen_that_the_pod_denies(start_pod, ask):
    pod = await start_pod(ME, uid="pod-a", known=PATIENT, settle_seconds=0.5)
    await pod.server.set_linked_pod("ada")
    before = time.monotonic()
    await ask(30)
    await until(lambda: pod.told.released)
    assert time.monotonic() - before >= 0.5


def is_recorded(pod):
    view = pod.states.known(pod.server.identity.target).pods.get(ME)
    return view is not None and view.record is not None


async def test_a_request_whose_time_is_over_is_none(start_pod, ask, executor_here):
    pod = await start_pod(ME, uid="pod-a", known=PATIENT)
    await pod.server.set_linked_pod("ada")
    await ask(-1)
    await until(lambda: is_recorded(pod))
    await pod.server.set_routing_state(DENY)
    await always(lambda: links_of(executor_here, ["ada"]), lambda now: now == {ME: 1}, "it stays", seconds=0.3)
    assert pod.told.released == []


async def test_when_the_time_is_over_what_is_left_is_the_operators(make_pod, ask, executor_here, colour):
    end = threading.Event()

    def save(uid):
        while not end.is_set():
            yield

    pod = make_pod(ME, uid="pod-a", known=PATIENT, hooks={"on_release": hook(colour, save)})
    await pod.server.start()
    await pod.server.set_linked_pod("ada")
    await ask(0.6)
    await until(lambda: pod.server.token("ada") is not None and not pod.server.owns("ada"))
    if colour == "async":
        await until(lambda: pod.server.owns("ada"))
    else:
        await always(lambda: links_of(executor_here, ["ada"]), lambda now: now == {ME: 1}, "it stays", seconds=0.8)
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == ME
    end.set()


async def test_when_the_request_goes_away_what_has_begun_is_finished_and_the_rest_stays(
    make_pod, ask, executor_here, colour
):
    begun, go = threading.Event(), threading.Event()

    def save(uid):
        begun.set()
        while not go.is_set():
            yield

    pod = make_pod(ME, uid="pod-a", known=PATIENT, hooks={"on_release": hook(colour, save)}, releases_at_once=1)
    await pod.server.start()
    await take_many(pod, ["ada", "bob", "eve"])
    await ask(30)
    await until(begun.is_set)
    await ask(None, "READY")
    await until(lambda: pod.states.known(pod.server.identity.target).pods[ME].record.release is None)
    await always(lambda: links_of(executor_here, ["ada", "bob", "eve"]), lambda n: n == {ME: 3}, "busy", seconds=0.15)
    go.set()
    await until(lambda: pod.server.stats.released == 1)
    await always(lambda: links_of(executor_here, ["ada", "bob", "eve"]), lambda n: n == {ME: 2}, "stay", seconds=0.2)
    assert len(pod.server.owned()) == 2


async def test_a_stop_during_the_operators_drain_saves_each_uid_once(make_pod, ask, executor_here, colour):
    calls, go = Counter(), threading.Event()

    def save(uid):
        calls[uid] += 1
        while not go.is_set():
            yield

    pod = make_pod(ME, uid="pod-a", known=PATIENT, hooks={"on_release": hook(colour, save)}, releases_at_once=2)
    await pod.server.start()
    await take_many(pod, UIDS[:10])
    await ask(30)
    await until(lambda: len(calls) == 2)
    stopping = asyncio.create_task(pod.server.stop())
    await until(lambda: pod.server._upkeep._stop_order is not None)
    go.set()
    await stopping
    assert calls == Counter(UIDS[:10])
    assert await links_of(executor_here, UIDS[:10]) == {}
