"""Every operation of the reference's section 7, against a real server; both twins."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
import redis
from redis.asyncio import Redis

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable, StoreRejected, StoreUnavailable
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.drivers import client, client_sync, rerouting, rerouting_sync
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.keys import Service
from stateful_route.store.migrate import NOBODY, Batch, Moved, append_moves, migrate
from stateful_route.store.states import get_hints
from support.operator_records import record
from support.published import HURRIED, PATIENT
from support.waiting import until

NS, SVC = "games", "room"
READY, DENY, SHUTDOWN = RoutingState
UIDS = [f"uid-{number}" for number in range(300)]


@pytest.fixture
async def two(publish):
    """Two pods that take new uids."""
    await publish({0: "READY", 1: "READY"})


@pytest.fixture
def later(monkeypatch) -> Callable[[float], None]:
    """Let the callers' monotonic clock go on by so many seconds."""
    passed = [0.0]
    for module in (client, client_sync):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + passed[0])

    def go_on(seconds: float) -> None:
        passed[0] += seconds

    return go_on


# compute_linked_pod


async def test_compute_linked_pod(two, pushed, raw, service):
    """A new uid is linked for 300 s, once; the next answer comes from memory."""
    pod = await pushed.client.compute_linked_pod(NS, "ada", SVC)
    assert pod in {0, 1}
    assert await raw.get(service.link("ada")) == str(pod)
    assert 298 <= await raw.ttl(service.link("ada")) <= 300
    scripts = await _scripts(raw)
    assert [await pushed.client.compute_linked_pod(NS, "ada", SVC) for _ in range(50)] == [pod] * 50
    assert await _scripts(raw) == scripts


async def test_a_uid_that_is_linked_stays_where_it_is(two, pushed, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    await executor_here.set_linked_pod(NS, "bob", SVC, 0, 300)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1
    assert await pushed.client.compute_linked_pod(NS, "bob", SVC) == 0


async def test_a_denying_pod_keeps_its_uids_and_gets_no_new_ones(publish, pushed, executor_here):
    await publish({0: "DENY_NEW_CALL", 1: "READY"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 0
    assert set((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {1}


async def test_a_uid_of_a_dead_pod_moves_at_once(publish, pushed, executor_here):
    await publish({0: "SHUTDOWN", 1: "READY"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1
    assert await executor_here.get_linked_pod(NS, "ada", SVC) == 1


async def test_a_uid_of_a_pod_that_nobody_knows_moves_at_once(two, pushed, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 77)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) in {0, 1}


async def test_a_uid_of_a_pod_that_is_drained_moves_at_once(operate, pushed, executor_here):
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN), 1: record()})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1


async def test_while_nobody_takes_new_uids_a_living_pod_keeps_its_own(operate, pushed, executor_here):
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN), 1: record("DENY_NEW_CALL"), 2: record("SHUTDOWN")})
    for pod, uid in enumerate(["ada", "bob", "eve"]):
        await executor_here.set_linked_pod(NS, uid, SVC, pod, 300)
    assert [await pushed.client.compute_linked_pod(NS, uid, SVC) for uid in ("ada", "bob")] == [0, 1]
    for uid in ("eve", "new"):
        with pytest.raises(NoPodAvailable, match="no pod of games/room takes new uids: 0 DENY_NEW_CALL, 1 DENY"):
            await pushed.client.compute_linked_pod(NS, uid, SVC)
    assert await executor_here.get_linked_pod(NS, "eve", SVC) == 2, "nothing was changed"
    assert await executor_here.get_linked_pod(NS, "new", SVC) is None


async def test_pods_that_change_while_they_are_asked_are_not_called_full(
    publish, connect, server, service, monkeypatch
):
    """Each pod that is chosen is gone when it is asked, and the other one is back: nobody has set a limit."""
    await publish({0: "READY", 1: "READY"})
    caller = await connect(server.url, CacheOptions(refresh_seconds=600.0, push=False))
    with redis.Redis.from_url(server.url) as store:
        states = store.hgetall(service.states)
        chosen = []

        def change(computed):
            if computed is not None and not computed.doubted and computed.previous != computed.ordinal:
                chosen.append(computed.ordinal)
                store.hset(service.states, mapping=states)
                store.hdel(service.states, str(computed.ordinal))
            return computed

        async def ask(*of, real=rerouting.Rerouting.ask):
            computed = change(await real(*of))
            await of[0]._states.refresh(service)
            return computed

        def ask_sync(*of, real=rerouting_sync.Rerouting.ask):
            computed = change(real(*of))
            of[0]._states.refresh(service)
            return computed

        monkeypatch.setattr(rerouting.Rerouting, "ask", ask)
        monkeypatch.setattr(rerouting_sync.Rerouting, "ask", ask_sync)
        with pytest.raises(NoPodAvailable, match=r"the pods of games/room are changing.*READY") as told:
            await caller.client.compute_linked_pod(NS, "ada", SVC)
    assert "full" not in str(told.value)
    assert sorted(chosen) == [0, 1]


async def test_a_service_without_pods_has_nobody(pushed, raw):
    with pytest.raises(NoPodAvailable, match="there is none"):
        await pushed.client.compute_linked_pod(NS, "ada", "unknown")


@pytest.mark.parametrize(
    "wrong", [("", "ada", SVC), (NS, "", SVC), (NS, "ada", ""), (NS, "a{b", SVC), (NS, ["ada"], SVC), (NS, None, SVC)]
)
async def test_what_cannot_be_stored_is_refused(two, pushed, wrong):
    with pytest.raises(InvalidArgument):
        await pushed.client.compute_linked_pod(*wrong)


async def test_a_foreign_clients_value_is_left_alone(two, pushed, raw, service):
    await raw.set(service.link("ada"), "elsewhere")
    with pytest.raises(StoreRejected, match="no pod index"):
        await pushed.client.compute_linked_pod(NS, "ada", SVC)
    with pytest.raises(StoreRejected, match="no pod index"):
        await pushed.client.compute_linked_pods(NS, ["ada", "bob"], SVC)
    assert await raw.get(service.link("ada")) == "elsewhere"


async def test_many_who_ask_for_one_uid_share_a_round_trip(two, pushed, raw):
    await pushed.client.init(NS, SVC)
    scripts = await _scripts(raw)
    pods = await asyncio.gather(*(pushed.client.compute_linked_pod(NS, "ada", SVC) for _ in range(20)))
    assert len(set(pods)) == 1
    assert await _scripts(raw) - scripts < 20


async def test_one_who_gives_up_disturbs_no_other(two, pushed, colour):
    if colour == "sync":
        pytest.skip("a thread is not cancelled")
    impatient = asyncio.create_task(pushed.client.compute_linked_pod(NS, "ada", SVC))
    patient = asyncio.create_task(pushed.client.compute_linked_pod(NS, "ada", SVC))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient in {0, 1}


# compute_linked_pods


async def test_compute_linked_pods(two, pushed, raw):
    found = await pushed.client.compute_linked_pods(NS, UIDS, SVC)
    assert list(found) == UIDS
    assert Counter(found.values()) == {0: 150, 1: 150}
    scripts = await _scripts(raw)
    assert await pushed.client.compute_linked_pods(NS, [*UIDS, UIDS[0]], SVC) == found
    assert await _scripts(raw) == scripts


async def test_of_many_uids_those_of_a_dead_pod_move(publish, pushed):
    await publish({0: "READY", 1: "READY"})
    found = await pushed.client.compute_linked_pods(NS, UIDS, SVC)
    await publish({0: "SHUTDOWN"})
    of_zero = [uid for uid in UIDS if found[uid] == 0]
    await until(lambda: pushed.client.get_linked_in_cache(NS, of_zero[0], SVC) is None)
    assert set((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {1}


async def test_of_many_uids_without_a_pod_to_take_them_none_is_linked(publish, pushed, executor_here):
    await publish({0: "DENY_NEW_CALL"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    with pytest.raises(NoPodAvailable):
        await pushed.client.compute_linked_pods(NS, ["ada", "new"], SVC)
    assert await pushed.client.compute_linked_pods(NS, ["ada"], SVC) == {"ada": 0}
    with pytest.raises(InvalidArgument, match="a list of uids"):
        await pushed.client.compute_linked_pods(NS, "ada", SVC)


# What is remembered, and for how long


async def test_an_answer_about_a_temporary_link_is_cached_for_a_fifth_of_its_time(two, pushed, later):
    """60 s for a link of 300 s: whoever asks then looks at the link, and renews it."""
    await pushed.client.compute_linked_pod(NS, "ada", SVC)
    later(53)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is not None
    later(8)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None


async def test_an_answer_about_a_persistent_link_is_cached_for_longer(two, pushed, executor_here, later):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    await pushed.client.compute_linked_pod(NS, "ada", SVC)
    later(215)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) == 0
    later(26)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None


RHYTHMS = {
    "one caller, every 100 s": (1, [100]),
    "one caller, every 150 s": (1, [150]),
    "one caller, every 239 s": (1, [239]),
    "two callers in turn, every 10 s, then a pause": (2, [10] * 13 + [239]),
    "a caller for 130 s, then another": (1, [10] * 13, 2),
    "three callers in turn, often and rarely": (3, [1, 239, 59, 61, 120, 200, 30, 239]),
}


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("sentence", RHYTHMS)
async def test_a_link_that_is_used_does_not_expire_with(connect, server, raw, service, later, sentence):
    """Asked once in 240 s, which is the link's time less the cache's. Time passes by shortening what is left of it."""
    number, pauses, *more = RHYTHMS[sentence]
    callers = [await connect(server.url, PATIENT) for _ in range(max(number, *more, 1))]
    uids = ("alone", "in a batch")

    async def ask(caller) -> None:
        await caller.client.compute_linked_pod(NS, uids[0], SVC)
        await caller.client.compute_linked_pods(NS, uids[1:], SVC)

    await ask(callers[0])
    first = (await callers[0].executor.get_links(NS, uids, SVC)).all()
    for turn, pause in enumerate(pauses * 4):
        later(pause)
        for uid in uids:
            left = await raw.pttl(service.link(uid))
            assert left > pause * 1000, f"the link of {uid} has expired before question {turn}"
            await raw.pexpire(service.link(uid), left - pause * 1000)
        await ask(callers[turn % number if not more else min(turn // len(pauses), more[0] - 1)])
    assert (await callers[0].executor.get_links(NS, uids, SVC)).all() == first


async def test_what_somebody_says_of_a_pod_is_cached_as_a_temporary_link(two, pushed, later):
    pushed.client.set_cache(NS, "ada", SVC, 0)
    for _ in range(6):
        later(10.5)
        before = pushed.client.set_cache(NS, "ada", SVC, 0)
    assert before is None, "to say it again renews nothing"


async def test_a_link_that_ends_soon_is_remembered_no_longer(two, pushed, executor_here, raw, service, later):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    await executor_here.remove_linked_pod(NS, "ada", SVC, 20)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 0, "it is retained, and still found"
    later(19.5)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None


async def test_links_that_were_entered_together_do_not_expire_together(two, pushed, later):
    await pushed.client.compute_linked_pods(NS, UIDS, SVC)
    later(57)
    known = sum(pushed.client.get_linked_in_cache(NS, uid, SVC) is not None for uid in UIDS)
    assert 50 < known < 250


async def test_the_memory_is_bounded(two, connect, server):
    caller = await connect(server.url, cache_size=100)
    await caller.client.compute_linked_pods(NS, UIDS, SVC)
    known = [uid for uid in UIDS if caller.client.get_linked_in_cache(NS, uid, SVC) is not None]
    assert len(known) == 100


async def test_without_a_cache_each_answer_is_the_stores(two, connect, server, executor_here):
    caller = await connect(server.url, cache_seconds=0)
    first = await caller.client.compute_linked_pod(NS, "ada", SVC)
    await executor_here.set_linked_pod(NS, "ada", SVC, 1 - first, 300)
    assert await caller.client.compute_linked_pod(NS, "ada", SVC) == 1 - first


@pytest.mark.parametrize("word", ["DENY_NEW_CALL", "SHUTDOWN"])
async def test_a_push_that_a_pod_is_another_thing_now_drops_its_links(two, publish, pushed, executor_here, word):
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    await executor_here.set_linked_pod(NS, "bob", SVC, 1, 300)
    assert await pushed.client.compute_linked_pods(NS, ["ada", "bob"], SVC) == {"ada": 0, "bob": 1}
    await publish({0: word})
    await until(lambda: pushed.client.get_linked_in_cache(NS, "ada", SVC) is None)
    assert pushed.client.get_linked_in_cache(NS, "bob", SVC) == 1
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == (0 if word == "DENY_NEW_CALL" else 1)


async def test_a_push_that_a_uid_has_moved_drops_it(two, pushed, executor_here, service):
    for uid in ("ada", "bob", "eve"):
        await executor_here.set_linked_pod(NS, uid, SVC, 0, 300)
    await pushed.client.compute_linked_pods(NS, ["ada", "bob", "eve"], SVC)
    store = await executor_here.store()
    (result,) = await migrate(store, service, 0, [Batch(service.bucket("ada"), ["ada"], [1])])
    await append_moves(store, service, 0, "Rebalance", [*result.moved, Moved("eve", NOBODY, 1)])
    await until(lambda: pushed.client.get_linked_in_cache(NS, "ada", SVC) is None)
    assert pushed.client.get_linked_in_cache(NS, "eve", SVC) is None
    assert pushed.client.get_linked_in_cache(NS, "bob", SVC) == 0
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1


async def test_without_a_push_the_period_drops_what_has_moved(two, connect, server, executor_here, service):
    caller = await connect(server.url, CacheOptions(refresh_seconds=0.3, push=False))
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    await caller.client.compute_linked_pod(NS, "ada", SVC)
    store = await executor_here.store()
    (result,) = await migrate(store, service, 0, [Batch(service.bucket("ada"), ["ada"], [1])])
    await append_moves(store, service, 0, "Rebalance", result.moved)
    await until(lambda: caller.client.get_linked_in_cache(NS, "ada", SVC) is None)


# The other operations


async def test_set_linked_pod_if_absent(two, pushed, executor_here, raw, service):
    assert await pushed.client.set_linked_pod_if_absent(NS, "ada", SVC, 1) == 1
    assert 298 <= await raw.ttl(service.link("ada")) <= 300
    assert await pushed.client.set_linked_pod_if_absent(NS, "ada", SVC, 0, 60) == 1


async def test_get_linked_pod(two, pushed, executor_here):
    assert await pushed.client.get_linked_pod(NS, "ada", SVC) is None
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    assert await pushed.client.get_linked_pod(NS, "ada", SVC) == 1
    pushed.client.set_cache(NS, "ada", SVC, 0)
    assert await pushed.client.get_linked_pod(NS, "ada", SVC) == 0, "the cache comes first"


async def test_get_linked_pod_not_cache(two, pushed, executor_here):
    pushed.client.set_cache(NS, "ada", SVC, 0)
    assert await pushed.client.get_linked_pod_not_cache(NS, "ada", SVC) is None
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    assert await pushed.client.get_linked_pod_not_cache(NS, "ada", SVC) == 1


async def test_get_linked_in_cache(two, pushed):
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None
    pod = await pushed.client.compute_linked_pod(NS, "ada", SVC)
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) == pod


async def test_get_linked_pod_in_cache_or_if_persist(two, pushed, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 1, 300)
    assert await pushed.client.get_linked_pod_in_cache_or_if_persist(NS, "ada", SVC) is None
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    assert await pushed.client.get_linked_pod_in_cache_or_if_persist(NS, "ada", SVC) == 1
    pushed.client.set_cache(NS, "ada", SVC, 0)
    assert await pushed.client.get_linked_pod_in_cache_or_if_persist(NS, "ada", SVC) == 0


async def test_cache_expired(two, pushed):
    pod = await pushed.client.compute_linked_pod(NS, "ada", SVC)
    assert pushed.client.cache_expired(NS, "ada", SVC) == pod
    assert pushed.client.cache_expired(NS, "ada", SVC) is None
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None


async def test_set_cache(two, pushed):
    assert pushed.client.set_cache(NS, "ada", SVC, 0) is None
    assert pushed.client.set_cache(NS, "ada", SVC, 1) == 0
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) == 1
    with pytest.raises(InvalidArgument):
        pushed.client.set_cache(NS, "ada", SVC, -1)


async def test_get_link_service(two, pushed, executor_here):
    await executor_here.set_linked_pod(NS, "ada", SVC, 1)
    await executor_here.set_linked_pod(NS, "ada", "chat", 0, 300)
    assert await pushed.client.get_link_service(NS, "ada") == {SVC: 1, "chat": 0}


async def test_batch_get_linked_pod(two, pushed, executor_here):
    for pod, uid in enumerate(["ada", "bob", "eve"]):
        await executor_here.set_linked_pod(NS, uid, SVC, pod % 2)
    assert await pushed.client.batch_get_linked_pod(NS, ["ada", "bob", "eve", "new"], SVC) == {
        0: ["ada", "eve"],
        1: ["bob"],
    }


async def test_init(two, pushed, service):
    await pushed.client.init(NS, SVC)
    assert pushed.states.known(service).alive == {0, 1}


async def test_close(two, pushed):
    await pushed.client.compute_linked_pod(NS, "ada", SVC)
    await pushed.client.close()
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) is None


# Addresses, and pods that a caller cannot reach


async def test_address(operate, publish, pushed, connect, server):
    records = {0: "10.1.2.3:7000", 1: "rooms-1.rooms.games.svc", 3: "fd00:10:244::5", 4: "[fd00:10:244::6]:7777"}
    await operate({ordinal: record(address=address) for ordinal, address in records.items()})
    await publish({2: "READY"})
    assert await pushed.client.address(NS, SVC, 0) == "10.1.2.3:7000"
    assert await pushed.client.address(NS, SVC, 1) == "rooms-1.rooms.games.svc"
    assert await pushed.client.address(NS, SVC, 2) == "room-2.room.games.svc"
    with_port = await connect(server.url, port=80, address="{namespace}-{ordinal}.{service}.example")
    assert await with_port.client.address(NS, SVC, 0) == "10.1.2.3:7000"
    assert await with_port.client.address(NS, SVC, 1) == "rooms-1.rooms.games.svc:80"
    assert await with_port.client.address(NS, SVC, 2) == "games-2.room.example:80"
    assert await pushed.client.address(NS, SVC, 3) == "fd00:10:244::5"
    assert await with_port.client.address(NS, SVC, 3) == "[fd00:10:244::5]:80"
    assert await with_port.client.address(NS, SVC, 4) == "[fd00:10:244::6]:7777"


async def test_report_unreachable(two, pushed, executor_here, service, later):
    """This caller avoids the pod for new uids; its links stay, and the operator has a hint."""
    await executor_here.set_linked_pod(NS, "ada", SVC, 0, 300)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 0
    assert await pushed.client.report_unreachable(NS, SVC, 0)
    assert set((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {1}
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 0
    assert list(await get_hints(await executor_here.store(), service)) == [0]
    assert not await pushed.client.report_unreachable(NS, SVC, 0), "not another hint so soon"
    later(11)
    assert await pushed.client.report_unreachable(NS, SVC, 0)


async def test_a_pod_is_avoided_only_for_a_while(two, connect, server, later):
    caller = await connect(server.url, CacheOptions(refresh_seconds=600.0), cache_seconds=0)
    await caller.client.report_unreachable(NS, SVC, 0)
    assert set((await caller.client.compute_linked_pods(NS, UIDS[:10], SVC)).values()) == {1}
    later(11)
    await caller.states.refresh(Service(NS, SVC))
    assert set((await caller.client.compute_linked_pods(NS, UIDS[10:20], SVC)).values()) == {0, 1}


async def test_a_pod_that_becomes_another_thing_is_avoided_no_longer(two, publish, pushed, service):
    await pushed.client.report_unreachable(NS, SVC, 0)
    assert set((await pushed.client.compute_linked_pods(NS, UIDS[:10], SVC)).values()) == {1}
    for word in ("SHUTDOWN", "READY"):
        await publish({0: word})
        await until(partial(_is, pushed, service, word))
    assert set((await pushed.client.compute_linked_pods(NS, UIDS[10:20], SVC)).values()) == {0, 1}


async def test_what_was_placed_still_counts_when_a_pod_is_avoided(operate, pushed):
    """LeastConnections goes by what the operator has counted and by what this caller has placed since."""
    pods = {pod: record("READY", count=0) for pod in range(3)}
    await operate(pods, placement={"strategy": "LeastConnections"})
    placed = await pushed.client.compute_linked_pods(NS, UIDS[:60], SVC)
    assert Counter(placed.values()) == {0: 20, 1: 20, 2: 20}
    await pushed.client.report_unreachable(NS, SVC, 0)
    placed = await pushed.client.compute_linked_pods(NS, UIDS[60:80], SVC)
    assert Counter(placed.values()) == {1: 10, 2: 10}
    await pushed.client.report_unreachable(NS, SVC, 1)
    placed = await pushed.client.compute_linked_pods(NS, UIDS[80:90], SVC)
    assert Counter(placed.values()) == {2: 10}
    placed = await pushed.client.compute_linked_pods(NS, UIDS[90:100], SVC)
    assert Counter(placed.values()) == {2: 10}


async def test_if_all_pods_are_unreachable_none_is_avoided(two, pushed):
    for pod in (0, 1):
        await pushed.client.report_unreachable(NS, SVC, pod)
    assert set((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {0, 1}


# When the store is away


async def test_when_redis_is_down_cached_answers_go_on_and_others_fail_at_once(start_server, connect, later):
    running = start_server()
    caller = await connect(running.url, CacheOptions(refresh_seconds=0.5), HURRIED)
    for pod in (0, 1):
        await caller.executor.set_service_state(NS, SVC, pod, "READY")
    pod = await caller.client.compute_linked_pod(NS, "ada", SVC)
    running.pause()
    with pytest.raises(StoreUnavailable):
        await caller.client.compute_linked_pod(NS, "new", SVC)
    await until(lambda: caller.states.trouble)
    began = time.monotonic()
    for ask in (
        lambda: caller.client.compute_linked_pod(NS, "new", SVC),
        lambda: caller.client.compute_linked_pods(NS, ["ada", "new"], SVC),
        lambda: caller.client.get_linked_pod(NS, "new", SVC),
        lambda: caller.client.get_linked_pod_not_cache(NS, "ada", SVC),
        lambda: caller.client.get_linked_pod_in_cache_or_if_persist(NS, "new", SVC),
        lambda: caller.client.batch_get_linked_pod(NS, ["ada"], SVC),
        lambda: caller.client.get_link_service(NS, "ada"),
        lambda: caller.client.set_linked_pod_if_absent(NS, "new", SVC, 0, 60),
    ):
        with pytest.raises(StoreUnavailable, match="tried again all the time"):
            await ask()
        assert await caller.client.compute_linked_pod(NS, "ada", SVC) == pod
    assert time.monotonic() - began < HURRIED.timeout_seconds, "nobody has waited for the store"
    assert not await caller.client.report_unreachable(NS, SVC, 0)
    later(300)
    with pytest.raises(StoreUnavailable):
        await caller.client.compute_linked_pod(NS, "ada", SVC)
    running.resume()
    await until(lambda: not caller.states.trouble)
    assert await caller.client.compute_linked_pod(NS, "new", SVC) in {0, 1}


# Placement


async def test_the_good_range_is_kept_and_the_least_loaded_is_not_overrun(publish, pushed):
    await publish(dict.fromkeys(range(4), "READY"), loads={0: 100, 1: 400, 2: 600, 3: 601})
    found = Counter((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values())
    assert found == {0: 100, 1: 100, 2: 100}


async def test_many_callers_with_the_same_view_do_not_choose_the_same_pod(publish, connect, server):
    """Each places one uid, as a thousand callers do between two refreshes."""
    await publish(dict.fromkeys(range(5), "READY"), loads={0: -400})
    found = Counter()
    for number in range(60):
        caller = await connect(server.url, CacheOptions(push=False))
        found[await caller.client.compute_linked_pod(NS, f"uid-{number}", SVC)] += 1
    assert set(found) == set(range(5))
    assert max(found.values()) < 40


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"strategy": "RoundRobin"}, {0: 100, 1: 100, 2: 100}),
        ({"strategy": "WeightedRoundRobin", "weights": {"0": 4, "1": 1, "2": 0}}, {0: 240, 1: 60}),
        ({"strategy": "LeastConnections"}, {0: 50, 1: 150, 2: 100}),
        ({"strategy": "GoodRange", "loadRange": 0}, {0: 300}),
        ({"maxLinksPerPod": 320, "loadRange": 10_000}, {0: 20, 1: 120, 2: 70}),
    ],
    ids=lambda value: str(value) if "strategy" not in value else value["strategy"],
)
async def test_new_uids_go_where_the_stateful_route_says(operate, publish, connect, server, config, expected):
    counts = {0: 300, 1: 200, 2: 250}
    await publish(dict.fromkeys(counts, "READY"), loads={0: 0, 1: 1000, 2: 2000}, incarnation="pod/0")
    await operate({pod: record(count=count) for pod, count in counts.items()}, **config)
    caller = await connect(server.url, CacheOptions(refresh_seconds=600.0))
    if "maxLinksPerPod" in config:  # by what is linked in truth
        for pod, count in counts.items():
            await caller.executor.set_links_if_absent(NS, [f"old-{pod}-{n}" for n in range(count)], SVC, pod, 300)
        placed = [await caller.client.compute_linked_pod(NS, uid, SVC) for uid in UIDS[:210]]
        assert Counter(placed) == expected
        with pytest.raises(NoPodAvailable, match=r"every pod of games/room is full \(placement.maxLinksPerPod: 320\)"):
            await caller.client.compute_linked_pod(NS, "one too many", SVC)
    else:
        found = Counter((await caller.client.compute_linked_pods(NS, UIDS, SVC)).values())
        assert found == expected


async def test_on_a_cluster(cluster, connect, kind):
    caller = await connect(cluster.url)
    for pod in (0, 1):
        await caller.executor.set_service_state(NS, SVC, pod, "READY")
    found = await caller.client.compute_linked_pods(NS, UIDS, SVC)
    assert set(found.values()) == {0, 1}
    assert await caller.client.batch_get_linked_pod(NS, UIDS, SVC) == {
        pod: [uid for uid in UIDS if found[uid] == pod]
        for pod in sorted(set(found.values()), key=list(found.values()).index)
    }


def _is(caller, service: Service, word: str) -> bool:
    return caller.states.known(service).state(0) is RoutingState(word)


async def _scripts(raw: Redis) -> int:
    return (await raw.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
